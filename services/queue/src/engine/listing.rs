//! Listings as the engine carries them out: questions to workers, and pages that become batches.
//!
//! A page's batch and how far the listing is with it are one row; the seal of the last page is in the same transaction. So a
//! new owner that goes on from the last stored batch leaves nothing out and lists nothing twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use hashmesh::{
    error::{Reason, TaskReason},
    queue::v1::{AttemptFailure, ListSource, lease_tasks_response::Frame},
    v1::{EndReason, TaskError},
};
use hashmesh_runtime::telemetry::Repeated;
use uuid::Uuid;

use super::{
    Admitted, IncomingBatch,
    expansions::{Lister, PageFailure},
    intake::write_seal,
    lane::After,
    numbers,
    run::{ConnectedWorker, Engine},
    traces::UnitSpan,
};
use crate::{
    core::{Appended, Sealed, Waits, WorkerId},
    error::QueueError,
    store::model::Write,
    wall::WallTime,
};

/// Whoever names sources that are not there does so as often as he likes.
static NOT_LISTED: Repeated = Repeated::at_most(10);
static NOT_TAKEN: Repeated = Repeated::at_most(10);

/// Of a text of others, in the log. Whoever it is for gets all of it.
const MOST_CHARACTERS: usize = 200;

/// What a worker says to a question.
#[derive(Debug)]
pub(crate) struct ListedPage {
    pub(crate) question: u64,
    pub(crate) listed: Result<Listed, AttemptFailure>,
}

/// What it has listed.
#[derive(Debug)]
pub(crate) struct Listed {
    /// `None`: nothing was found up to the cursor.
    pub(crate) batch: Option<(IncomingBatch, Admitted)>,
    pub(crate) cursor: Bytes,
    /// Nothing follows.
    pub(crate) end: bool,
}

/// Where an unfinished submission stands, as far as the tables do not know it.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    pub(crate) waits: Option<Waits>,
    /// Why the last page of its listing failed.
    pub(crate) expansion_error: Option<TaskError>,
}

impl Engine {
    /// Asks for the pages that are wanted now.
    pub(super) fn ask_for_pages(&mut self) {
        // Looked at after every turn, most of which have nothing to do with it.
        if !self.expansions.changed() {
            return;
        }
        let (now, core) = (self.now(), &self.core);
        let listers = listers(&self.workers, &self.drained);
        let held = |id| core.held_back(id).is_some() || core.awaits(id).is_none();
        let questions = self.expansions.questions(now, &listers, held);
        for (worker, id, question) in questions {
            let sources = self.sources_of(id);
            let algorithms = self.core.algorithms(id).map(numbers).unwrap_or_default();
            let cause = self.live.get(&id).and_then(|live| live.listing_cause);
            let traceparent = cause.map(|cause| cause.to_string()).unwrap_or_default();
            self.send(worker, Frame::List(ListSource { sources, algorithms, traceparent, ..question }));
        }
    }

    /// Why a submission makes no progress, if it makes none.
    pub(super) fn standing(&self, id: Uuid) -> Standing {
        let mut waits = self.core.waits(id);
        if waits.is_none() && self.expansions.lists(id) {
            let unreached = self.expansions.unreached(id, &listers(&self.workers, &self.drained));
            waits = self.core.held_back(id).or(unreached.then_some(Waits::ForWorker));
        }
        Standing { waits, expansion_error: self.expansions.error(id) }
    }

    /// A worker's answer.
    pub(super) fn page(&mut self, worker: WorkerId, page: ListedPage) {
        // Of a listing that has ended, or was asked of another since.
        let Some(id) = self.expansions.answered(worker, page.question) else { return };
        match page.listed {
            Ok(listed) => self.take_page(id, listed),
            Err(failure) => {
                let now = self.now();
                if let Some(error) = self.expansions.failed(now, worker, id, page_failure(failure)) {
                    self.end_failed_listing(id, error);
                }
            }
        }
    }

