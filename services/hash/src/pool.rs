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
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{busy::BusyClock, error::HashError};

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
    busy: Arc<BusyClock>,
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
                busy: Arc::new(BusyClock::new()),
            }),
        })
    }

    /// The number of threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.inner.threads.current_num_threads()
    }

    /// How long the threads have worked, together.
    #[must_use]
    pub fn busy(&self) -> Duration {
        self.inner.busy.read()
    }

    /// Callers of [`HashPool::run_or_shed`] that wait for room.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.inner.waiting.load(Ordering::Relaxed)
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
        let busy = Arc::clone(&self.inner.busy);
        // FIFO: rayon's own order is last in, first out, which lets the first wait for ever under load.
        self.inner.threads.spawn_fifo(move || {
            if sender.is_closed() {
                return;
            }
            let working = busy.enter();
            // What `work` owned is dropped by the unwinding and nobody sees it again, hence unwind-safe.
            let result = catch_unwind(AssertUnwindSafe(work));
            drop((working, admission));
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures::{FutureExt as _, future::join_all};

    use super::*;

    fn pool(max_admitted: usize, max_admitted_bytes: usize, max_waiting: usize) -> HashPool {
        HashPool::new("test", 1, PoolLimits { max_admitted, max_admitted_bytes, max_waiting }).unwrap()
    }

    /// Work that holds the pool's only thread until the sender is dropped.
    fn blocker() -> (mpsc::Sender<()>, impl FnOnce() + Send + 'static) {
        let (release, released) = mpsc::channel();
        (release, move || assert!(released.recv().is_err()))
    }

    #[tokio::test]
    async fn a_panic_is_an_error_of_its_caller_only() {
        let pool = pool(4, 1_024, 4);
        let error = pool.run(1, || panic!("for the test")).await.unwrap_err();
        assert!(matches!(error, HashError::Panicked { message } if message == "for the test"));
        assert_eq!(pool.run(1, || 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn bytes_are_bounded_and_an_input_above_the_bound_is_admitted_alone() {
        let pool = pool(100, 10 * UNIT_BYTES, 100);
        let (release, block) = blocker();
        let mut first = Box::pin(pool.run(11 * UNIT_BYTES, block));
        let mut second = Box::pin(pool.run(1, || ()));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!(pool.inner.units.available_permits(), 0, "the second waits outside");
        drop(release);
        first.await.unwrap();
        second.await.unwrap();
        assert_eq!(pool.inner.units.available_permits(), 10);
    }

    #[tokio::test]
    async fn beyond_the_callers_that_may_wait_new_work_is_refused_and_old_work_is_not() {
        let pool = pool(1, 1_024, 1);
        let (release, block) = blocker();
        let mut running = Box::pin(pool.run_or_shed(1, block));
        let mut waiting = Box::pin(pool.run_or_shed(1, || ()));
        assert!(running.as_mut().now_or_never().is_none());
        assert!(waiting.as_mut().now_or_never().is_none());
        let refused = pool.run_or_shed(1, || ()).await;
        assert!(matches!(refused, Err(HashError::Overloaded { waiting: 1 })));
        let mut begun = Box::pin(pool.run(1, || ()));
        assert!(begun.as_mut().now_or_never().is_none(), "it waits");
        drop(release);
        running.await.unwrap();
        waiting.await.unwrap();
        begun.await.unwrap();
        pool.run_or_shed(1, || ()).await.unwrap();
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_makes_room_only_when_its_work_has_ended() {
        let pool = pool(1, 1_024, 1);
        let (release, block) = blocker();
        let mut gone = Box::pin(pool.run(1, block));
        assert!(gone.as_mut().now_or_never().is_none());
        drop(gone);
        let mut next = Box::pin(pool.run(1, || ()));
        assert!(next.as_mut().now_or_never().is_none(), "the thread is still held");
        drop(release);
        next.await.unwrap();
    }

    #[tokio::test]
    async fn work_of_a_caller_that_left_before_it_began_never_runs() {
        let pool = pool(2, 1_024, 1);
        let (release, block) = blocker();
        let mut running = Box::pin(pool.run(1, block));
        assert!(running.as_mut().now_or_never().is_none());
        let (ran, seen) = mpsc::channel::<()>();
        let mut gone = Box::pin(pool.run(1, move || ran.send(()).unwrap()));
        assert!(gone.as_mut().now_or_never().is_none());
        drop(gone);
        drop(release);
        running.await.unwrap();
        assert!(seen.recv().is_err(), "dropped and never sent");
    }

    #[tokio::test]
    async fn the_time_that_threads_work_is_counted_while_they_do() {
        let pool = pool(4, 1_024, 4);
        let (release, block) = blocker();
        let mut running = Box::pin(pool.run(1, block));
        assert!(running.as_mut().now_or_never().is_none());
        while pool.busy().is_zero() {
            tokio::task::yield_now().await;
        }
        drop(release);
        running.await.unwrap();
        let busy = pool.busy();
        assert_eq!(pool.busy(), busy);
    }

    #[tokio::test]
    async fn every_job_of_many_more_than_fit_is_run() {
        let pool = pool(2, 1_024, 2);
        let results = join_all((0..1_000).map(|number| pool.run(number, move || number))).await;
        assert!(results.into_iter().map(Result::unwrap).eq(0..1_000));
    }
}
