//! What the Hash service has done since its start.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Counts of small inputs. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct HashStats {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    computed: AtomicU64,
    joined: AtomicU64,
}

impl HashStats {
    /// Inputs that were hashed.
    #[must_use]
    pub fn computed(&self) -> u64 {
        self.counts.computed.load(Ordering::Relaxed)
    }

    /// Calls whose input was being hashed for another already.
    #[must_use]
    pub fn joined(&self) -> u64 {
        self.counts.joined.load(Ordering::Relaxed)
    }

    pub(crate) fn add_computed(&self) {
        self.counts.computed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_joined(&self) {
        self.counts.joined.fetch_add(1, Ordering::Relaxed);
    }
}
