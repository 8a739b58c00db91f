//! What clients do to submissions: create, append, seal, cancel; and what a new owner finds.

use std::sync::Arc;

use hashmesh::v1::Algorithm;
use uuid::Uuid;

use super::{
    AlgorithmSet, Core, Effect, LeaseEnd, Now,
    poison::ALONE,
    ranges::{RunSet, TaskRun},
    retry::Waiting,
    submission::{Batch, Phase, ReadyRun, Submission},
    window::Window,
};
use crate::{
    mutant::{self, Mutant},
    store::model::{Recovered, RecoveredBatch, RecoveredLease, WorkOrder},
};

/// The number of the first worker that connects to an owner.
pub(super) const FIRST_WORKER: u64 = 1;

/// What the rules need to know about a new batch.
#[derive(Clone, Debug)]
pub(crate) struct NewBatchMeta {
    pub(crate) sequence: u32,
    pub(crate) task_count: u32,
    pub(crate) byte_count: u32,
    pub(crate) fingerprint: [u8; 32],
    pub(crate) reference_prefix: Option<Arc<str>>,
    /// Algorithms of expected digests.
    pub(crate) expected: AlgorithmSet,
}

/// A batch is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// It is new and must be stored; the submission then has this many tasks. `kept`: its tasks may be leased at once;
    /// otherwise it is loaded when its turn comes.
    New { accepted_through: u64, kept: bool },
    /// The same tasks were sent before under this number: nothing is to be done.
    Repeated,
    /// Tasks were sent before under this number that are not in memory: once they are stored, their fingerprint there
    /// tells whether they are the same.
    Elsewhere,
}

/// Why a batch is refused. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AppendRefusal {
    /// The submission is not in memory.
    Unknown,
    /// Another number is next.
    Gap { expected: u32 },
    /// Other tasks were sent before under this number.
    Conflict,
    /// No more batches may follow.
    Sealed,
    /// The submission is cancelled.
    Cancelled,
    /// A task expects a digest of an algorithm that the submission does not compute.
    UnexpectedAlgorithm,
}

/// A seal is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sealed {
    /// It is new and must be stored; `complete`: together with the submission's completion.
    New { complete: bool },
    /// The same seal was taken before.
    Repeated,
}

/// Why a seal is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SealRefusal {
    /// The submission is not in memory.
    Unknown,
    /// Another number of batches was sent.
    Count { stored: u32 },
    /// The submission is cancelled.
    Cancelled,
}

/// Why a cancel is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CancelRefusal {
    /// The submission is not in memory.
    Unknown,
    /// Its completion is on its way.
    Completed,
}

impl Core {
    /// A new, empty submission.
    pub(crate) fn create_for(
        &mut self,
        id: Uuid,
        tenant: &str,
        algorithms: &[Algorithm],
        max_attempts: u32,
        order: WorkOrder,
    ) {
        let submission = self.begin(id, tenant, algorithms, max_attempts, order);
        self.submissions.insert(id, submission);
    }

    /// A new, empty submission that is like most others.
    #[cfg(test)]
    pub(crate) fn create(&mut self, id: Uuid, algorithms: &[Algorithm], max_attempts: u32) {
        self.create_for(id, "default", algorithms, max_attempts, WorkOrder::default());
    }

    fn begin(
        &mut self,
        id: Uuid,
        tenant: &str,
        algorithms: &[Algorithm],
        max_attempts: u32,
        order: WorkOrder,
    ) -> Submission {
        let tenant = self.order.tenants.named(tenant);
        self.order.tenants.enter(tenant);
        let mut submission = Submission::new(algorithms.into(), max_attempts, tenant, order);
        submission.held = self.timers.enter(id, &order);
        submission
    }

