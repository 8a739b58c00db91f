//! The threads that hash, behind a bounded door.
//!
//! Rayon's own queue has no bound and no back-pressure. Here a job enters only with a permit for itself and for its
//! bytes; who has none waits on the async side, in order of arrival. Permits are held until the job has *ended*: a caller
//! that goes away does not make room for more than the machine can hold.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::error::HashError;

/// How much a pool takes.
#[derive(Clone, Copy, Debug)]
pub struct PoolLimits {
    /// Jobs running or queued for a thread.
    pub max_admitted: usize,
    /// Their bytes. A job alone is always admitted.
    pub max_admitted_bytes: usize,
    /// Callers of [`HashPool::run_or_shed`] that wait.
    pub max_waiting: usize,
}

impl PoolLimits {
    /// Enough jobs to keep `threads` busy, `max_admitted_bytes`, and 1,024 callers that wait.
    #[must_use]
    pub fn new(threads: usize, max_admitted_bytes: usize) -> Self {
        Self { max_admitted: threads.max(1) * ADMITTED_PER_THREAD, max_admitted_bytes, max_waiting: 1_024 }
    }
}

/// Small jobs are over in microseconds: with a few queued, no thread idles until the async side wakes up.
const ADMITTED_PER_THREAD: usize = 16;

/// Bytes are counted in units of this size, because a semaphore's `acquire_many` takes a `u32`.
const UNIT_BYTES: usize = 1_024;

/// A rayon pool behind a bounded door. Clones share it. It stops when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct HashPool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    threads: rayon::ThreadPool,
    jobs: Arc<Semaphore>,
    units: Arc<Semaphore>,
    max_units: u32,
    waiting: AtomicUsize,
    max_waiting: usize,
}

/// What a job holds until it has ended.
type Admission = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl HashPool {
    /// Starts `threads` threads (at least one), named `name-0`, `name-1` ….
    ///
    /// # Errors
    /// [`HashError::Threads`] if the system refuses threads.
    pub fn new(name: &'static str, threads: usize, limits: PoolLimits) -> Result<Self, HashError> {
        let threads = threads.max(1);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(move |index| format!("{name}-{index}"))
            .build()
            .map_err(|source| HashError::Threads { threads, source })?;
        let max_units = u32::try_from(limits.max_admitted_bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).max(1);
        Ok(Self {
            inner: Arc::new(Inner {
                threads: pool,
                jobs: Arc::new(Semaphore::new(limits.max_admitted.clamp(1, Semaphore::MAX_PERMITS))),
                units: Arc::new(Semaphore::new((max_units as usize).min(Semaphore::MAX_PERMITS))),
                max_units,
                waiting: AtomicUsize::new(0),
                max_waiting: limits.max_waiting,
            }),
        })
    }

    /// The number of threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.inner.threads.current_num_threads()
    }

    /// Runs `work` on the pool once there is room for it and its `cost_bytes` (the input's length), and waits for it.
    /// If the caller goes away before `work` has begun, it never runs; if later, it runs to its end.
    ///
    /// # Errors
    /// [`HashError::Panicked`] if `work` panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        cost_bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HashError> {
        let admission = self.admit(cost_bytes).await?;
        self.run_admitted(admission, work).await
    }

    /// Like [`Self::run`], but refuses at once if too many callers wait already. For work that is new; what was begun
    /// goes through [`Self::run`].
    ///
    /// # Errors
    /// [`HashError::Overloaded`], [`HashError::Panicked`].
    pub async fn run_or_shed<T: Send + 'static>(
        &self,
        cost_bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HashError> {
        let admission = match self.try_admit(cost_bytes) {
            Some(admission) => admission,
            None => {
                let _waiting = Waiting::enter(&self.inner)?;
                self.admit(cost_bytes).await?
            }
        };
        self.run_admitted(admission, work).await
    }

    fn units(&self, cost_bytes: usize) -> u32 {
        u32::try_from(cost_bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).min(self.inner.max_units)
    }

    fn try_admit(&self, cost_bytes: usize) -> Option<Admission> {
        let job = Arc::clone(&self.inner.jobs).try_acquire_owned().ok()?;
        let bytes = Arc::clone(&self.inner.units).try_acquire_many_owned(self.units(cost_bytes)).ok()?;
        Some((job, bytes))
    }

    async fn admit(&self, cost_bytes: usize) -> Result<Admission, HashError> {
        // Always in this order: with two orders, two callers could wait for each other.
        let job = Arc::clone(&self.inner.jobs).acquire_owned().await.map_err(|_| HashError::Closed)?;
        let bytes = Arc::clone(&self.inner.units)
            .acquire_many_owned(self.units(cost_bytes))
            .await
            .map_err(|_| HashError::Closed)?;
        Ok((job, bytes))
    }

    async fn run_admitted<T: Send + 'static>(
        &self,
        admission: Admission,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HashError> {
        let (sender, receiver) = oneshot::channel();
        // FIFO: rayon's own order is last in, first out, which lets the first wait for ever under load.
        self.inner.threads.spawn_fifo(move || {
            if sender.is_closed() {
                return;
            }
            // What `work` owned is dropped by the unwinding and nobody sees it again, hence unwind-safe.
            let result = catch_unwind(AssertUnwindSafe(work));
            drop(admission);
            // Nobody waits any more: nothing is lost.
            drop(sender.send(result));
        });
        receiver
            .await
            .map_err(|_| HashError::Closed)?
            .map_err(|panic| HashError::Panicked { message: panic_message(panic.as_ref()) })
    }
}

/// What a panic said, if it said something.
fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

/// Counts a caller that waits, until dropped.
struct Waiting<'a>(&'a Inner);

impl<'a> Waiting<'a> {
    fn enter(inner: &'a Inner) -> Result<Self, HashError> {
        let waiting = inner.waiting.fetch_add(1, Ordering::Relaxed);
        let entered = Self(inner);
        if waiting >= inner.max_waiting {
            return Err(HashError::Overloaded { waiting });
        }
        Ok(entered)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
