//! What callers share with the engine about one unfinished submission: how far it is, and its latest outcomes.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use hashmesh::v1::PackedOutcomes;
use tokio::sync::watch;
use uuid::Uuid;

use crate::{error::QueueError, store::model::Totals};

/// How far a submission is, as far as it is committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    /// Its creation is committed.
    pub(crate) created: bool,
    /// Batches stored.
    pub(crate) stored: u32,
    /// Their tasks.
    pub(crate) accepted: u64,
    /// The last position.
    pub(crate) position: u64,
    pub(crate) totals: Totals,
    /// By the database's clock. Not set: not created, or by an owner before this one.
    pub(crate) created_at: Option<SystemTime>,
    /// By the database's clock. Not set: not ended.
    pub(crate) ended_at: Option<SystemTime>,
    /// Sealed, or beyond.
    pub(crate) sealed: bool,
    /// Completed or cancelled.
    pub(crate) ended: bool,
    /// Counts the writers that claimed the submission; the last one is the writer.
    pub(crate) writer: u64,
}

/// Outcomes kept in memory for followers, over all submissions.
#[derive(Debug)]
pub(crate) struct RecentBudget {
    used: AtomicUsize,
    bytes: usize,
}

impl RecentBudget {
    pub(crate) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), bytes })
    }
}

/// Outcomes kept in memory for followers of one submission.
const RECENT_BYTES: usize = 8 * 1024 * 1024;

/// One unfinished submission. The engine holds the sender of its tail: when that is gone, so is the truth in memory.
#[derive(Debug)]
pub(crate) struct SubmissionHandle {
    pub(crate) id: Uuid,
    pub(crate) tenant: String,
    tail: watch::Receiver<Tail>,
    recent: Mutex<Recent>,
    recent_budget: Arc<RecentBudget>,
    failure: OnceLock<QueueError>,
}

impl SubmissionHandle {
    /// A handle and the sender that the engine keeps.
    pub(crate) fn new(
        id: Uuid,
        tenant: String,
        tail: Tail,
        recent_budget: Arc<RecentBudget>,
    ) -> (Arc<Self>, watch::Sender<Tail>) {
        let (sender, receiver) = watch::channel(tail);
        let handle = Self {
            id,
            tenant,
            tail: receiver,
            recent: Mutex::new(Recent::default()),
            recent_budget,
            failure: OnceLock::new(),
        };
        (Arc::new(handle), sender)
    }

    /// How far the submission is, and a way to wait for more.
    pub(crate) fn tail(&self) -> watch::Receiver<Tail> {
        self.tail.clone()
    }

    /// Why the engine let go of the submission.
    pub(crate) fn failure(&self) -> QueueError {
        self.failure.get().cloned().unwrap_or(QueueError::Recovering)
    }

    /// Says why the engine lets go of the submission; the first reason counts.
    pub(crate) fn fail(&self, error: QueueError) {
        let _ = self.failure.set(error);
    }

    /// Waits until `reached` holds of the tail.
    pub(crate) async fn wait(&self, reached: impl FnMut(&Tail) -> bool) -> Result<Tail, QueueError> {
        let mut tail = self.tail();
        let found = tail.wait_for(reached).await.map(|tail| *tail);
        found.map_err(|_| self.failure())
    }

    /// Keeps committed outcomes for followers. Without them followers read from Postgres: slower, never wrong.
    pub(crate) fn remember(&self, outcomes: PackedOutcomes) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push(outcomes, &self.recent_budget);
    }

    /// Outcomes behind `position` that are still in memory, at most about `max_bytes`. `None`: read them from Postgres.
    pub(crate) fn recent_after(&self, position: u64, max_bytes: usize) -> Option<Vec<PackedOutcomes>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.after(position, max_bytes)
    }
}

impl Drop for SubmissionHandle {
    fn drop(&mut self) {
        let recent = self.recent.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.recent_budget.used.fetch_sub(recent.bytes, Ordering::Relaxed);
    }
}

/// The latest outcomes, without gaps among them.
#[derive(Debug, Default)]
struct Recent {
    rows: VecDeque<PackedOutcomes>,
    bytes: usize,
}

impl Recent {
    fn push(&mut self, row: PackedOutcomes, budget: &RecentBudget) {
        if self.rows.back().is_some_and(|last| last.through_position() + 1 != row.first_position) {
            self.shrink(0, budget);
        }
        let bytes = weight(&row);
        self.bytes += bytes;
        budget.used.fetch_add(bytes, Ordering::Relaxed);
        self.rows.push_back(row);
        let over = budget.used.load(Ordering::Relaxed) > budget.bytes;
        self.shrink(if over { 0 } else { RECENT_BYTES }, budget);
    }

    /// Drops the oldest until at most `keep` bytes are left.
    fn shrink(&mut self, keep: usize, budget: &RecentBudget) {
        while self.bytes > keep {
            let Some(row) = self.rows.pop_front() else { return };
            self.bytes -= weight(&row);
            budget.used.fetch_sub(weight(&row), Ordering::Relaxed);
        }
    }

    fn after(&self, position: u64, max_bytes: usize) -> Option<Vec<PackedOutcomes>> {
        let next = position + 1;
        if self.rows.front().is_none_or(|first| first.first_position > next) {
            return None;
        }
        let begin = self.rows.partition_point(|row| row.through_position() < next);
        let mut found = Vec::new();
        let mut bytes = 0;
        for row in self.rows.range(begin..) {
            bytes += weight(row);
            if bytes > max_bytes && !found.is_empty() {
                break;
            }
            found.extend(row.clone().after_position(position));
        }
        Some(found)
    }
}

/// What a row of outcomes occupies in memory and on the wire, roughly.
pub(crate) fn weight(row: &PackedOutcomes) -> usize {
    let names = row.names.as_ref().map_or(0, |names| names.data.len() + 4 * names.lengths.len());
    let failures: usize =
        row.failures.iter().map(|failure| 64 + failure.error.as_ref().map_or(0, |error| error.message.len())).sum();
    128 + row.digests.len() + row.statuses.len() + names + failures
}
