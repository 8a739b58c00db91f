//! The engine's side of leases: sends what the core grants, and turns workers' outcomes into rows.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hashmesh::{
    queue::v1::{
        AdoptedLease, Begun, Lease as LeaseFrame, LeaseOutcomes, Revoke, Settled, TaskRange,
        lease_tasks_response::Frame,
    },
    v1::{OutcomeStatus, PackedFailure, PackedOutcomes, TaskError},
};
use hashmesh_runtime::telemetry::Repeated;
use prost::Message as _;
use uuid::Uuid;

use super::{
    NewWorker, WorkerFrame,
    lane::After,
    measure::DoneTasks,
    numbers,
    payload::Payload,
    run::{ConnectedWorker, Engine},
    traces::UnitSpan,
};
use crate::{
    core::{
        Adopted, AttemptFailure, Claim, Effect, Grant, LeaseId, OutcomesPart, Recorded, TaskRun, Verdict, WorkerId,
    },
    mutant::{self, Mutant},
    rates::Samples,
    shard::Shard,
    store::model::{NewResults, Write},
};

/// Such a batch is leased again and again.
static UNDECODED: Repeated = Repeated::at_most(10);
/// A worker that is broken may send nothing else.
static MALFORMED: Repeated = Repeated::at_most(10);

/// How long a lease waits after its payload could not be read, or its outcomes made no sense.
const UNREADABLE_DELAY: Duration = Duration::from_secs(1);

impl Engine {
    pub(super) fn worker_connected(&mut self, new: NewWorker) {
        let NewWorker { info, claims, mut welcome, sources, lists, frames, reply } = new;
        let (name, slots) = (info.name.clone(), info.slots);
        let now = self.now();
        let id = self.core.worker_connected(now, info);
        self.drain_again(id, &name);
        let connected = ConnectedWorker {
            name,
            slots,
            sources,
            lists,
            frames,
            awaited_bytes: 0,
            settled: Vec::new(),
            moved: HashSet::new(),
            leaves: false,
            connected_at: now,
            recorded: Samples::default(),
        };
        self.workers.insert(id, connected);
        welcome.adopted_leases = self.adopt(id, &claims);
        welcome.owned_shards = Some(self.shards.now().bits());
        self.expansions.look_again();
        self.send(id, Frame::Welcome(welcome));
        if reply.send(id).is_err() {
            // Its stream ended before it was known here.
            self.worker_disconnected(id);
        }
    }

    /// Leases a connected worker what of its claims is to be had.
    pub(super) fn adopt(&mut self, worker: WorkerId, claims: &[Claim]) -> Vec<AdoptedLease> {
        let now = self.now();
        let adopted = self.core.adopt(now, worker, claims);
        let Some(name) = self.workers.get(&worker).map(|connected| connected.name.clone()) else { return Vec::new() };
        if !claims.is_empty() {
            let (claims, adopted) = (claims.len(), adopted.len());
            tracing::info!(worker = name, claims, adopted, "a worker goes on with what it held");
        }
        for one in &adopted {
            if let Some(claim) = claims.get(one.claim) {
                self.begin_adopted_span(&name, claim, one);
            }
        }
        adopted.into_iter().filter_map(|one| self.adopted_frame(&one)).collect()
    }

    pub(super) fn worker_disconnected(&mut self, worker: WorkerId) {
        let now = self.now();
        let leaves = self.workers.remove(&worker).is_some_and(|connected| connected.leaves);
        self.core.worker_disconnected(now, worker);
        self.expansions.worker_gone(now, worker, !leaves);
    }

    /// A worker left because we are stopping: nothing of what it holds is given to others.
    pub(super) fn worker_left(&mut self, worker: WorkerId) {
        self.workers.remove(&worker);
        self.core.worker_left(worker);
        let now = self.now();
        self.expansions.worker_gone(now, worker, false);
    }

    fn adopted_frame(&self, adopted: &Adopted) -> Option<AdoptedLease> {
        let id = self.core.lease_submission(adopted.lease)?;
        let ranges = adopted.unresolved.iter().map(|run| TaskRange { first_task: run.first, task_count: run.count });
        Some(AdoptedLease {
            held_lease: u32::try_from(adopted.claim).ok()?,
            lease_id: adopted.lease.0,
            epoch: self.epoch(id),
            ranges: ranges.collect(),
        })
    }

