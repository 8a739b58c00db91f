//! The spans of the queue's own work: a batch's way into Postgres, a lease, the recording of outcomes. One for each frame,
//! never for a stream or a task.
//!
//! They stand next to what they speak of, and go with it: a batch's context in its submission's [`Live`](super::run::Live)
//! while the batch is in memory, a lease's span in [`LeaseSpans`] until the core says that the lease has ended, the others
//! in the `After` of their unit. Where nothing is traced there is none of them.

use std::{collections::HashMap, sync::Arc, time::Instant};

use hashmesh::{queue::v1::LeaseOutcomes, v1::OutcomeStatus};
use hashmesh_runtime::trace::{Span, SpanKind, TraceContext};
use uuid::Uuid;

use super::{IncomingBatch, run::Engine};
use crate::{
    core::{Adopted, Claim, Grant, LeaseEnd, LeaseId, Recorded, TaskRun},
    store::{UnitError, model::LoadedBatches},
};

/// The span of something that is on its way to Postgres.
#[derive(Debug)]
pub(super) struct UnitSpan {
    span: Span,
    submission: Uuid,
    sequence: Option<u32>,
    tasks: u32,
    writes: Writes,
    /// What became of it is known.
    over: bool,
}

#[derive(Clone, Copy, Debug)]
enum Writes {
    Batch,
    /// Of the tasks, so many wait for another attempt instead.
    Outcomes {
        retried: u32,
    },
}

impl UnitSpan {
    /// A batch was taken. From now on its context is that of this span. `None`: this process exports no spans.
    pub(super) fn commit(id: Uuid, batch: &mut IncomingBatch) -> Option<Self> {
        let span = Span::child(batch.trace, "queue commit", SpanKind::Producer).from_afar();
        if span.context() == batch.trace {
            return None;
        }
        let span = span.ago(batch.received.elapsed());
        batch.trace = span.context();
        let (sequence, tasks) = (Some(batch.meta.sequence), batch.meta.task_count);
        Some(Self { span, submission: id, sequence, tasks, writes: Writes::Batch, over: false })
    }

    /// What rows that it writes say of themselves, and followers are told.
    pub(super) fn sampled_context(&self) -> Option<TraceContext> {
        self.span.context().filter(|context| context.sampled())
    }

    /// The unit is stored.
    pub(super) fn committed(mut self) {
        self.over = true;
        if self.span.sampled() {
            self.describe();
        }
    }

    /// The unit is not stored.
    pub(super) fn failed(mut self, error: &UnitError) {
        self.over = true;
        self.fail(match error {
            UnitError::DuplicateKey => "the idempotency key is taken",
            UnitError::Behind => "an earlier write of the submission failed",
            UnitError::Refused(_) => "Postgres refused it",
        });
    }

    fn fail(&mut self, why: &'static str) {
        self.describe();
        self.span.fail(why);
    }

    fn describe(&mut self) {
        let (operation, kind) = match self.writes {
            Writes::Batch => ("commit", "send"),
            Writes::Outcomes { .. } => ("record", "settle"),
        };
        describe(&mut self.span, (operation, kind), self.submission, self.sequence, self.tasks);
        if let Writes::Outcomes { retried } = self.writes {
            self.span.set("hashmesh.retried_tasks", i64::from(retried));
        }
    }
}

impl Drop for UnitSpan {
    fn drop(&mut self) {
        if !self.over {
            self.fail("the ownership of the queue ended before it was known whether it is stored");
        }
    }
}

/// What OpenTelemetry's conventions for messaging want to know, and what it is.
fn describe(
    span: &mut Span,
    (operation, kind): (&'static str, &'static str),
    id: Uuid,
    sequence: Option<u32>,
    tasks: u32,
) {
    span.set("messaging.system", "hashmesh");
    span.set("messaging.operation.name", operation);
    span.set("messaging.operation.type", kind);
    span.set("messaging.destination.name", "queue");
    span.set("messaging.batch.message_count", i64::from(tasks));
    span.set("hashmesh.submission_id", id.to_string());
    if let Some(sequence) = sequence {
        span.set("hashmesh.sequence", i64::from(sequence));
    }
}

/// The spans of leases that are held, of those whose batch is traced.
#[derive(Debug, Default)]
pub(super) struct LeaseSpans {
    held: HashMap<LeaseId, LeaseSpan>,
}

#[derive(Debug)]
struct LeaseSpan {
    span: Span,
    /// What its worker was told.
    context: TraceContext,
    submission: Uuid,
    sequence: u32,
    run: TaskRun,
    attempt: u32,
    adopted: bool,
    worker: Arc<str>,
    /// How the lease ended is known.
    over: bool,
}

