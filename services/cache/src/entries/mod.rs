//! Digests that need not be computed again: an entry's way through the layers.
//!
//! ```text
//! get ── lookup.rs:  memory.rs ── flights.rs ── shared.rs (Redis) ── stored.rs (Postgres)
//! put ── putting.rs: stored.rs ── shared.rs ── memory.rs
//! both ─ invalidated.rs: what does not count any more
//! ```
//!
//! No answer of any layer is waited for longer than reading an object is worth, and an error is a miss.

mod counters;
mod entry;
mod events;
mod flights;
mod invalidated;
mod key;
mod lookup;
mod memory;
mod putting;
mod rpc;
mod shared;
mod stored;
mod upkeep;
pub(crate) mod watches;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use hashmesh::{
    cache::v1::CachedObject,
    v1::{Algorithm, CacheStats},
};
use hashmesh_database::Database;
use tokio::sync::Semaphore;

pub use self::events::{CacheEvents, EventError};
use self::{
    counters::Counters,
    flights::Flights,
    invalidated::{Invalidated, Invalidation},
    key::Key,
    memory::Memory,
    shared::Shared,
    stored::Stored,
};
pub(crate) use self::{rpc::CacheRpc, stored::StoredError, upkeep::Upkeep};
use crate::{config::EntriesConfig, redis::Redis};

/// Early look-ups at once; others are left to the next who asks.
const EARLY_AT_ONCE: usize = 16;

/// Which digests are meant.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) tenant: String,
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) part_bytes: u64,
}

/// All layers.
#[derive(Debug)]
pub(crate) struct Entries {
    memory: Memory,
    flights: Flights,
    shared: Option<Shared>,
    stored: Stored,
    invalidated: Invalidated,
    counters: Counters,
    early: Arc<Semaphore>,
    uses: Mutex<HashMap<Key, u32>>,
    config: EntriesConfig,
}

impl Entries {
    /// Opens the tables.
    pub(crate) async fn open(
        database: Database,
        redis: Option<Redis>,
        config: EntriesConfig,
    ) -> Result<Self, StoredError> {
        let stored = Stored::new(database);
        let (seal, latest) = stored.open(rand::random()).await?;
        let entries = Self {
            memory: Memory::new(config.memory_bytes, config.memory_ttl),
            flights: Flights::default(),
            shared: redis.map(|redis| Shared::new(redis, seal, config.redis_ttl)),
            // All that may still cover something is noted before anything is answered.
            invalidated: Invalidated::new(0),
            stored,
            counters: Counters::default(),
            early: Arc::new(Semaphore::new(EARLY_AT_ONCE)),
            uses: Mutex::default(),
            config,
        };
        entries.hear().await?;
        entries.invalidated.reach(latest);
        Ok(entries)
    }

    /// Forgets what was computed before. How many entries were deleted at once.
    pub(crate) async fn invalidate(&self, tenant: String, uri: String, prefix: bool) -> Result<u64, StoredError> {
        let (generation, keys) = self.stored.invalidate(&tenant, &uri, prefix).await?;
        self.invalidated.note(Invalidation { generation, tenant, uri, prefix });
        keys.iter().for_each(|key| self.memory.forget(key));
        if let Some(shared) = self.shared.as_ref().filter(|_| !keys.is_empty()) {
            // What stays there does not count.
            let _ = shared.forget(&keys).await;
        }
        Ok(keys.len() as u64)
    }

    /// Brings what is used most into Redis and memory. How many entries.
    pub(crate) async fn warm(&self, tenant: &str, most: u32) -> Result<u32, StoredError> {
        let rows = self.stored.hottest(tenant, most).await?;
        for some in rows.chunks(1_000) {
            self.share(some).await;
        }
        for row in &rows {
            self.memory.put(row.key, Arc::new(row.entry.clone()), Duration::ZERO);
        }
        self.counters.warmed.add(rows.len());
        Ok(u32::try_from(rows.len()).unwrap_or(u32::MAX))
    }

    /// What was counted.
    pub(crate) fn stats(&self) -> CacheStats {
        let (memory_entries, memory_bytes, evicted_entries) = self.memory.counts();
        let counted = self.counters.stats();
        CacheStats {
            memory_entries,
            memory_bytes,
            evicted_entries,
            joined_requests: counted.joined_requests + self.flights.joined(),
            ..counted
        }
    }

    /// Learns what other Cache services have invalidated.
    async fn hear(&self) -> Result<(), StoredError> {
        loop {
            let news = self.stored.invalidations(self.invalidated.latest()).await?;
            if news.is_empty() {
                self.invalidated.heard();
                return Ok(());
            }
            news.into_iter().for_each(|invalidation| self.invalidated.note(invalidation));
        }
    }

    fn stored_failed(&self, error: &StoredError) {
        self.counters.postgres_failures.add(1);
        tracing::debug!(error = error as &dyn std::error::Error, "Postgres is left out");
    }
}

impl Wanted {
    /// One per algorithm.
    fn keys(&self, object: &CachedObject) -> Vec<Key> {
        let key = |algorithm: &Algorithm| Key::of(&self.tenant, object, *algorithm, self.part_bytes);
        self.algorithms.iter().map(key).collect()
    }
}