    pub(super) fn worker_frame(&mut self, worker: WorkerId, frame: WorkerFrame) {
        let now = self.now();
        self.core.heard(now, worker);
        match frame {
            WorkerFrame::Credit { tasks, bytes } => self.core.credit(now, worker, tasks, bytes),
            WorkerFrame::Outcomes(outcomes, arrived) => self.outcomes(worker, &outcomes, arrived),
            WorkerFrame::Nack { lease, retry_after } => self.core.nack(now, worker, lease, retry_after),
            WorkerFrame::Claims(claims) => self.claims(worker, claims),
            WorkerFrame::Begin { lease } => {
                let lease_id = lease.0;
                let answer = if self.core.begin_alone(worker, lease) {
                    Frame::Begun(Begun { lease_id })
                } else {
                    // What is read again from the tables ends leases whose workers do not hear of it.
                    Frame::Revoke(Revoke { lease_id, reason: "the lease is over".to_owned() })
                };
                self.send(worker, answer);
            }
            WorkerFrame::Draining => {
                if let Some(connected) = self.workers.get_mut(&worker) {
                    connected.leaves = true;
                }
                self.core.worker_draining(worker);
            }
            WorkerFrame::Heartbeat(heartbeat) => {
                for lease in heartbeat.leases {
                    let id = LeaseId(lease.lease_id);
                    self.core.heartbeat(now, worker, id, lease.tasks_done, lease.bytes_read, lease.started);
                }
            }
        }
    }