/// A lease that begins.
pub(super) struct NewLease<'a> {
    pub(super) lease: LeaseId,
    pub(super) submission: Uuid,
    pub(super) sequence: u32,
    pub(super) run: TaskRun,
    pub(super) attempt: u32,
    /// It goes on with one of an owner before.
    pub(super) adopted: bool,
    pub(super) worker: &'a str,
}

impl LeaseSpans {
    /// A lease on a batch of this context begins. Returns what its worker is told.
    pub(super) fn begin(&mut self, batch: Option<TraceContext>, new: &NewLease<'_>) -> Option<TraceContext> {
        let span = Span::linked(batch, "queue lease", SpanKind::Consumer);
        // Who exports nothing passes on what it was told.
        let context = span.context().or(batch)?;
        let NewLease { lease, submission, sequence, run, attempt, adopted, worker } = *new;
        let worker = Arc::from(worker);
        let held = LeaseSpan { span, context, submission, sequence, run, attempt, adopted, worker, over: false };
        self.held.insert(lease, held);
        Some(context)
    }

    /// A lease has ended.
    pub(super) fn end(&mut self, lease: LeaseId, end: LeaseEnd) {
        if let Some(mut ended) = self.held.remove(&lease) {
            ended.end(end.as_str(), end.failure());
        }
    }

    /// The batch of a lease, and what its worker was told.
    fn get(&self, lease: LeaseId) -> Option<(u32, TraceContext)> {
        self.held.get(&lease).map(|held| (held.sequence, held.context))
    }
}

impl LeaseSpan {
    fn end(&mut self, how: &'static str, failure: Option<&'static str>) {
        self.over = true;
        if !self.span.sampled() && failure.is_none() {
            return;
        }
        describe(&mut self.span, ("lease", "receive"), self.submission, Some(self.sequence), self.run.count);
        self.span.set("hashmesh.first_task", i64::from(self.run.first));
        self.span.set("hashmesh.attempt", i64::from(self.attempt));
        self.span.set("hashmesh.worker_id", Arc::clone(&self.worker));
        self.span.set("hashmesh.lease.end", how);
        if self.adopted {
            self.span.set("hashmesh.lease.adopted", true);
        }
        if let Some(failure) = failure {
            self.span.fail(failure);
        }
    }
}

impl Drop for LeaseSpan {
    fn drop(&mut self) {
        if !self.over {
            // Its worker goes on with it, and claims it from the next owner.
            self.end("owner_gone", None);
        }
    }
}

impl LeaseEnd {
    /// As metrics and spans have it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Outcomes => "outcomes",
            Self::Nack => "nack",
            Self::Disconnected => "disconnected",
            Self::Expired => "expired",
            Self::Stalled => "stalled",
            Self::Cancelled => "cancelled",
        }
    }

    fn failure(self) -> Option<&'static str> {
        match self {
            Self::Outcomes | Self::Nack | Self::Cancelled => None,
            Self::Disconnected => Some("the worker was lost"),
            Self::Expired => Some("the lease expired"),
            Self::Stalled => Some("work on the lease stood still"),
        }
    }
}

impl Engine {
    /// What the leases of a batch in memory are linked to.
    fn batch_context(&self, id: Uuid, sequence: u32) -> Option<TraceContext> {
        self.live.get(&id)?.contexts.get(&sequence).copied()
    }

    /// Keeps the contexts of batches that came into memory.
    pub(super) fn keep_contexts(&mut self, id: Uuid, loaded: &LoadedBatches) {
        let Some(live) = self.live.get_mut(&id) else { return };
        for batch in &loaded.batches {
            // The core may not have wanted it any more.
            if let Some(context) = batch.trace_context
                && self.core.task_count(id, batch.sequence).is_some()
            {
                live.contexts.insert(batch.sequence, context);
            }
        }
    }

    /// A lease is sent. Returns what its worker is told.
    pub(super) fn begin_lease_span(&mut self, grant: &Grant) -> String {
        let batch = self.batch_context(grant.submission, grant.sequence);
        // One that has ended while its payload was read has nothing to end its span.
        let held = self.core.holder(grant.lease) == Some(grant.worker);
        let Some(worker) = self.workers.get(&grant.worker).filter(|_| held && batch.is_some()) else {
            return String::new();
        };
        let Grant { lease, submission, sequence, run, attempt, .. } = *grant;
        let new = NewLease { lease, submission, sequence, run, attempt, adopted: false, worker: &worker.name };
        self.lease_spans.begin(batch, &new).map(|context| context.to_string()).unwrap_or_default()
    }

