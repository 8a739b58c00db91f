//! The first layer: in this process, for some minutes.
//!
//! What costs much to read again is not thrown out by very much that costs little: entries stand on shelves by what a hit saves,
//! each with room of its own, and on its shelf what is asked for often stays.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::{notification::RemovalCause, sync::Cache};
use tokio::time::Instant;

use super::{entry::Entry, key::Key};

/// Each shelf: up to how many bytes a hit saves there, and its share of the room in percent.
const SHELVES: [(u64, u64); 3] = [(64 * 1024, 50), (16 * 1024 * 1024, 30), (u64::MAX, 20)];

/// How eagerly what expires soon is looked up again (the β of XFetch).
const EAGERNESS: f64 = 1.0;

/// An entry on a shelf.
#[derive(Clone, Debug)]
struct Held {
    entry: Arc<Entry>,
    expires_at: Instant,
    /// How long it took to get it.
    took: Duration,
}

/// The shelves.
#[derive(Debug)]
pub(crate) struct Memory {
    shelves: [Cache<Key, Held>; 3],
    lives: Duration,
    evicted: Arc<AtomicU64>,
}

/// What was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) entry: Arc<Entry>,
    /// It leaves soon, and somebody should look it up before.
    pub(crate) refresh: bool,
}

impl Memory {
    /// Holds entries of about this many bytes, each for so long.
    pub(crate) fn new(bytes: u64, lives: Duration) -> Self {
        let evicted = Arc::new(AtomicU64::new(0));
        let shelf = |(_, percent): (u64, u64)| {
            let evicted = Arc::clone(&evicted);
            Cache::builder()
                .max_capacity(bytes / 100 * percent)
                .weigher(|_, held: &Held| u32::try_from(held.entry.weight()).unwrap_or(u32::MAX))
                .time_to_live(lives)
                .eviction_listener(move |_, _, cause| {
                    if cause == RemovalCause::Size {
                        evicted.fetch_add(1, Ordering::Relaxed);
                    }
                })
                .build()
        };
        Self { shelves: SHELVES.map(shelf), lives, evicted }
    }

    /// What is known under a key. `chance`, between 0 and 1, decides who looks it up early.
    pub(crate) fn get(&self, key: &Key, now: Instant, chance: f64) -> Option<Found> {
        let held = self.shelves.iter().find_map(|shelf| shelf.get(key))?;
        let refresh = expires_early(now, held.expires_at, held.took, chance);
        Some(Found { entry: held.entry, refresh })
    }

    /// Keeps an entry that took so long to get.
    pub(crate) fn put(&self, key: Key, entry: Arc<Entry>, took: Duration) {
        let place = SHELVES.iter().position(|(most, _)| entry.read_bytes <= *most).unwrap_or(0);
        for (number, shelf) in self.shelves.iter().enumerate() {
            if number != place && shelf.contains_key(&key) {
                shelf.invalidate(&key);
            }
        }
        self.shelves[place].insert(key, Held { entry, expires_at: Instant::now() + self.lives, took });
    }

    pub(crate) fn forget(&self, key: &Key) {
        self.shelves.iter().for_each(|shelf| shelf.invalidate(key));
    }

    /// Entries that left for want of room, as far as it is known.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Entries, and the bytes that they take, about; and how many left for want of room.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        self.shelves.iter().for_each(Cache::run_pending_tasks);
        let entries = self.shelves.iter().map(Cache::entry_count).sum();
        let bytes = self.shelves.iter().map(Cache::weighted_size).sum();
        (entries, bytes, self.evicted())
    }
}

/// XFetch (Vattani, Chierichetti, Lowenstein 2015): each who finds an entry throws dice, which fall the likelier to an early
/// look-up the nearer the end and the longer it takes; of many one does it in time, and nobody waits for it.
fn expires_early(now: Instant, expires_at: Instant, took: Duration, chance: f64) -> bool {
    let early = took.as_secs_f64() * EAGERNESS * -chance.max(f64::MIN_POSITIVE).ln();
    now + Duration::from_secs_f64(early) >= expires_at
}

#[cfg(test)]
mod tests {
    use hashmesh::cache::v1::ObjectState;

    use super::*;

    fn entry(read_bytes: u64) -> Arc<Entry> {
        let state = ObjectState::default();
        Arc::new(Entry { state, digest: vec![1; 32].into(), generation: 0, read_bytes })
    }

    fn key(number: u64) -> Key {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        Key(key)
    }

    #[test]
    fn much_that_is_cheap_throws_nothing_out_that_is_dear() {
        let memory = Memory::new(1_000_000, Duration::from_secs(60));
        for number in 0..100 {
            memory.put(key(number), entry(1 << 30), Duration::ZERO);
        }
        for number in 1_000..101_000 {
            memory.put(key(number), entry(10), Duration::ZERO);
        }
        let (entries, bytes, evicted) = memory.counts();
        assert!(bytes <= 1_000_000 && entries < 5_000 && evicted > 90_000, "{entries} {bytes} {evicted}");
        let found = |number| memory.get(&key(number), Instant::now(), 1.0).is_some();
        assert!((0..100).all(found));
        memory.forget(&key(7));
        assert!(!found(7));
        // It is on one shelf at a time.
        memory.put(key(8), entry(1), Duration::ZERO);
        assert_eq!(memory.get(&key(8), Instant::now(), 1.0).unwrap().entry.read_bytes, 1);
    }

    #[test]
    fn an_early_look_up_is_the_likelier_the_nearer_the_end_and_the_longer_it_takes() {
        let (now, took) = (Instant::now(), Duration::from_millis(100));
        let share = |left: Duration, took| {
            let early =
                (1..10_000).filter(|chance| expires_early(now, now + left, took, f64::from(*chance) / 10_000.0));
            early.count() as f64 / 10_000.0
        };
        let (far, near) = (share(Duration::from_millis(500), took), share(Duration::from_millis(50), took));
        // exp(-left / took), by the rule.
        assert!((far - 0.0067).abs() < 0.002 && (near - 0.606).abs() < 0.01, "{far} {near}");
        assert!(share(Duration::from_millis(500), 10 * took) > 0.5);
        assert!(share(Duration::ZERO, Duration::ZERO) > 0.99);
        assert!(share(Duration::from_millis(1), Duration::ZERO) < 0.001);
    }
}