    /// Carries out what the core decided.
    pub(super) fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Dispatch(grant) => self.dispatch(grant),
                Effect::Revoke { worker, lease, reason } => {
                    let frame = Frame::Revoke(Revoke { lease_id: lease.0, reason: reason.to_owned() });
                    self.send(worker, frame);
                }
                Effect::Load(wanted) => self.loads.push_back(wanted),
                Effect::BatchResolved { submission, sequence } => {
                    self.payloads.remove((submission, sequence));
                    if let Some(live) = self.live.get_mut(&submission) {
                        live.contexts.remove(&sequence);
                    }
                }
                Effect::Bury { submission, recorded, complete, code, reason } => {
                    self.bury(submission, &recorded, complete, code, reason);
                }
                Effect::DeadlinePassed { submission } => self.end_at_deadline(submission),
                Effect::WriteAhead(row) => self.ahead.push(row),
            }
        }
    }

    /// Sends a lease, at once if its payload is in memory.
    fn dispatch(&mut self, grant: Grant) {
        self.measure_grant(&grant);
        let key = (grant.submission, grant.sequence);
        if self.payloads.get(key).is_some() {
            self.send_lease(&grant);
            return;
        }
        self.wait_for_payload(grant);
    }

    pub(super) fn send_lease(&mut self, grant: &Grant) {
        let (id, sequence) = (grant.submission, grant.sequence);
        let Some(task_count) = self.core.task_count(id, sequence) else { return };
        let part =
            |payload: &mut Payload| payload.part(grant.run, task_count).map(|tasks| (tasks, payload.names.is_some()));
        let (tasks, sizes) = match self.payloads.get((id, sequence)).map(part) {
            Some(Ok(part)) => part,
            Some(Err(error)) => {
                if let Some(left_out) = UNDECODED.failed() {
                    tracing::error!(%id, sequence, error, left_out, "a stored batch cannot be decoded");
                }
                return self.undo(grant);
            }
            None => return self.undo(grant),
        };
        let fingerprint = self.core.fingerprint(id, sequence).unwrap_or_default();
        let traceparent = self.begin_lease_span(grant);
        let live = self.live.get(&id);
        let frame = LeaseFrame {
            lease_id: grant.lease.0,
            epoch: self.epoch(id),
            submission_id: Bytes::copy_from_slice(id.as_bytes()),
            sequence,
            first_task: grant.run.first,
            task_count: grant.run.count,
            attempt: grant.attempt,
            fingerprint: Bytes::copy_from_slice(&fingerprint),
            algorithms: self.core.algorithms(id).map(numbers).unwrap_or_default(),
            tasks,
            cost_bytes: grant.cost_bytes,
            priority: grant.priority.into(),
            flow: grant.flow,
            part_bytes: live.map_or(0, |live| live.part_bytes),
            sizes,
            sources: self.sources_of(id),
            tenant: live.map_or_else(String::new, |live| live.handle.tenant.clone()),
            cache: live.map_or(0, |live| live.cache.into()),
            traceparent,
            alone: grant.alone,
        };
        self.send(grant.worker, Frame::Lease(frame));
    }

    /// Takes back a lease that could not be sent, and what it used up of the worker's credit.
    pub(super) fn undo(&mut self, grant: &Grant) {
        let now = self.now();
        self.core.nack(now, grant.worker, grant.lease, UNREADABLE_DELAY);
        self.core.credit(now, grant.worker, grant.run.count, grant.cost_bytes);
    }

    /// Outcomes from a worker: what the core takes becomes rows in the submission's lane.
    fn outcomes(&mut self, worker: WorkerId, outcomes: &LeaseOutcomes, arrived: Instant) {
        let lease = LeaseId(outcomes.lease_id);
        let run = TaskRun::new(outcomes.first_task, outcomes.task_count);
        let now = self.now();
        let failures: Vec<AttemptFailure> = outcomes.failures.iter().map(attempt_failure).collect();
        let part = OutcomesPart {
            worker,
            lease,
            fingerprint: &outcomes.fingerprint,
            run,
            statuses: (!outcomes.statuses.is_empty()).then_some(&*outcomes.statuses),
            failures: &failures,
            hashed_bytes: outcomes.hashed_bytes,
            last: outcomes.r#final,
        };
        let held = self
            .core
            .lease_submission(lease)
            .filter(|id| outcomes.epoch == self.epoch(*id) || mutant::active(Mutant::SkipEpochCheck));
        let Some(id) = held else {
            if self.workers.get(&worker).is_none_or(|connected| !connected.moved.contains(&lease)) {
                self.core.refuse(run.count);
            }
            return self.settle(worker, lease);
        };
        let Some(stride) = self.well_formed(id, outcomes) else {
            if let Some(left_out) = MALFORMED.failed() {
                let worker = self.workers.get(&worker).map(|worker| &*worker.name);
                tracing::error!(%id, worker, left_out, "a worker sent malformed outcomes; they are refused");
            }
            self.core.refuse(run.count);
            self.core.nack(now, worker, lease, UNREADABLE_DELAY);
            return self.settle(worker, lease);
        };
        // Outcomes change them.
        let times = self.core.lease_times(lease);
        match self.core.outcomes(now, &part) {
            Verdict::Refused => self.settle(worker, lease),
            Verdict::Taken { submission, recorded, complete, lease_over } => {
                debug_assert_eq!(submission, id);
                let settle = lease_over.then_some((worker, lease));
                let done = times.map(|times| {
                    self.measure_outcomes(now, &times, run.count, lease_over);
                    DoneTasks::new(now, &times, &recorded)
                });
                let span = self.record_span(id, outcomes, &recorded, arrived);
                let after = After { settle, done, span, ended: complete, ..After::default() };
                self.record(id, run.first, stride, outcomes, &recorded, after);
            }
        }
    }

    /// The bytes of one task's digests, if the frame has everything that its tasks need.
    fn well_formed(&self, id: Uuid, outcomes: &LeaseOutcomes) -> Option<usize> {
        let stride = hashmesh::algorithm::stride(self.core.algorithms(id)?);
        let count = outcomes.task_count as usize;
        let statuses_fit = outcomes.statuses.is_empty() || outcomes.statuses.len() == count;
        let identities_fit = outcomes.identities.as_ref().is_none_or(|identities| identities.fits(count));
        let fits =
            outcomes.digests.len() == stride * count && statuses_fit && identities_fit && failures_match(outcomes);
        fits.then_some(stride)
    }

    fn record(
        &mut self,
        id: Uuid,
        first_task: u32,
        stride: usize,
        outcomes: &LeaseOutcomes,
        recorded: &[Recorded],
        mut after: After,
    ) {
        let mut writes = Vec::with_capacity(recorded.len() + 1);
        for row in recorded {
            let begin = (row.run.first - first_task) as usize;
            let end = begin + row.run.count as usize;
            let statuses =
                if outcomes.statuses.is_empty() { Bytes::new() } else { outcomes.statuses.slice(begin..end) };
            let in_run = |offset: u32| (begin..end).contains(&(offset as usize));
            let failures = outcomes.failures.iter().filter(|failure| in_run(failure.offset));
            let failures = failures.map(|failure| PackedFailure {
                offset: failure.offset + first_task - row.run.first,
                error: failure.error.clone(),
            });
            let body = PackedOutcomes {
                digests: outcomes.digests.slice(begin * stride..end * stride),
                failures: failures.collect(),
                identities: outcomes.identities.as_ref().map(|all| all.slice(begin, end - begin)),
                ..PackedOutcomes::default()
            };
            self.add_results(id, row, body, statuses, &outcomes.kernel, &mut writes, &mut after);
        }
        if after.ended {
            writes.push(Write::Complete);
        }
        self.push(id, writes, after);
    }

    /// Records dead letters that no worker reported.
    fn bury(&mut self, id: Uuid, row: &Recorded, complete: bool, code: &'static str, reason: &'static str) {
        let Some(stride) = self.core.algorithms(id).map(hashmesh::algorithm::stride) else { return };
        let count = row.run.count as usize;
        let error = Some(TaskError { reason: code.to_owned(), message: reason.to_owned() });
        let body = PackedOutcomes {
            digests: vec![0; stride * count].into(),
            failures: (0..row.run.count).map(|offset| PackedFailure { offset, error: error.clone() }).collect(),
            ..PackedOutcomes::default()
        };
        let statuses = vec![OutcomeStatus::Failed as u8; count].into();
        let mut writes = Vec::new();
        let span = self.burial_span(id, row, code);
        let mut after = After { ended: complete, span, ..After::default() };
        self.add_results(id, row, body, statuses, "none", &mut writes, &mut after);
        if complete {
            writes.push(Write::Complete);
        }
        self.push(id, writes, after);
    }

    /// Adds one run of outcomes to what is written, and to what followers get from memory once it is committed.
    #[allow(clippy::too_many_arguments)] // two callers, and each is needed
    fn add_results(
        &mut self,
        id: Uuid,
        row: &Recorded,
        body: PackedOutcomes,
        statuses: Bytes,
        kernel: &str,
        writes: &mut Vec<Write>,
        after: &mut After,
    ) {
        writes.push(Write::Results(NewResults {
            position: row.position,
            sequence: row.sequence,
            first_task: row.run.first,
            task_count: row.run.count,
            attempt: row.attempt,
            statuses: (!statuses.is_empty()).then(|| statuses.clone()),
            outcomes: body.encode_to_vec().into(),
            kernel: kernel.to_owned(),
            totals: row.totals,
            trace_context: after.span.as_ref().and_then(UnitSpan::sampled_context),
        }));
        after.totals = Some(row.totals);
        after.position = Some(row.position + u64::from(row.run.count) - 1);
        let Some(payload) = self.payloads.get((id, row.sequence)) else { return };
        let names = payload.names_of(row.run);
        after.outcomes.push(PackedOutcomes {
            first_position: row.position,
            sequence: row.sequence,
            first_task: row.run.first,
            task_count: row.run.count,
            algorithms: self.core.algorithms(id).map(numbers).unwrap_or_default(),
            statuses,
            names,
            attempt: row.attempt,
            kernel: kernel.to_owned(),
            ..body
        });
    }

    /// Nothing more is wanted of a lease. Sent with others at the end of the engine's turn.
    pub(super) fn settle(&mut self, worker: WorkerId, lease: LeaseId) {
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.settled.push(lease.0);
        }
    }

    /// Sends what was settled in this turn.
    pub(super) fn flush_settled(&mut self) {
        let full: Vec<(WorkerId, Vec<u64>)> = self
            .workers
            .iter_mut()
            .filter(|(_, worker)| !worker.settled.is_empty())
            .map(|(id, worker)| (*id, std::mem::take(&mut worker.settled)))
            .collect();
        for (worker, lease_ids) in full {
            self.send(worker, Frame::Settled(Settled { lease_ids }));
        }
    }

    /// Tells the core what of the leases that were sent waits for the workers to read it.
    pub(super) fn note_unread(&mut self) {
        let now = self.now();
        for (id, worker) in &self.workers {
            self.core.unread(now, *id, worker.frames.unread_bytes() + worker.awaited_bytes);
        }
    }

    /// Sends a frame to a worker. One that does not read is cut off: its leases go to others.
    pub(super) fn send(&mut self, worker: WorkerId, frame: Frame) {
        let Some(connected) = self.workers.get(&worker) else { return };
        if connected.frames.send(frame).is_err() {
            tracing::warn!(worker = connected.name, "a worker does not read its stream; cutting it off");
            self.worker_disconnected(worker);
        }
    }

    /// The fencing number of the submission's shard.
    fn epoch(&self, id: Uuid) -> u64 {
        self.ownership.epoch(Shard::of(id)).unsigned_abs()
    }
}

fn attempt_failure(failure: &hashmesh::queue::v1::AttemptFailure) -> AttemptFailure {
    let retry_after = failure.retry_after.and_then(|delay| Duration::try_from(delay).ok());
    AttemptFailure { offset: failure.offset, retryable: failure.retryable, retry_after, uncharged: failure.uncharged }
}

/// True if the statuses are known ones and the failures are ascending and exactly the failed tasks.
fn failures_match(outcomes: &LeaseOutcomes) -> bool {
    let known =
        |byte: &u8| OutcomeStatus::try_from(i32::from(*byte)).is_ok_and(|status| status != OutcomeStatus::Unspecified);
    let failed =
        outcomes.statuses.iter().zip(0u32..).filter(|(byte, _)| i32::from(**byte) == OutcomeStatus::Failed as i32);
    outcomes.statuses.iter().all(known)
        && failed.map(|(_, offset)| offset).eq(outcomes.failures.iter().map(|failure| failure.offset))
}
