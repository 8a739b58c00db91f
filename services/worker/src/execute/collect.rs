//! What becomes of the tasks of a group, one after another, on its way to the shelf.

use hashmesh::{algorithm::stride, error::TaskReason, limits::MAX_RESULTS_FRAME_BYTES, v1::OutcomeStatus};
use hashmesh_hash::Recipe;
use hashmesh_runtime::metrics::catalogue::worker::READ_FAILURES;
use tokio::time::Instant;

use super::{
    PART_INTERVAL,
    group::Stopped,
    piece::{Piece, Shelf},
};
use crate::{
    leases::HeldLease,
    sources::{Read, ReadError},
};

/// A piece of this size is cut off: so two neighbours fill a frame, and what a group holds is bounded.
const CUT_BYTES: usize = MAX_RESULTS_FRAME_BYTES / 2;

/// Collects a group's outcomes and puts them on the shelf in pieces: every [`PART_INTERVAL`], and when one is large.
#[derive(Debug)]
pub(super) struct Collector<'a> {
    held: &'a HeldLease,
    shelf: &'a Shelf,
    /// The length of a task's digests.
    stride: usize,
    /// Those of the task that is worked on.
    digests: Vec<u8>,
    piece: Piece,
    begun: Instant,
}

impl<'a> Collector<'a> {
    /// For tasks from `first` on, counted within the lease.
    pub(super) fn new(first: usize, algorithms: &Recipe, held: &'a HeldLease, shelf: &'a Shelf) -> Self {
        let stride = stride(algorithms);
        let digests = Vec::with_capacity(stride);
        Self { held, shelf, stride, digests, piece: Piece::new(first), begun: Instant::now() }
    }

    /// Before each task: the empty buffer for its digests, or that the lease was cancelled.
    pub(super) fn next_task(&mut self) -> Result<&mut Vec<u8>, Stopped> {
        if self.held.cancelled() {
            return Err(Stopped);
        }
        self.digests.clear();
        Ok(&mut self.digests)
    }

    /// After each task: what became of it.
    pub(super) fn collect(&mut self, worked: Result<(OutcomeStatus, Read), ReadError>) -> Result<(), Stopped> {
        match worked {
            Ok((status, read)) => self.piece.push_digested(status, &self.digests, &read),
            Err(ReadError::Failed(failure)) => {
                READ_FAILURES.add(1, &[failure.reason]);
                if failure.reason == TaskReason::WorkerPanicked.as_str() {
                    self.held.account.failed("a task made the worker panic");
                }
                self.piece.push_failed(failure, self.stride);
            }
            Err(ReadError::Cancelled) => return Err(Stopped),
        }
        self.held.add_tasks_done(1);
        if self.begun.elapsed() >= PART_INTERVAL || self.piece.frame_bytes() >= CUT_BYTES {
            let next = Piece::new(self.piece.end());
            self.shelf.put(std::mem::replace(&mut self.piece, next));
            self.begun = Instant::now();
        }
        Ok(())
    }

    /// After the last task.
    pub(super) fn finish(self) {
        self.shelf.put(self.piece);
    }
}

#[cfg(test)]
mod tests {
    use hashmesh::{
        queue::v1::Lease,
        v1::{Algorithm, ObjectIdentity},
    };
    use tokio::time::{Duration, advance};

    use super::*;
    use crate::{delivery::test_grant, sources::Failure};

    fn algorithms() -> Recipe {
        Recipe::new([Algorithm::Sha256], 0).unwrap()
    }

    fn held() -> HeldLease {
        HeldLease::new(&Lease::default(), test_grant(1))
    }

    /// A failure whose message has this many bytes.
    fn failed(message_bytes: usize) -> Result<(OutcomeStatus, Read), ReadError> {
        Err(ReadError::Failed(Failure { message: "x".repeat(message_bytes), ..Failure::panicked() }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_piece_is_cut_when_it_is_half_a_frame_large() {
        let (held, shelf, algorithms) = (held(), Shelf::default(), algorithms());
        let mut collector = Collector::new(0, &algorithms, &held, &shelf);
        collector.collect(failed(0)).unwrap();
        let besides = collector.piece.frame_bytes();
        for (message_bytes, on_the_shelf) in [(CUT_BYTES - besides - 1, 0), (CUT_BYTES - besides, 1)] {
            let shelf = Shelf::default();
            let mut collector = Collector::new(0, &algorithms, &held, &shelf);
            collector.collect(failed(message_bytes)).unwrap();
            assert_eq!(shelf.task_count(), on_the_shelf);
            collector.finish();
            assert_eq!(shelf.task_count(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_piece_is_cut_when_it_is_time_for_a_part() {
        let (held, shelf, algorithms) = (held(), Shelf::default(), algorithms());
        let mut collector = Collector::new(7, &algorithms, &held, &shelf);
        for (millis, on_the_shelf) in [(0, 0), (499, 0), (1, 3), (499, 3), (1, 5)] {
            advance(Duration::from_millis(millis)).await;
            collector.next_task().unwrap().extend([0; 32]);
            let read = Read { hashed_bytes: 1, identity: ObjectIdentity::default(), state: None };
            collector.collect(Ok((OutcomeStatus::Succeeded, read))).unwrap();
            assert_eq!(shelf.task_count(), on_the_shelf);
        }
        collector.finish();
        let pieces = shelf.take();
        assert_eq!(pieces.iter().map(|piece| (piece.task_count(), piece.end())).collect::<Vec<_>>(), [(5, 12)]);
    }

    #[tokio::test]
    async fn a_cancelled_lease_stops_before_and_after_a_task() {
        let (held, shelf, algorithms) = (held(), Shelf::default(), algorithms());
        let mut collector = Collector::new(0, &algorithms, &held, &shelf);
        assert!(collector.collect(Err(ReadError::Cancelled)).is_err());
        assert!(collector.next_task().is_ok());
        held.cancel();
        assert!(collector.next_task().is_err());
    }
}
