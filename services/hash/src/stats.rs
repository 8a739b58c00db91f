//! What the Hash service has done since its start.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Counts of inputs. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct HashStats {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    computed: AtomicU64,
    joined: AtomicU64,
    streamed: AtomicU64,
}

impl HashStats {
    /// Inputs of one message that were hashed.
    #[must_use]
    pub fn computed(&self) -> u64 {
        self.counts.computed.load(Ordering::Relaxed)
    }

    /// Calls whose input was being hashed for another already.
    #[must_use]
    pub fn joined(&self) -> u64 {
        self.counts.joined.load(Ordering::Relaxed)
    }

    /// Inputs of several messages that were hashed.
    #[must_use]
    pub fn streamed(&self) -> u64 {
        self.counts.streamed.load(Ordering::Relaxed)
    }

    pub(crate) fn add_streamed(&self) {
        self.counts.streamed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_computed(&self) {
        self.counts.computed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_joined(&self) {
        self.counts.joined.fetch_add(1, Ordering::Relaxed);
    }
}