    /// An unfinished submission that a new owner found. If nothing of it is left to do, it must be completed at once:
    /// then this returns true.
    pub(crate) fn recover(&mut self, now: Now, recovered: &Recovered) -> bool {
        let Recovered { id, tenant, algorithms, max_attempts, order, .. } = recovered;
        let mut submission = self.begin(*id, tenant, algorithms, *max_attempts, *order);
        submission.totals = recovered.totals;
        if mutant::active(Mutant::CountersStartAnew) {
            submission.totals.hashed_bytes = 0;
        }
        submission.accepted_tasks = recovered.accepted_tasks;
        submission.window = Window::over(recovered.next_sequence, recovered.resolved_through);
        submission.found_below = recovered.next_sequence;
        // What is read again later was in this owner's hands, and its workers live.
        submission.after_crash = self.config.after_crash && self.next_worker == FIRST_WORKER;
        submission.window.expect_load(recovered.loaded.is_some());
        submission.unread_outcomes = (recovered.outcomes_after, recovered.totals.recorded());
        if let Some(count) = recovered.batch_count {
            debug_assert_eq!(count, submission.next_sequence());
            submission.phase = Phase::Sealed;
        }
        let complete = submission.finished();
        if complete {
            submission.phase = Phase::Completing;
        }
        self.submissions.insert(recovered.id, submission);
        if !complete {
            match &recovered.loaded {
                Some(loaded) => self.take_loaded(now, recovered.id, loaded),
                None => self.load_more(recovered.id),
            }
            self.dispatch(now);
        }
        complete
    }

    /// Queues what of a loaded batch has no outcome, with the attempts that were already made and the workers that were
    /// lost with it.
    pub(super) fn recover_runs(&mut self, now: Now, id: Uuid, found: &RecoveredBatch) {
        let sequence = found.sequence;
        let submission = self.submissions.get(&id);
        let after_crash = submission.is_some_and(|one| one.after_crash && sequence < one.found_below);
        let mut open = RunSet::of(TaskRun::new(0, found.task_count));
        for (first, count) in &found.recorded {
            open.remove(TaskRun::new(*first, *count));
        }
        for lease in &found.leases {
            let run = TaskRun::new(lease.first_task, lease.task_count);
            // Rows lag: what has its outcome by now is not spoken of any more, nor what an earlier row spoke of.
            for run in open.overlap(run) {
                open.remove(run);
                self.recover_lease(now, id, sequence, run, lease, after_crash);
            }
        }
        for run in open.iter() {
            if after_crash {
                self.found_unfinished(id, sequence, run, 1);
            } else {
                self.make_ready(id, sequence, run, 1, now);
            }
        }
    }

    fn recover_lease(
        &mut self,
        now: Now,
        id: Uuid,
        sequence: u32,
        run: TaskRun,
        lease: &RecoveredLease,
        after_crash: bool,
    ) {
        let RecoveredLease { attempt, strikes, .. } = *lease;
        if after_crash && lease.worker.is_some() && strikes > 0 {
            return self.strike_found(now, id, sequence, run, attempt, strikes);
        }
        if strikes >= ALONE {
            return self.queue_run(id, sequence, run, ReadyRun { count: run.count, attempt, since: now, strikes });
        }
        if after_crash {
            return self.found_unfinished(id, sequence, run, attempt);
        }
        if let Some(worker) = &lease.worker {
            let ready = ReadyRun { count: run.count, attempt, since: now, strikes };
            if self.hold_off(now, (id, sequence, run.first), ready, worker) {
                return;
            }
        }
        let due = if attempt > 1 { now + self.backoff.delay(attempt - 1) } else { now };
        self.wait(Waiting { due, submission: id, sequence, run, attempt, strikes });
    }

