//! What became of a lease: its span, and what is counted of it, once.

use std::{
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use hashmesh::{queue::v1::LeaseOutcomes, v1::OutcomeStatus};
use hashmesh_runtime::{
    metrics::catalogue::worker::{ENDED_LEASES, HASHED_BYTES, LEASE_SECONDS, LEASES, TASKS},
    trace::{Span, SpanKind, TraceContext},
};
use uuid::Uuid;

use crate::leases::LeaseRange;

/// In this process, of all its workers.
static HELD: AtomicI64 = AtomicI64::new(0);

/// How a lease ended, as far as this worker goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Every outcome was handed over.
    Done,
    /// We gave it back.
    GivenBack,
    /// The queue took it back, or the stream ended before anything was done and nobody wants it any more.
    Revoked,
}

impl End {
    fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::GivenBack => "given_back",
            Self::Revoked => "revoked",
        }
    }
}

/// Of one lease, from its arrival on.
#[derive(Debug)]
pub(crate) struct Account {
    arrived: Instant,
    /// When a thread began to work on it.
    started: OnceLock<Instant>,
    /// What outcomes and calls to other services are told.
    context: Option<TraceContext>,
    open: Mutex<Open>,
    _held: Held,
}

#[derive(Debug, Default)]
struct Open {
    span: Option<Span>,
    end: Option<End>,
    totals: Totals,
    failure: Option<&'static str>,
}

/// What outcomes say, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) succeeded: u64,
    pub(crate) mismatched: u64,
    /// For good.
    pub(crate) failed: u64,
    /// Another attempt may succeed.
    pub(crate) retryable: u64,
    pub(crate) hashed_bytes: u64,
}

impl Account {
    /// A lease has arrived. Where nothing caused it that is traced, there is no span either: the queue decides.
    pub(crate) fn open(traceparent: &str) -> Self {
        let cause = if traceparent.is_empty() { None } else { TraceContext::parse(traceparent) };
        let span = cause.map(|cause| Span::child(Some(cause), "worker lease", SpanKind::Consumer).from_afar());
        let context = span.as_ref().and_then(Span::context);
        let open = Mutex::new(Open { span, ..Open::default() });
        Self { arrived: Instant::now(), started: OnceLock::new(), context, open, _held: Held::new() }
    }

    /// Of the lease's span.
    pub(crate) fn context(&self) -> Option<TraceContext> {
        self.context
    }

    /// The same, as outcomes have it.
    pub(crate) fn traceparent(&self) -> String {
        self.context.map(|context| context.to_string()).unwrap_or_default()
    }

    /// A thread begins, the first or another one.
    pub(crate) fn start(&self) {
        self.started.get_or_init(Instant::now);
    }

    /// Outcomes are handed over.
    pub(crate) fn note(&self, part: &LeaseOutcomes) {
        let totals = Totals::of(part);
        let counted = [
            ("succeeded", totals.succeeded),
            ("mismatched", totals.mismatched),
            ("failed", totals.failed),
            ("retryable", totals.retryable),
        ];
        for (outcome, tasks) in counted.into_iter().filter(|(_, tasks)| *tasks > 0) {
            TASKS.add(tasks, &[outcome]);
        }
        HASHED_BYTES.add(totals.hashed_bytes, &[]);
        self.lock().totals.add(totals);
    }

    /// Something is wrong with us, not with what the lease asks for.
    ///
    /// Only this makes the span one that failed, which is exported whether or not its trace is sampled. Tasks that fail
    /// because of their sources are a client's matter, and counted: whoever submits a million URIs that lead nowhere would
    /// push what is to be repaired out of the errors that are kept.
    pub(crate) fn failed(&self, why: &'static str) {
        self.lock().failure.get_or_insert(why);
    }

    /// The lease is over; what is said later does not count.
    pub(crate) fn end(&self, range: &LeaseRange, end: End) {
        let mut open = self.lock();
        if open.end.is_some() {
            return;
        }
        open.end = Some(end);
        let (span, totals, failure) = (open.span.take(), open.totals, open.failure);
        drop(open);
        ENDED_LEASES.add(1, &[end.name()]);
        if end == End::Done {
            LEASE_SECONDS.record_time(self.arrived.elapsed(), &[]);
        }
        let Some(mut span) = span else { return };
        if span.sampled() || failure.is_some() {
            describe(&mut span, range, &totals, end, self.waited());
        }
        if let Some(why) = failure {
            span.fail(why);
        }
    }

