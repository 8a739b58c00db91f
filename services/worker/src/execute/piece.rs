//! Outcomes of neighbouring tasks, as they are collected, and the shelf where threads put them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hashmesh::{
    limits::MAX_RESULTS_FRAME_BYTES,
    outcomes::IdentitiesBuilder,
    queue::v1::{AttemptFailure, LeaseOutcomes},
    v1::OutcomeStatus,
};

use crate::{
    leases::LeaseRange,
    sources::{Failure, Read},
};

/// What became of a run of neighbouring tasks.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Piece {
    /// The first task, counted within the lease.
    first: usize,
    task_count: usize,
    /// Each task's digests, concatenated; zeros for a failed one.
    digests: Vec<u8>,
    /// A byte per task; empty while all succeeded.
    statuses: Vec<u8>,
    failures: Vec<AttemptFailure>,
    failure_bytes: usize,
    hashed_bytes: u64,
    identities: IdentitiesBuilder,
}

impl Piece {
    pub(crate) fn new(first: usize) -> Self {
        Self { first, ..Self::default() }
    }

    /// A piece of tasks that all succeeded.
    pub(crate) fn succeeded(first: usize, task_count: usize, digests: Vec<u8>, hashed_bytes: u64) -> Self {
        let identities = IdentitiesBuilder::unknown(task_count);
        Self { first, task_count, digests, hashed_bytes, identities, ..Self::default() }
    }

    /// The same, of inputs of these sizes.
    pub(crate) fn of_sizes(self, sizes: &[u32]) -> Self {
        Self { identities: IdentitiesBuilder::of_sizes(sizes.iter().map(|size| u64::from(*size))), ..self }
    }

    /// The next task's digests are computed.
    pub(crate) fn push_digested(&mut self, status: OutcomeStatus, digests: &[u8], read: &Read) {
        self.digests.extend_from_slice(digests);
        self.hashed_bytes += read.hashed_bytes;
        self.identities.push(Some(&read.identity));
        self.push_status(status);
    }

    /// The next task failed. `stride` is the length of the digests it would have had.
    pub(crate) fn push_failed(&mut self, failure: Failure, stride: usize) {
        self.digests.resize(self.digests.len() + stride, 0);
        self.failure_bytes += failure.message.len() + FAILURE_FRAMING_BYTES;
        // A lease has 10,000 tasks at most.
        self.failures.push(failure.into_attempt(self.task_count as u32));
        self.identities.push(None);
        self.push_status(OutcomeStatus::Failed);
    }

    fn push_status(&mut self, status: OutcomeStatus) {
        if status != OutcomeStatus::Succeeded && self.statuses.is_empty() {
            self.statuses = vec![OutcomeStatus::Succeeded as u8; self.task_count];
        }
        if status != OutcomeStatus::Succeeded || !self.statuses.is_empty() {
            self.statuses.push(status as u8);
        }
        self.task_count += 1;
    }

    pub(crate) fn task_count(&self) -> usize {
        self.task_count
    }

    /// The first task behind the piece.
    pub(crate) fn end(&self) -> usize {
        self.first + self.task_count
    }

    /// About the size of its frame.
    pub(crate) fn frame_bytes(&self) -> usize {
        self.digests.len() + self.statuses.len() + self.failure_bytes + self.identities.frame_bytes()
    }

    /// Appends a piece that begins where this one ends.
    fn append(&mut self, next: Self) {
        if !self.statuses.is_empty() || !next.statuses.is_empty() {
            let succeeded = OutcomeStatus::Succeeded as u8;
            self.statuses.resize(self.task_count, succeeded);
            self.statuses.extend_from_slice(&next.statuses);
            self.statuses.resize(self.task_count + next.task_count, succeeded);
        }
        let shift = self.task_count as u32;
        self.failures.extend(next.failures.into_iter().map(|mut failure| {
            failure.offset += shift;
            failure
        }));
        self.digests.extend_from_slice(&next.digests);
        self.identities.append(&next.identities);
        self.failure_bytes += next.failure_bytes;
        self.hashed_bytes += next.hashed_bytes;
        self.task_count += next.task_count;
    }

    /// The piece as it is sent, but for the lease's number and epoch, which may change until then.
    pub(crate) fn into_outcomes(self, range: &LeaseRange, traceparent: String, last: bool) -> LeaseOutcomes {
        LeaseOutcomes {
            lease_id: 0,
            epoch: 0,
            fingerprint: range.fingerprint.clone(),
            first_task: range.first_task + self.first as u32,
            task_count: self.task_count as u32,
            digests: self.digests.into(),
            statuses: self.statuses.into(),
            failures: self.failures,
            hashed_bytes: self.hashed_bytes,
            identities: self.identities.finish(),
            kernel: range.kernel.clone().into_owned(),
            r#final: last,
            traceparent,
        }
    }
}