    fn take_page(&mut self, id: Uuid, listed: Listed) {
        let Listed { batch, cursor, end } = listed;
        // Cancelled meanwhile.
        let Some(sequence) = self.core.awaits(id) else { return self.expansions.end(id) };
        let (mut writes, mut after, mut batch_count) = (Vec::new(), After::default(), sequence);
        if let Some((mut batch, permit)) = batch {
            batch.meta.sequence = sequence;
            let Some(write) = self.append_listed(id, batch, cursor.clone(), &mut after) else { return };
            after.permit = Some(permit);
            writes.push(write);
            batch_count += 1;
        }
        self.expansions.advance(id, cursor);
        if end && let Ok(Sealed::New { complete }) = self.core.seal(id, batch_count) {
            tracing::info!(%id, batches = batch_count, "a submission's source is listed");
            self.expansions.end(id);
            write_seal(batch_count, complete, &mut writes, &mut after);
        }
        if !writes.is_empty() {
            self.push(id, writes, after);
        }
    }

    /// The row of a page's batch. `None`: the tenant may not bring it now, or it cannot be one; the page is listed again.
    fn append_listed(&mut self, id: Uuid, mut batch: IncomingBatch, cursor: Bytes, after: &mut After) -> Option<Write> {
        let now = self.now();
        let tenant = self.live.get(&id)?.handle.tenant.clone();
        if let Err(error) = self.quotas.check(WallTime::now(), &tenant, &batch.meta) {
            self.expansions.hold(now, id, quota_error(&error));
            return None;
        }
        match self.core.append(now, id, &batch.meta) {
            Ok(Appended::New { accepted_through, kept }) => {
                self.quotas.count(&tenant, &batch.meta);
                after.stored = Some((batch.meta.sequence + 1, accepted_through));
                after.received = self.note_received(id, batch.meta.sequence, batch.meta.task_count, batch.received);
                after.span = UnitSpan::commit(id, &mut batch);
                Some(self.keep(id, batch, accepted_through, kept, Some(cursor)))
            }
            other => {
                if let Some(left_out) = NOT_TAKEN.failed() {
                    tracing::error!(%id, ?other, left_out, "a page of a listing was not taken");
                }
                let message = "the queue did not take a page; its log says why".to_owned();
                self.expansions.hold(now, id, TaskError { reason: "INTERNAL".to_owned(), message });
                None
            }
        }
    }

    /// What cannot be listed to its end is cancelled: a submission must not look whole that is not.
    fn end_failed_listing(&mut self, id: Uuid, error: TaskError) {
        if let Some(left_out) = NOT_LISTED.failed() {
            let (reason, cause) = (short(&error.reason), short(&error.message));
            tracing::info!(%id, reason, cause, left_out, "a submission's source cannot be listed");
        }
        self.expansions.end(id);
        if self.core.cancel(id) == Ok(true) {
            let after = After { ended: true, ..After::default() };
            self.push(id, vec![Write::Cancel { reason: EndReason::ExpansionFailed, error: Some(error) }], after);
        }
    }
}

/// The beginning of what others say, on one line, without what could move a cursor.
fn short(text: &str) -> String {
    text.chars().take(MOST_CHARACTERS).flat_map(char::escape_debug).collect()
}

/// The workers that may be asked for pages.
fn listers<'a>(workers: &'a BTreeMap<WorkerId, ConnectedWorker>, drained: &BTreeSet<String>) -> Vec<Lister<'a>> {
    let able = workers.iter().filter(|(_, one)| one.lists && !one.leaves && !drained.contains(&one.name));
    able.map(|(worker, one)| Lister { worker: *worker, sources: &one.sources }).collect()
}

fn page_failure(failure: AttemptFailure) -> PageFailure {
    let error = failure.error.unwrap_or_default();
    let elsewhere = error.reason == TaskReason::CannotReachSource.as_str();
    PageFailure {
        error,
        retryable: failure.retryable,
        elsewhere,
        charged: !failure.uncharged,
        retry_after: failure.retry_after.and_then(|delay| Duration::try_from(delay).ok()).unwrap_or_default(),
    }
}

fn quota_error(error: &QueueError) -> TaskError {
    TaskError { reason: Reason::QuotaExceeded.as_str().to_owned(), message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_is_logged_on_one_short_line() {
        assert_eq!(short("no such bucket"), "no such bucket");
        assert_eq!(short("a\u{1b}[2J\nb\u{202e}"), "a\\u{1b}[2J\\nb\\u{202e}");
        assert_eq!(short(&"x".repeat(100_000)).len(), MOST_CHARACTERS);
    }
}