    /// From its arrival until a thread began; all of it, if none did.
    fn waited(&self) -> Duration {
        let until = self.started.get().copied().unwrap_or_else(Instant::now);
        until.saturating_duration_since(self.arrived)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // No code panics while it holds the lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Totals {
    fn of(part: &LeaseOutcomes) -> Self {
        let retryable = part.failures.iter().filter(|failure| failure.retryable).count() as u64;
        let failed = part.failures.len() as u64 - retryable;
        let mismatched = part.statuses.iter().filter(|status| **status == OutcomeStatus::Mismatched as u8);
        let mismatched = mismatched.count() as u64;
        let succeeded = u64::from(part.task_count).saturating_sub(failed + retryable + mismatched);
        Self { succeeded, mismatched, failed, retryable, hashed_bytes: part.hashed_bytes }
    }

    fn add(&mut self, more: Self) {
        self.succeeded += more.succeeded;
        self.mismatched += more.mismatched;
        self.failed += more.failed;
        self.retryable += more.retryable;
        self.hashed_bytes += more.hashed_bytes;
    }
}

fn describe(span: &mut Span, range: &LeaseRange, totals: &Totals, end: End, waited: Duration) {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    span.set("messaging.system", "hashmesh");
    span.set("messaging.operation.type", "process");
    span.set("messaging.batch.message_count", i64::from(range.task_count));
    if let Ok(submission_id) = Uuid::from_slice(&range.submission_id) {
        span.set("hashmesh.submission_id", submission_id.to_string());
    }
    span.set("hashmesh.sequence", i64::from(range.sequence));
    span.set("hashmesh.first_task", i64::from(range.first_task));
    span.set("hashmesh.attempt", i64::from(range.attempt));
    span.set("hashmesh.kernel", range.kernel.clone());
    span.set("hashmesh.lease_result", end.name());
    span.set("hashmesh.waited_ms", i64::try_from(waited.as_millis()).unwrap_or(i64::MAX));
    span.set("hashmesh.hashed_bytes", number(totals.hashed_bytes));
    span.set("hashmesh.succeeded_tasks", number(totals.succeeded));
    span.set("hashmesh.mismatched_tasks", number(totals.mismatched));
    span.set("hashmesh.failed_tasks", number(totals.failed));
    span.set("hashmesh.retryable_tasks", number(totals.retryable));
}

/// A lease that is held, until dropped.
#[derive(Debug)]
struct Held;

impl Held {
    fn new() -> Self {
        static WATCHED: std::sync::Once = std::sync::Once::new();
        WATCHED.call_once(watch_held);
        HELD.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.fetch_sub(1, Ordering::Relaxed);
    }
}

fn watch_held() {
    #[allow(clippy::cast_precision_loss)] // never that many
    LEASES.watch(&[], || HELD.load(Ordering::Relaxed) as f64).forever();
}

#[cfg(test)]
mod tests {
    use hashmesh::queue::v1::AttemptFailure;

    use super::*;

    const CAUSE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn outcomes_are_added_up_by_what_became_of_their_tasks() {
        let account = Account::open("");
        let failure = |retryable| AttemptFailure { retryable, ..AttemptFailure::default() };
        let mixed = LeaseOutcomes {
            task_count: 5,
            statuses: vec![1, 3, 2, 3, 3].into(),
            failures: vec![failure(true), failure(false), failure(true)],
            hashed_bytes: 7,
            ..LeaseOutcomes::default()
        };
        account.note(&mixed);
        account.note(&LeaseOutcomes { task_count: 3, hashed_bytes: 5, ..LeaseOutcomes::default() });
        let totals = account.lock().totals;
        assert_eq!(totals, Totals { succeeded: 4, mismatched: 1, failed: 1, retryable: 2, hashed_bytes: 12 });
    }

    #[test]
    fn a_lease_ends_once_and_as_it_ended_first() {
        let account = Account::open(CAUSE);
        account.end(&LeaseRange::default(), End::GivenBack);
        account.end(&LeaseRange::default(), End::Revoked);
        assert_eq!(account.lock().end, Some(End::GivenBack));
    }

    #[test]
    fn what_caused_a_lease_is_passed_on_even_where_nothing_is_exported_and_nonsense_is_not() {
        // No test of this crate connects an exporter.
        assert_eq!(Account::open(CAUSE).traceparent(), CAUSE);
        for nothing in ["", "nonsense"] {
            assert_eq!(Account::open(nothing).context(), None);
            assert!(Account::open(nothing).lock().span.is_none());
        }
    }

    #[test]
    fn a_lease_waits_until_the_first_thread_begins() {
        let account = Account::open("");
        account.start();
        let first = account.waited();
        account.start();
        assert_eq!(account.waited(), first);
    }
}
