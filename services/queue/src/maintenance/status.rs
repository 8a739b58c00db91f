//! What maintenance found and did, for statistics.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hashmesh::v1::StorageStats;

/// The latest findings, shared with whoever asks.
#[derive(Debug, Default)]
pub(crate) struct StorageStatus {
    stats: Mutex<StorageStats>,
}

impl StorageStatus {
    /// What is known now.
    pub(crate) fn stats(&self) -> StorageStats {
        *self.lock()
    }

    /// Notes what was found.
    pub(super) fn note(&self, note: impl FnOnce(&mut StorageStats)) {
        note(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, StorageStats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
