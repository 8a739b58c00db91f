//! What callers share with the engine about one unfinished submission: how far it is, and its latest outcomes.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::SystemTime,
};

use tokio::sync::watch;
use uuid::Uuid;

use super::recent::{Recent, RecentBytes};
use crate::{
    error::QueueError,
    store::model::{Totals, TracedOutcomes},
};

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

/// One unfinished submission. The engine holds the sender of its tail: when that is gone, so is the truth in memory.
#[derive(Debug)]
pub(crate) struct SubmissionHandle {
    pub(crate) id: Uuid,
    pub(crate) tenant: String,
    tail: watch::Receiver<Tail>,
    recent: Mutex<Recent>,
    failure: OnceLock<QueueError>,
}

impl SubmissionHandle {
    /// A handle and the sender that the engine keeps.
    pub(crate) fn new(
        id: Uuid,
        tenant: String,
        tail: Tail,
        recent: Arc<RecentBytes>,
    ) -> (Arc<Self>, watch::Sender<Tail>) {
        let (sender, receiver) = watch::channel(tail);
        let handle =
            Self { id, tenant, tail: receiver, recent: Mutex::new(Recent::new(recent)), failure: OnceLock::new() };
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

    /// Keeps committed outcomes for followers. True if there were none (see [`super::recent`]).
    pub(super) fn keep_recent(&self, outcomes: TracedOutcomes) -> bool {
        self.recent().push(outcomes)
    }

    /// Drops the oldest of them. False if none is left.
    pub(super) fn drop_oldest_recent(&self) -> bool {
        self.recent().drop_oldest()
    }

    /// Outcomes behind `position` that are still in memory, at most about `max_bytes`. `None`: read them from Postgres.
    pub(crate) fn recent_after(&self, position: u64, max_bytes: usize) -> Option<Vec<TracedOutcomes>> {
        self.recent().after(position, max_bytes)
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
