//! Committed outcomes in memory for followers: the latest of each submission, all within one budget.
//!
//! Beyond the budget, those that have some give up their oldest in turn, whoever it is that needs room: what a slow reader
//! follows, or nobody, does not stay at the cost of those who read. Without them followers read from Postgres: slower, never
//! wrong.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use hashmesh::v1::{PackedIdentities, PackedOutcomes};

use super::handle::SubmissionHandle;
use crate::{
    mutant::{self, Mutant},
    store::model::TracedOutcomes,
};

/// Outcomes kept for followers of one submission, in bytes.
const SUBMISSION_BYTES: usize = 8 * 1024 * 1024;

/// Bytes kept for all submissions together. What follows has the handle of a submission, and frees what it keeps with it.
#[derive(Debug, Default)]
pub(crate) struct RecentBytes(AtomicUsize);

impl RecentBytes {
    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn free(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn used(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Decides who gives up what.
#[derive(Debug)]
pub(super) struct RecentTurns {
    bytes: Arc<RecentBytes>,
    budget_bytes: usize,
    /// Each submission that has some, once. Some of them may be gone.
    turns: VecDeque<Weak<SubmissionHandle>>,
}

impl RecentTurns {
    pub(super) fn new(budget_bytes: usize) -> Self {
        Self { bytes: Arc::default(), budget_bytes, turns: VecDeque::new() }
    }

    /// The count that handles share.
    pub(super) fn bytes(&self) -> Arc<RecentBytes> {
        Arc::clone(&self.bytes)
    }

    /// Keeps committed outcomes of a submission; others make room if need be.
    pub(super) fn keep(&mut self, submission: &Arc<SubmissionHandle>, outcomes: TracedOutcomes) {
        if submission.keep_recent(outcomes) {
            self.turns.push_back(Arc::downgrade(submission));
            self.sweep();
        }
        while self.bytes.used() > self.budget_bytes {
            let Some(next) = self.turns.pop_front() else { return };
            if next.upgrade().is_some_and(|submission| submission.drop_oldest_recent()) {
                self.turns.push_back(next);
            }
        }
    }

    /// Two looks for each that comes: those that are gone stay fewer than those that are there.
    fn sweep(&mut self) {
        for _ in 0..2 {
            let Some(next) = self.turns.pop_front() else { return };
            if next.strong_count() > 0 {
                self.turns.push_back(next);
            }
        }
    }
}

/// The latest outcomes of one submission, without gaps among them.
#[derive(Debug)]
pub(super) struct Recent {
    rows: VecDeque<TracedOutcomes>,
    bytes: usize,
    all: Arc<RecentBytes>,
    /// It is among those that give up some in turn.
    in_turn: bool,
}

impl Recent {
    pub(super) fn new(all: Arc<RecentBytes>) -> Self {
        Self { rows: VecDeque::new(), bytes: 0, all, in_turn: false }
    }

    /// True if it had none, and is to give up some in turn from now on.
    pub(super) fn push(&mut self, row: TracedOutcomes) -> bool {
        let next = self.rows.back().map(|last| last.outcomes.through_position() + 1);
        if next.is_some_and(|next| next != row.outcomes.first_position) {
            self.shrink(0);
        }
        let bytes = weight(&row.outcomes);
        self.bytes += bytes;
        self.all.add(bytes);
        self.rows.push_back(row);
        self.shrink(SUBMISSION_BYTES);
        !std::mem::replace(&mut self.in_turn, true)
    }

    /// Drops the oldest. False if none is left.
    pub(super) fn drop_oldest(&mut self) -> bool {
        self.shrink(self.bytes.saturating_sub(1));
        self.in_turn = !self.rows.is_empty();
        self.in_turn
    }

    /// Drops the oldest until at most `keep` bytes are left.
    fn shrink(&mut self, keep: usize) {
        while self.bytes > keep {
            let Some(row) = self.rows.pop_front() else { return };
            self.bytes -= weight(&row.outcomes);
            self.all.free(weight(&row.outcomes));
        }
    }

    /// Those behind `position`, at most about `max_bytes`. `None`: not all of them are here.
    pub(super) fn after(&self, position: u64, max_bytes: usize) -> Option<Vec<TracedOutcomes>> {
        let next = position + 1;
        if self.rows.front().is_none_or(|first| first.outcomes.first_position > next) {
            return None;
        }
        let skips = u64::from(mutant::active(Mutant::FollowerSkips));
        let begin = self.rows.partition_point(|row| row.outcomes.through_position() < next + skips);
        let mut found = Vec::new();
        let mut bytes = 0;
        for row in self.rows.range(begin..) {
            bytes += weight(&row.outcomes);
            if bytes > max_bytes && !found.is_empty() {
                break;
            }
            let outcomes = row.outcomes.clone().after_position(position);
            found.extend(outcomes.map(|outcomes| TracedOutcomes { outcomes, trace_context: row.trace_context }));
        }
        Some(found)
    }
}

impl Drop for Recent {
    fn drop(&mut self) {
        self.all.free(self.bytes);
    }
}

/// What a row of outcomes occupies in memory and on the wire, roughly.
pub(crate) fn weight(row: &PackedOutcomes) -> usize {
    let names = row.names.as_ref().map_or(0, |names| names.data.len() + 4 * names.lengths.len());
    let failures: usize =
        row.failures.iter().map(|failure| 64 + failure.error.as_ref().map_or(0, |error| error.message.len())).sum();
    let identities = row.identities.as_ref().map_or(0, PackedIdentities::weight);
    128 + row.digests.len() + row.statuses.len() + names + failures + identities
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::engine::Tail;

    const ROW: usize = 128 + 1_000;

    fn row(position: u64) -> TracedOutcomes {
        let outcomes = PackedOutcomes {
            first_position: position,
            task_count: 1,
            digests: vec![0; ROW - 128].into(),
            ..PackedOutcomes::default()
        };
        TracedOutcomes { outcomes, trace_context: None }
    }

    fn submission(turns: &RecentTurns) -> Arc<SubmissionHandle> {
        SubmissionHandle::new(Uuid::nil(), String::new(), Tail::default(), turns.bytes()).0
    }

    fn kept(submission: &SubmissionHandle) -> Vec<u64> {
        let first = (0..100).find_map(|position| submission.recent_after(position, usize::MAX));
        first.unwrap_or_default().iter().map(|row| row.outcomes.first_position).collect()
    }

    #[test]
    fn promise_8_what_nobody_reads_makes_room_for_those_who_read() {
        let mut turns = RecentTurns::new(8 * ROW);
        // Its reader is slow: it keeps the handle, whatever becomes of the submission.
        let slow = submission(&turns);
        (1..=8).for_each(|position| turns.keep(&slow, row(position)));
        assert_eq!(kept(&slow).len(), 8);
        let quick = submission(&turns);
        for position in 1..=20 {
            turns.keep(&quick, row(position));
            assert!(turns.bytes.used() <= 8 * ROW);
            assert_eq!(kept(&quick).last(), Some(&position), "the newest can be followed");
        }
        assert_eq!(kept(&slow), [0; 0]);
        assert_eq!(kept(&quick), (13..=20).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_kept_is_freed_with_its_submission_and_those_that_are_gone_are_not_remembered() {
        let mut turns = RecentTurns::new(8 * ROW);
        let stays = submission(&turns);
        turns.keep(&stays, row(1));
        for _ in 0..1_000 {
            turns.keep(&submission(&turns), row(1));
            assert!(turns.turns.len() <= 4, "{}", turns.turns.len());
        }
        assert_eq!(turns.bytes.used(), ROW);
        assert_eq!(kept(&stays), [1]);
    }

    #[test]
    fn outcomes_that_do_not_follow_on_replace_those_before() {
        let mut turns = RecentTurns::new(8 * ROW);
        let submission = submission(&turns);
        for position in [1, 2, 7, 8] {
            turns.keep(&submission, row(position));
        }
        assert_eq!(kept(&submission), [7, 8]);
        assert_eq!(submission.recent_after(1, usize::MAX), None);
        assert_eq!(turns.bytes.used(), 2 * ROW);
    }
}