    /// A worker goes on with a lease of an owner before.
    pub(super) fn begin_adopted_span(&mut self, worker: &str, claim: &Claim, adopted: &Adopted) {
        let batch = self.batch_context(claim.submission, claim.sequence);
        let new = NewLease {
            lease: adopted.lease,
            submission: claim.submission,
            sequence: claim.sequence,
            run: claim.run,
            attempt: claim.attempt,
            adopted: true,
            worker,
        };
        self.lease_spans.begin(batch, &new);
    }

    /// Outcomes were taken that arrived at this time: of the part, these runs are recorded.
    pub(super) fn record_span(
        &self,
        id: Uuid,
        outcomes: &LeaseOutcomes,
        recorded: &[Recorded],
        arrived: Instant,
    ) -> Option<UnitSpan> {
        let lease = self.lease_spans.get(LeaseId(outcomes.lease_id));
        let sequence = lease.map(|(sequence, _)| sequence).or(recorded.first().map(|row| row.sequence));
        let batch = sequence.and_then(|sequence| self.batch_context(id, sequence));
        let mut span = match TraceContext::parse(&outcomes.traceparent) {
            Some(worker) => {
                let mut span = Span::child(Some(worker), "queue record", SpanKind::Consumer).from_afar();
                span.link(batch);
                span
            }
            None => Span::linked(batch.or(lease.map(|(_, context)| context)), "queue record", SpanKind::Consumer),
        };
        span.context()?;
        span = span.ago(arrived.elapsed());
        let tasks: u32 = recorded.iter().map(|row| row.run.count).sum();
        if span.sampled() {
            let failed = count(outcomes, recorded, OutcomeStatus::Failed);
            let mismatched = count(outcomes, recorded, OutcomeStatus::Mismatched);
            span.set("hashmesh.succeeded_tasks", i64::from(tasks - failed - mismatched));
            span.set("hashmesh.mismatched_tasks", i64::from(mismatched));
            span.set("hashmesh.failed_tasks", i64::from(failed));
        }
        let retried = outcomes.task_count.saturating_sub(tasks);
        let writes = Writes::Outcomes { retried };
        Some(UnitSpan { span, submission: id, sequence, tasks, writes, over: false })
    }

    /// Dead letters are recorded that no worker reported.
    pub(super) fn burial_span(&self, id: Uuid, row: &Recorded, code: &'static str) -> Option<UnitSpan> {
        let batch = self.batch_context(id, row.sequence);
        let mut span = Span::linked(batch, "queue record", SpanKind::Internal);
        span.context()?;
        span.set("hashmesh.failed_tasks", i64::from(row.run.count));
        span.fail(code);
        let (sequence, tasks, writes) = (Some(row.sequence), row.run.count, Writes::Outcomes { retried: 0 });
        Some(UnitSpan { span, submission: id, sequence, tasks, writes, over: false })
    }
}

