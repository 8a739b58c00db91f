//! Memory for payload on its way to Postgres: who may bring more, and how much each stream should have under way.
//!
//! Batches are admitted in the order in which they came, one of each stream at a time, so that streams that bring much do
//! not keep others from bringing anything. What a stream sends beyond that waits unread in windows of the transport, which
//! are no part of this memory: while less than half of it is free, streams are told to have no more under way than their
//! share of all of it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use hashmesh::limits::WINDOW_BYTES;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::QueueError;

/// Payload is admitted in units of this many bytes.
const UNIT: usize = 1024;
/// The smallest window that streams are told. One batch may always be under way.
const LEAST_WINDOW_BYTES: usize = 64 * 1024;

/// Memory that a batch occupies until it is committed.
pub(crate) type Admitted = OwnedSemaphorePermit;

/// The memory of one ownership. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    units: Arc<Semaphore>,
    all: usize,
    /// Streams that have batches under way.
    busy: Arc<AtomicUsize>,
}

/// A stream that has batches under way, until this is dropped.
#[derive(Debug)]
pub(crate) struct Busy(Arc<AtomicUsize>);

impl Admission {
    /// So many bytes of payload may be on their way at once.
    pub(crate) fn new(bytes: usize) -> Self {
        let all = bytes.div_ceil(UNIT).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self { units: Arc::new(Semaphore::new(all)), all, busy: Arc::default() }
    }

    /// Waits until memory for a batch of this size is free. This is where callers are slowed down.
    pub(crate) async fn admit(&self, bytes: usize) -> Result<Admitted, QueueError> {
        let admitted = Arc::clone(&self.units).acquire_many_owned(self.units_for(bytes)).await;
        admitted.map_err(|_| QueueError::Recovering)
    }

    /// The same where nobody need wait.
    pub(crate) fn admit_now(&self, bytes: usize) -> Option<Admitted> {
        Arc::clone(&self.units).try_acquire_many_owned(self.units_for(bytes)).ok()
    }

    /// A stream has batches under way.
    pub(crate) fn busy(&self) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(&self.busy))
    }

    /// The bytes that each stream should have under way at most; 0: as many as the limits say.
    pub(crate) fn window_bytes(&self) -> u32 {
        if self.units.available_permits() * 2 >= self.all {
            return 0;
        }
        let share = self.all * UNIT / self.busy.load(Ordering::Relaxed).max(1);
        let share = u32::try_from(share.max(LEAST_WINDOW_BYTES)).unwrap_or(u32::MAX);
        if share < WINDOW_BYTES { share } else { 0 }
    }

    /// One that is larger than everything has to itself what there is.
    fn units_for(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT).clamp(1, self.all)).unwrap_or(u32::MAX)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const MIB: usize = 1024 * 1024;

    #[test]
    fn whoever_waits_is_served_in_turn_and_a_small_batch_does_not_pass_a_large_one() {
        let admission = Admission::new(4 * MIB);
        let first = admission.admit(3 * MIB).now_or_never().unwrap().unwrap();
        let mut large = Box::pin(admission.admit(2 * MIB));
        assert!(large.as_mut().now_or_never().is_none());
        let mut small = Box::pin(admission.admit(1));
        assert!(small.as_mut().now_or_never().is_none());
        assert!(admission.admit_now(1).is_none());
        drop(first);
        assert!(large.now_or_never().is_some());
        assert!(small.now_or_never().is_some());
    }

    #[test]
    fn a_batch_beyond_all_memory_is_admitted_alone() {
        let admission = Admission::new(MIB);
        let all = admission.admit(5 * MIB).now_or_never().unwrap().unwrap();
        assert!(admission.admit_now(1).is_none());
        drop(all);
        assert!(admission.admit_now(1).is_some());
    }

    #[test]
    fn windows_shrink_to_a_share_while_more_than_half_is_taken_and_grow_again() {
        let admission = Admission::new(100 * MIB);
        let streams: Vec<Busy> = (0..50).map(|_| admission.busy()).collect();
        let half = admission.admit_now(50 * MIB).unwrap();
        assert_eq!(admission.window_bytes(), 0);
        let more = admission.admit_now(1).unwrap();
        assert_eq!(admission.window_bytes(), 2 * MIB as u32);
        drop(streams);
        assert_eq!(admission.window_bytes(), 0, "a stream alone has what the limits say");
        let _many: Vec<Busy> = (0..10_000).map(|_| admission.busy()).collect();
        assert_eq!(admission.window_bytes(), 64 * 1024);
        drop((half, more));
        assert_eq!(admission.window_bytes(), 0);
    }
}