/// What a failure takes in a frame besides its message: reason, tags, lengths.
const FAILURE_FRAMING_BYTES: usize = 48;

/// Where a lease's threads put what they have done. Bounded by the lease: each task is put once.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    pieces: Mutex<Vec<Piece>>,
}

impl Shelf {
    pub(crate) fn put(&self, piece: Piece) {
        if piece.task_count > 0 {
            self.lock().push(piece);
        }
    }

    /// Tasks on the shelf.
    pub(crate) fn task_count(&self) -> usize {
        self.lock().iter().map(Piece::task_count).sum()
    }

    /// Empties the shelf: by ascending task, neighbours joined as far as a frame holds them.
    pub(crate) fn take(&self) -> Vec<Piece> {
        let mut pieces = std::mem::take(&mut *self.lock());
        pieces.sort_unstable_by_key(|piece| piece.first);
        let mut joined: Vec<Piece> = Vec::new();
        for piece in pieces {
            match joined.last_mut() {
                Some(last)
                    if last.end() == piece.first
                        && last.frame_bytes() + piece.frame_bytes() <= MAX_RESULTS_FRAME_BYTES =>
                {
                    last.append(piece);
                }
                _ => joined.push(piece),
            }
        }
        joined
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Piece>> {
        // A vector is whole between any two calls.
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use hashmesh::v1::ObjectIdentity;

    use super::*;

    fn mixed(first: usize) -> Piece {
        let mut piece = Piece::new(first);
        let read = |hashed_bytes| {
            let identity = ObjectIdentity { size: hashed_bytes, ..ObjectIdentity::default() };
            Read { hashed_bytes, identity, state: None }
        };
        piece.push_digested(OutcomeStatus::Succeeded, &[1; 4], &read(10));
        piece.push_failed(Failure::panicked(), 4);
        piece.push_digested(OutcomeStatus::Mismatched, &[2; 4], &read(20));
        piece
    }

    #[test]
    fn neighbours_are_joined_in_order_whatever_order_they_were_put_in() {
        let shelf = Shelf::default();
        shelf.put(mixed(5));
        shelf.put(Piece::succeeded(3, 2, vec![9; 8], 3));
        shelf.put(mixed(0));
        shelf.put(Piece::succeeded(9, 1, vec![8; 4], 1));
        assert_eq!(shelf.task_count(), 9);
        let pieces = shelf.take();
        assert_eq!(pieces.iter().map(|piece| (piece.first, piece.task_count)).collect::<Vec<_>>(), [(0, 8), (9, 1)]);
        assert_eq!(shelf.task_count(), 0);

        let range = LeaseRange { fingerprint: vec![3; 32].into(), first_task: 100, ..LeaseRange::default() };
        let outcomes = pieces.into_iter().next().unwrap().into_outcomes(&range, String::new(), true);
        assert_eq!((outcomes.first_task, outcomes.task_count, outcomes.hashed_bytes), (100, 8, 63));
        assert_eq!(*outcomes.statuses, [1, 3, 2, 1, 1, 1, 3, 2]);
        assert_eq!(outcomes.failures.iter().map(|failure| failure.offset).collect::<Vec<_>>(), [1, 6]);
        assert_eq!(outcomes.digests.len(), 8 * 4);
        assert_eq!(outcomes.digests[4..8], [0; 4], "a failed task's digests are zeros");
        assert_eq!(outcomes.identities.unwrap().sizes, [10, 0, 20, 0, 0, 10, 0, 20]);
        assert!(outcomes.r#final);
    }

    #[test]
    fn statuses_are_left_out_when_every_task_succeeded() {
        let shelf = Shelf::default();
        shelf.put(Piece::succeeded(0, 2, vec![0; 8], 3));
        shelf.put(Piece::succeeded(2, 2, vec![0; 8], 3));
        let pieces = shelf.take();
        assert_eq!(pieces.len(), 1);
        assert!(pieces[0].statuses.is_empty());
    }

    #[test]
    fn pieces_are_joined_only_as_far_as_a_frame_holds_them() {
        let shelf = Shelf::default();
        for first in 0..3 {
            shelf.put(Piece::succeeded(first, 1, vec![0; MAX_RESULTS_FRAME_BYTES / 2], 0));
        }
        assert_eq!(shelf.take().iter().map(Piece::task_count).collect::<Vec<_>>(), [2, 1]);
    }
}
