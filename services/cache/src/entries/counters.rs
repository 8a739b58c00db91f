//! What was counted since the start.

use std::sync::atomic::{AtomicU64, Ordering};

use hashmesh::{cache::v1::Verdicts, v1::CacheStats};

/// Numbers that only grow.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) memory_hits: Count,
    pub(crate) redis_hits: Count,
    pub(crate) postgres_hits: Count,
    pub(crate) misses: Count,
    pub(crate) taken: Count,
    pub(crate) changed: Count,
    pub(crate) saved_bytes: Count,
    pub(crate) readings_joined: Count,
    pub(crate) put: Count,
    pub(crate) invalidated: Count,
    pub(crate) rejected: Count,
    pub(crate) early_refreshes: Count,
    pub(crate) warmed: Count,
    pub(crate) expired: Count,
    pub(crate) redis_failures: Count,
    pub(crate) postgres_failures: Count,
}

/// One of them.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: usize) {
        self.add_bytes(more as u64);
    }

    pub(crate) fn add_bytes(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    /// What a caller has found out about earlier answers.
    pub(crate) fn note(&self, verdicts: Option<Verdicts>) {
        let Verdicts { taken, saved_bytes, changed, joined } = verdicts.unwrap_or_default();
        self.taken.add_bytes(taken);
        self.saved_bytes.add_bytes(saved_bytes);
        self.changed.add_bytes(changed);
        self.readings_joined.add_bytes(joined);
    }

    /// All of them; what memory and look-ups count is for the caller to add.
    pub(crate) fn stats(&self) -> CacheStats {
        CacheStats {
            memory_hits: self.memory_hits.get(),
            redis_hits: self.redis_hits.get(),
            postgres_hits: self.postgres_hits.get(),
            misses: self.misses.get(),
            taken_objects: self.taken.get(),
            changed_objects: self.changed.get(),
            saved_bytes: self.saved_bytes.get(),
            put_entries: self.put.get(),
            invalidated_entries: self.invalidated.get(),
            rejected_values: self.rejected.get(),
            joined_requests: self.readings_joined.get(),
            early_refreshes: self.early_refreshes.get(),
            warmed_entries: self.warmed.get(),
            expired_entries: self.expired.get(),
            redis_failures: self.redis_failures.get(),
            postgres_failures: self.postgres_failures.get(),
            ..CacheStats::default()
        }
    }
}
