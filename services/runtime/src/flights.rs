//! Equal work that is asked for at the same time is done once.
//!
//! The first caller of a key begins, others that come until it is done wait for the same result. Whoever waits drives the
//! work, so it does not matter who goes away. Nothing is kept: who comes when it is done begins anew.

use std::{
    any::Any,
    collections::HashMap,
    fmt,
    hash::{BuildHasher, Hash, Hasher},
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use foldhash::quality::RandomState;
use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared},
};

/// Keys with the same hash, at most. More of them are made on purpose, and each comparison may read two whole inputs: they
/// are not shared.
const MAX_ALIKE: usize = 4;

type Work<T> = BoxFuture<'static, Result<T, Panicked>>;

/// The work panicked: a bug.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the work panicked: {message}")]
pub struct Panicked {
    /// What the panic said.
    pub message: String,
}

/// Who began the work whose result this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// This caller.
    Here,
    /// Another, before.
    Before,
}

/// The work that is under way, by what it is about. Clones share it.
pub struct Flights<K, T, S = RandomState> {
    inner: Arc<Inner<K, T, S>>,
}

struct Inner<K, T, S> {
    hasher: S,
    table: Mutex<Table<K, T>>,
    joined: AtomicU64,
}

struct Table<K, T> {
    /// By their keys' hashes. No list is empty; in each the ids ascend.
    flights: HashMap<u64, Vec<Flight<K, T>>>,
    next_id: u64,
}

struct Flight<K, T> {
    id: u64,
    key: K,
    work: WeakShared<Work<T>>,
}

impl<K, T> Flights<K, T> {
    /// Nothing is under way.
    #[must_use]
    pub fn new() -> Self {
        Self::with_hasher(RandomState::default())
    }
}

impl<K, T> Default for Flights<K, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, T, S> Flights<K, T, S> {
    fn with_hasher(hasher: S) -> Self {
        let table = Mutex::new(Table { flights: HashMap::new(), next_id: 0 });
        Self { inner: Arc::new(Inner { hasher, table, joined: AtomicU64::new(0) }) }
    }

    /// How many callers found their work under way.
    #[must_use]
    pub fn joined(&self) -> u64 {
        self.inner.joined.load(Ordering::Relaxed)
    }
}

impl<K, T, S> Flights<K, T, S>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// The result of equal work that is under way, or else of `work`.
    ///
    /// # Errors
    /// [`Panicked`], for everybody who waited.
    pub async fn run<F>(&self, key: K, work: impl FnOnce() -> F) -> (Begun, Result<T, Panicked>)
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (begun, work) = self.find(key, work);
        (begun, work.await)
    }

    fn find<F>(&self, key: K, work: impl FnOnce() -> F) -> (Begun, Shared<Work<T>>)
    where
        F: Future<Output = T> + Send + 'static,
    {
        let hash = self.inner.hasher.hash_one(&key);
        // Comparing may take long, so nobody is kept out meanwhile; what came meanwhile is compared next.
        let mut compared = None;
        loop {
            let mut table = self.inner.table();
            let alike = table.flights.get(&hash).map_or(&[][..], Vec::as_slice);
            let new = alike.partition_point(|flight| compared.is_some_and(|compared| flight.id <= compared));
            let Some(last) = alike[new..].last() else {
                return (Begun::Here, self.begin(&mut table, hash, key, work()));
            };
            compared = Some(last.id);
            let candidates: Vec<_> =
                alike[new..].iter().map(|flight| (flight.key.clone(), flight.work.clone())).collect();
            drop(table);
            let mut equal = candidates.into_iter().filter(|(candidate, _)| *candidate == key);
            if let Some(work) = equal.find_map(|(_, work)| work.upgrade()) {
                self.inner.joined.fetch_add(1, Ordering::Relaxed);
                return (Begun::Before, work);
            }
        }
    }

    fn begin(
        &self,
        table: &mut Table<K, T>,
        hash: u64,
        key: K,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Shared<Work<T>> {
        let id = table.next_id;
        table.next_id += 1;
        let forget = Forget { inner: Arc::clone(&self.inner), hash, id };
        let work = async move {
            let result = AssertUnwindSafe(work).catch_unwind().await;
            drop(forget);
            result.map_err(|panic| Panicked { message: message(panic.as_ref()) })
        };
        let work = work.boxed().shared();
        let alike = table.flights.entry(hash).or_default();
        if let Some(weak) = work.downgrade()
            && alike.len() < MAX_ALIKE
        {
            alike.push(Flight { id, key, work: weak });
        }
        work
    }
}

impl<K, T, S> Inner<K, T, S> {
    fn table(&self) -> MutexGuard<'_, Table<K, T>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a flight off the table: it has landed, or nobody waits for it any more.
struct Forget<K, T, S> {
    inner: Arc<Inner<K, T, S>>,
    hash: u64,
    id: u64,
}

impl<K, T, S> Drop for Forget<K, T, S> {
    fn drop(&mut self) {
        let mut table = self.inner.table();
        // What a key owns is dropped when nobody is kept out by it.
        let mut landed = None;
        if let Some(alike) = table.flights.get_mut(&self.hash) {
            landed = alike.iter().position(|flight| flight.id == self.id).map(|place| alike.remove(place));
            if alike.is_empty() {
                table.flights.remove(&self.hash);
            }
        }
        drop(table);
        drop(landed);
    }
}

impl<K, T, S> Clone for Flights<K, T, S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K, T, S> fmt::Debug for Flights<K, T, S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Flights").field("joined", &self.joined()).finish_non_exhaustive()
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

/// An input as a part of a key. Of a long one the hash reads samples only; equal it is to nothing but the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input(pub Bytes);

/// Inputs up to this are hashed whole.
const WHOLE_BYTES: usize = 4 * 1_024;
/// Samples of longer ones, and how long each is. The last is the end.
const SAMPLES: usize = 16;
const SAMPLE_BYTES: usize = 256;

impl Hash for Input {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self(bytes) = self;
        state.write_usize(bytes.len());
        if bytes.len() <= WHOLE_BYTES {
            state.write(bytes);
            return;
        }
        let apart = (bytes.len() - SAMPLE_BYTES) / (SAMPLES - 1);
        for sample in 0..SAMPLES - 1 {
            state.write(&bytes[sample * apart..][..SAMPLE_BYTES]);
        }
        state.write(&bytes[bytes.len() - SAMPLE_BYTES..]);
    }
}

#[cfg(test)]
mod tests;