/// How many of the recorded tasks have this outcome.
fn count(outcomes: &LeaseOutcomes, recorded: &[Recorded], status: OutcomeStatus) -> u32 {
    let runs = recorded.iter().filter_map(|row| {
        let begin = row.run.first.checked_sub(outcomes.first_task)? as usize;
        outcomes.statuses.get(begin..begin + row.run.count as usize)
    });
    let of_status = runs.flatten().filter(|byte| i32::from(**byte) == status as i32);
    u32::try_from(of_status.count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::{AlgorithmSet, Core, CoreConfig, Effect, NewBatchMeta, OutcomesPart, WorkerInfo};

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const FINGERPRINT: [u8; 32] = [7; 32];

    struct Mesh {
        core: Core,
        spans: LeaseSpans,
        id: Uuid,
        now: Duration,
    }

    impl Mesh {
        fn new() -> Self {
            let (mut core, id) = (Core::new(CoreConfig::default()), Uuid::from_u128(1));
            core.create(id, &[hashmesh::v1::Algorithm::Sha256], 5);
            Self { core, spans: LeaseSpans::default(), id, now: Duration::ZERO }
        }

        fn worker(&mut self) -> crate::core::WorkerId {
            let algorithms = AlgorithmSet::of(&[hashmesh::v1::Algorithm::Sha256]);
            let (name, session, source_prefixes) = ("w".to_owned(), Uuid::now_v7(), Vec::new());
            let worker = self.core.worker_connected(
                self.now,
                WorkerInfo { name, session, slots: 1, algorithms, source_prefixes, begins_alone: false },
            );
            self.core.credit(self.now, worker, 1_000_000, 1 << 40);
            worker
        }

        fn batch(&mut self, sequence: u32) {
            let meta = NewBatchMeta {
                sequence,
                task_count: 2,
                byte_count: 2,
                fingerprint: FINGERPRINT,
                reference_prefix: None,
                expected: AlgorithmSet::default(),
            };
            self.core.append(self.now, self.id, &meta).unwrap();
        }

        /// What the engine does at the end of a turn. Returns what was granted, and how leases ended.
        fn turn(&mut self) -> (Vec<Grant>, Vec<LeaseEnd>) {
            let effects = self.core.take_effects();
            let grants: Vec<Grant> = effects
                .into_iter()
                .filter_map(|effect| if let Effect::Dispatch(grant) = effect { Some(grant) } else { None })
                .collect();
            for grant in &grants {
                if self.core.holder(grant.lease) == Some(grant.worker) {
                    let Grant { lease, submission, sequence, run, attempt, .. } = *grant;
                    let new = NewLease { lease, submission, sequence, run, attempt, adopted: false, worker: "w" };
                    assert_eq!(self.spans.begin(TraceContext::parse(GIVEN), &new), TraceContext::parse(GIVEN));
                }
            }
            let ended = self.core.take_ended();
            ended.iter().for_each(|(lease, end)| self.spans.end(*lease, *end));
            (grants, ended.into_iter().map(|(_, end)| end).collect())
        }
    }

    #[test]
    fn however_a_lease_ends_nothing_is_kept_of_it() {
        let mut mesh = Mesh::new();
        let worker = mesh.worker();
        for sequence in 0..4 {
            mesh.batch(sequence);
        }
        let (grants, _) = mesh.turn();
        assert_eq!((grants.len(), mesh.spans.held.len()), (4, 4));
        let part = OutcomesPart {
            worker,
            lease: grants[0].lease,
            fingerprint: &FINGERPRINT,
            run: grants[0].run,
            statuses: None,
            failures: &[],
            hashed_bytes: 2,
            last: true,
        };
        mesh.core.outcomes(mesh.now, &part);
        assert_eq!(mesh.turn(), (vec![], vec![LeaseEnd::Outcomes]));
        mesh.core.nack(mesh.now, worker, grants[1].lease, Duration::from_secs(1));
        assert_eq!(mesh.turn(), (vec![], vec![LeaseEnd::Nack]));
        assert_eq!(mesh.spans.held.len(), 2);

        mesh.core.heartbeat(mesh.now, worker, grants[2].lease, 0, 0, true);
        mesh.now += Duration::from_secs(4);
        mesh.core.heartbeat(mesh.now, worker, grants[2].lease, 0, 0, true);
        mesh.now += Duration::from_secs(2);
        mesh.core.tick(mesh.now);
        let (again, ended) = mesh.turn();
        assert_eq!((again.len(), ended), (0, vec![LeaseEnd::Expired]), "a silent worker gets nothing");
        let mut stalled = false;
        while !stalled && mesh.now < Duration::from_secs(120) {
            mesh.core.heard(mesh.now, worker);
            mesh.core.heartbeat(mesh.now, worker, grants[2].lease, 0, 0, true);
            mesh.now += Duration::from_secs(1);
            mesh.core.tick(mesh.now);
            stalled = mesh.turn().1.contains(&LeaseEnd::Stalled);
        }
        assert!(stalled);
        mesh.core.worker_disconnected(mesh.now, worker);
        mesh.turn();
        assert!(mesh.spans.held.is_empty(), "{:?}", mesh.spans);

        let mut mesh = Mesh::new();
        mesh.worker();
        mesh.batch(0);
        mesh.turn();
        assert_eq!(mesh.spans.held.len(), 1);
        // One that is cancelled before it was sent never gets a span.
        mesh.batch(1);
        mesh.core.cancel(mesh.id).unwrap();
        let (granted, ended) = mesh.turn();
        assert_eq!((granted.len(), ended), (1, vec![LeaseEnd::Cancelled; 2]));
        assert!(mesh.spans.held.is_empty(), "{:?}", mesh.spans);
    }

    #[test]
    fn without_a_context_nothing_is_kept() {
        let mut spans = LeaseSpans::default();
        let (lease, submission, run) = (LeaseId(1), Uuid::nil(), TaskRun::new(0, 1));
        let new = NewLease { lease, submission, sequence: 0, run, attempt: 1, adopted: false, worker: "w" };
        assert_eq!(spans.begin(None, &new), None);
        assert_eq!(spans.held.capacity(), 0);
    }
}