    /// A batch from a client. If it is taken as new, the engine stores it; its tasks may be leased at once.
    pub(crate) fn append(&mut self, now: Now, id: Uuid, batch: &NewBatchMeta) -> Result<Appended, AppendRefusal> {
        let (limit, careful) = (self.window_limit(), self.careful(now));
        let submission = self.submissions.get_mut(&id).ok_or(AppendRefusal::Unknown)?;
        if batch.sequence < submission.next_sequence() {
            return match submission.window.get(batch.sequence) {
                Some(kept) if kept.fingerprint == batch.fingerprint => Ok(Appended::Repeated),
                Some(_) => Err(AppendRefusal::Conflict),
                None => Ok(Appended::Elsewhere),
            };
        }
        match submission.phase {
            Phase::Open => {}
            Phase::Sealed | Phase::Completing => return Err(AppendRefusal::Sealed),
            Phase::Cancelling => return Err(AppendRefusal::Cancelled),
        }
        let expected = submission.next_sequence();
        if batch.sequence != expected {
            return Err(AppendRefusal::Gap { expected });
        }
        if !submission.algorithm_set.covers(batch.expected) {
            return Err(AppendRefusal::UnexpectedAlgorithm);
        }
        submission.accepted_tasks += u64::from(batch.task_count);
        let accepted_through = submission.accepted_tasks;
        let new = Batch {
            task_count: batch.task_count,
            byte_count: batch.byte_count,
            fingerprint: batch.fingerprint,
            reference_prefix: batch.reference_prefix.clone(),
            unresolved: batch.task_count,
            outcomes_after: submission.totals.recorded(),
            times: None,
        };
        // Without room it is loaded once it is stored, and leased then.
        let room = submission.window.len() < limit && !careful;
        let kept = submission.window.append(new, room);
        if kept {
            self.kept_batches += 1;
            self.make_ready(id, batch.sequence, TaskRun::new(0, batch.task_count), 1, now);
            self.dispatch(now);
        }
        Ok(Appended::New { accepted_through, kept })
    }

    /// No more batches follow; there are `batch_count`.
    pub(crate) fn seal(&mut self, id: Uuid, batch_count: u32) -> Result<Sealed, SealRefusal> {
        let submission = self.submissions.get_mut(&id).ok_or(SealRefusal::Unknown)?;
        let stored = submission.next_sequence();
        if submission.phase == Phase::Cancelling {
            return Err(SealRefusal::Cancelled);
        }
        if stored != batch_count {
            return Err(SealRefusal::Count { stored });
        }
        if submission.phase != Phase::Open {
            return Ok(Sealed::Repeated);
        }
        submission.phase = Phase::Sealed;
        let complete = submission.finished();
        if complete {
            submission.phase = Phase::Completing;
        }
        Ok(Sealed::New { complete })
    }

    /// Unresolved tasks shall never have an outcome. True if the cancellation is new and must be stored.
    pub(crate) fn cancel(&mut self, id: Uuid) -> Result<bool, CancelRefusal> {
        let submission = self.submissions.get_mut(&id).ok_or(CancelRefusal::Unknown)?;
        match submission.phase {
            Phase::Completing => return Err(CancelRefusal::Completed),
            Phase::Cancelling => return Ok(false),
            Phase::Open | Phase::Sealed => submission.phase = Phase::Cancelling,
        }
        if !mutant::active(Mutant::CancelKeepsLeases) {
            self.release_submission(id, "the submission was cancelled");
        }
        Ok(true)
    }

    /// Drops a submission from memory: it is finished, or its truth must be read again from Postgres.
    pub(crate) fn forget(&mut self, id: Uuid) {
        self.release_submission(id, "the submission is over");
        if let Some(submission) = self.submissions.remove(&id) {
            self.timers.leave(id, &submission.order);
            self.order.tenants.leave(submission.tenant);
        }
    }

    /// Takes back every lease and every waiting run of a submission.
    fn release_submission(&mut self, id: Uuid, reason: &'static str) {
        self.withdraw(id);
        self.release_suspects(id);
        self.release_announced(id);
        self.release_held_off(id);
        let Some(submission) = self.submissions.get_mut(&id) else { return };
        self.kept_batches -= submission.window.len();
        submission.window.clear();
        // That its window is empty now does not say that its tasks are resolved.
        self.resolved.remove(&id);
        let leases = submission.leases.clone();
        let waiting_tasks = std::mem::take(&mut submission.waiting_tasks);
        for lease_id in leases {
            if let Some(lease) = self.end_lease(lease_id, LeaseEnd::Cancelled) {
                self.effects.push(Effect::Revoke { worker: lease.worker, lease: lease_id, reason });
            }
        }
        if waiting_tasks > 0 {
            self.waiting.retain(|waiting| waiting.submission != id);
        }
    }
}
