//! How leases end: outcomes, nacks, expiry and stalls. The only place that gives out positions.

use std::time::Duration;

use hashmesh::v1::OutcomeStatus;
use uuid::Uuid;

use super::{
    Core, Effect, LeaseEnd, LeaseId, Now, WorkerId,
    poison::{ALONE, Blow, Place},
    ranges::TaskRun,
    retry::Waiting,
    submission::{Phase, ReadyRun},
    worker::Lease,
};
use crate::{
    mutant::{self, Mutant},
    store::model::Totals,
};

/// How long a run waits that its worker could not reach, before any worker is tried again.
const UNREACHED_DELAY: Duration = Duration::from_secs(1);

/// What a worker says about neighbouring tasks of a lease. Well-formed: `statuses` has a byte per task of the run,
/// `failures` are ascending and exactly the FAILED tasks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutcomesPart<'a> {
    pub(crate) worker: WorkerId,
    pub(crate) lease: LeaseId,
    pub(crate) fingerprint: &'a [u8],
    pub(crate) run: TaskRun,
    /// `None`: all succeeded.
    pub(crate) statuses: Option<&'a [u8]>,
    pub(crate) failures: &'a [AttemptFailure],
    pub(crate) hashed_bytes: u64,
    /// Nothing more will come of this lease.
    pub(crate) last: bool,
}

/// A failed attempt, as far as the rules care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AttemptFailure {
    /// From the run's first task.
    pub(crate) offset: u32,
    pub(crate) retryable: bool,
    pub(crate) retry_after: Option<Duration>,
    /// The attempt does not count: this worker cannot reach the source, or its host had no turn for it.
    pub(crate) uncharged: bool,
}

impl AttemptFailure {
    /// The worker may not read the object; with a time to come again it only could not just now.
    fn unreached(&self) -> bool {
        self.uncharged && self.retry_after.is_none()
    }
}

/// A run of outcomes to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// The first outcome's.
    pub(crate) position: u64,
    pub(crate) sequence: u32,
    pub(crate) run: TaskRun,
    pub(crate) attempt: u32,
    /// Of the submission, after this run.
    pub(crate) totals: Totals,
}

/// What becomes of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The lease was revoked, expired or superseded, or the tasks have outcomes: nothing is recorded, the lease is over.
    Refused,
    /// These runs must be recorded, in this order.
    Taken {
        submission: Uuid,
        recorded: Vec<Recorded>,
        /// Record the submission's completion with them.
        complete: bool,
        /// Nothing more is wanted of the lease once they are committed.
        lease_over: bool,
    },
}

impl Core {
    /// Outcomes from a worker.
    pub(crate) fn outcomes(&mut self, now: Now, part: &OutcomesPart<'_>) -> Verdict {
        if !self.may_settle(now, part) {
            self.refused_tasks += u64::from(part.run.count);
            return Verdict::Refused;
        }
        let Some(lease) = self.leases.get_mut(&part.lease) else { return Verdict::Refused };
        lease.unresolved.remove(part.run);
        // Sending outcomes proves life as well as a heartbeat does.
        lease.expires_at = now + self.config.lease_duration;
        let (id, sequence, attempt) = (lease.submission, lease.sequence, lease.attempt);
        let lease_over = part.last || lease.unresolved.is_empty();
        self.release_leased(id, part.run.count);

        let recorded = self.divide(now, id, sequence, attempt, part);
        let recorded_tasks: u64 = recorded.iter().map(|run| u64::from(run.run.count)).sum();
        if let Some(worker) = self.workers.get_mut(&part.worker) {
            worker.recorded_tasks += recorded_tasks;
        }
        if lease_over && let Some(lease) = self.end_lease(part.lease, LeaseEnd::Outcomes) {
            self.learn(now, &lease);
            self.give_back(now, &lease, lease.attempt);
        }
        let complete = self.completes(id);
        self.dispatch(now);
        Verdict::Taken { submission: id, recorded, complete, lease_over }
    }

    /// A worker gives a lease back. Unknown leases are ignored: they were taken back before.
    pub(crate) fn nack(&mut self, now: Now, worker: WorkerId, lease: LeaseId, retry_after: Duration) {
        if self.leases.get(&lease).is_none_or(|held| held.worker != worker) {
            return;
        }
        let Some(lease) = self.end_lease(lease, LeaseEnd::Nack) else { return };
        if retry_after.is_zero() {
            self.give_back(now, &lease, lease.attempt);
        } else {
            for run in lease.unresolved.iter() {
                let due = now + retry_after;
                let (submission, sequence, attempt) = (lease.submission, lease.sequence, lease.attempt);
                self.wait(Waiting { due, submission, sequence, run, attempt, strikes: lease.strikes });
            }
        }
        self.dispatch(now);
    }

    /// Takes back leases that no heartbeat renewed, and those whose work stands still.
    pub(super) fn expire_leases(&mut self, now: Now) {
        let stall = self.config.stall_timeout;
        let stalled = |lease: &Lease| lease.progress.is_some_and(|(_, _, at)| at + stall <= now);
        let over = self.leases.iter().filter(|(_, lease)| lease.expires_at <= now || stalled(lease));
        let end = |lease: &Lease| if lease.expires_at <= now { LeaseEnd::Expired } else { LeaseEnd::Stalled };
        let over: Vec<(LeaseId, LeaseEnd)> = over.map(|(id, lease)| (*id, end(lease))).collect();
        for (lease_id, end) in over {
            let Some(lease) = self.end_lease(lease_id, end) else { continue };
            self.rescued_leases += 1;
            if self.config.honours_expired {
                self.leases.insert(lease_id, Lease { expires_at: Now::MAX, ..lease.clone() });
            }
            if end == LeaseEnd::Expired {
                let reason = "no heartbeat named the lease in time";
                self.effects.push(Effect::Revoke { worker: lease.worker, lease: lease_id, reason });
                let session = self.workers.get(&lease.worker).map(|worker| worker.info.session);
                self.strike(now, &lease, Blow::Lost(session));
            } else {
                let reason = "work on the lease stood still";
                self.effects.push(Effect::Revoke { worker: lease.worker, lease: lease_id, reason });
                self.strike(now, &lease, Blow::Stalled);
            }
        }
    }

    /// True if outcomes of this part may be recorded (promise 3).
    fn may_settle(&self, now: Now, part: &OutcomesPart<'_>) -> bool {
        let Some(lease) = self.leases.get(&part.lease) else { return false };
        lease.worker == part.worker
            && lease.expires_at > now
            && part.run.count > 0
            && lease.unresolved.contains(part.run)
            && self
                .fingerprint(lease.submission, lease.sequence)
                .is_some_and(|known| known == part.fingerprint || mutant::active(Mutant::FingerprintNotCompared))
    }

    /// Divides a part into runs to record and runs to try again.
    fn divide(&mut self, now: Now, id: Uuid, sequence: u32, attempt: u32, part: &OutcomesPart<'_>) -> Vec<Recorded> {
        let Some(max_attempts) = self.submissions.get(&id).map(|submission| submission.max_attempts) else {
            return Vec::new();
        };
        let max_attempts = max_attempts + u32::from(mutant::active(Mutant::OneAttemptTooMany));
        let again = |failure: &&AttemptFailure| failure.uncharged || (failure.retryable && attempt < max_attempts);
        let mut recorded = Vec::new();
        let mut hashed_bytes = part.hashed_bytes;
        let mut begin = 0;
        let mut failures = part.failures.iter().filter(again).peekable();
        while begin < part.run.count {
            let end = failures.peek().map_or(part.run.count, |failure| failure.offset);
            if begin < end {
                let run = TaskRun::new(part.run.first + begin, end - begin);
                let statuses = part.statuses.map(|all| &all[begin as usize..end as usize]);
                recorded.push(self.record(id, sequence, attempt, run, statuses, hashed_bytes));
                hashed_bytes = if mutant::active(Mutant::CountBytesTwice) { hashed_bytes } else { 0 };
            }
            let Some(failure) = failures.next() else { break };
            // Neighbours that failed alike wait together.
            let mut count = 1;
            while failures
                .next_if(|next| **next == AttemptFailure { offset: failure.offset + count, ..*failure })
                .is_some()
            {
                count += 1;
            }
            let run = TaskRun::new(part.run.first + failure.offset, count);
            self.try_again(now, id, sequence, attempt, run, failure);
            begin = failure.offset + count;
        }
        recorded
    }

    /// Gives out positions to a run and adds it to the totals.
    fn record(
        &mut self,
        id: Uuid,
        sequence: u32,
        attempt: u32,
        run: TaskRun,
        statuses: Option<&[u8]>,
        hashed_bytes: u64,
    ) -> Recorded {
        let count = |status: OutcomeStatus| {
            statuses.map_or(0, |all| all.iter().filter(|byte| i32::from(**byte) == status as i32).count() as u64)
        };
        let (mismatched, failed) = (count(OutcomeStatus::Mismatched), count(OutcomeStatus::Failed));
        let Some(submission) = self.submissions.get_mut(&id) else {
            unreachable!("a lease outlived its submission");
        };
        let position = submission.totals.recorded() + 1;
        let twice = if mutant::active(Mutant::CountFailedTwice) { failed } else { 0 };
        submission.totals.succeeded += u64::from(run.count) - mismatched - failed + twice;
        submission.totals.mismatched += mismatched;
        submission.totals.failed += failed;
        submission.totals.hashed_bytes += hashed_bytes;
        submission.unreached = false;
        let totals = submission.totals;
        let before = submission.window.resolved_through();
        if submission.window.resolve(sequence, run.count) {
            if submission.window.resolved_through() > before {
                self.resolved.insert(id);
            }
            self.kept_batches -= 1;
            self.effects.push(Effect::BatchResolved { submission: id, sequence });
            self.load_more(id);
        }
        Recorded { position, sequence, run, attempt, totals }
    }

    /// Lets failed tasks wait for their next attempt.
    fn try_again(&mut self, now: Now, id: Uuid, sequence: u32, attempt: u32, run: TaskRun, failure: &AttemptFailure) {
        if failure.unreached()
            && let Some(submission) = self.submissions.get_mut(&id)
        {
            submission.unreached = true;
        }
        let (delay, next) = if failure.uncharged {
            (failure.retry_after.unwrap_or(UNREACHED_DELAY), attempt)
        } else {
            self.retried_tasks += u64::from(run.count);
            (failure.retry_after.unwrap_or_else(|| self.backoff.delay(attempt)), attempt + 1)
        };
        if mutant::active(Mutant::RetryTimerLost) {
            return;
        }
        // Its worker lived through it.
        self.wait(Waiting { due: now + delay, submission: id, sequence, run, attempt: next, strikes: 0 });
    }

    /// Makes a dead letter of a task that no worker reported.
    pub(super) fn bury(&mut self, place: Place, attempt: u32, (code, reason): (&'static str, &'static str)) {
        let (id, sequence, first) = place;
        let run = TaskRun::new(first, 1);
        if !self.submissions.get(&id).is_some_and(super::submission::Submission::active) {
            return;
        }
        let recorded = self.record(id, sequence, attempt, run, Some(&[OutcomeStatus::Failed as u8]), 0);
        let complete = self.completes(id);
        self.effects.push(Effect::Bury { submission: id, recorded, complete, code, reason });
    }

    /// Makes what is left of a lease ready again.
    pub(super) fn give_back(&mut self, now: Now, lease: &Lease, attempt: u32) {
        for run in lease.unresolved.iter() {
            let ready = ReadyRun { count: run.count, attempt, since: now, strikes: lease.strikes };
            self.queue_run(lease.submission, lease.sequence, run, ready);
        }
    }

    /// Takes a lease out of every index.
    pub(super) fn end_lease(&mut self, id: LeaseId, end: LeaseEnd) -> Option<Lease> {
        let lease = self.leases.remove(&id)?;
        self.ended.push((id, end));
        if let Some(worker) = self.workers.get_mut(&lease.worker) {
            worker.let_go(id, &lease);
        }
        if lease.strikes >= ALONE {
            self.back_in_line(lease.worker);
        }
        if let Some(submission) = self.submissions.get_mut(&lease.submission) {
            submission.leases.remove(&id);
        }
        self.release_leased(lease.submission, lease.unresolved.tasks());
        Some(lease)
    }

    /// True, once, when a submission has just got its last outcome.
    fn completes(&mut self, id: Uuid) -> bool {
        let Some(submission) = self.submissions.get_mut(&id) else { return false };
        let complete = submission.finished();
        if complete {
            submission.phase = Phase::Completing;
        }
        complete
    }

    /// Learns what the tasks of a finished lease cost: its worker was busy with them since it finished the one before.
    fn learn(&mut self, now: Now, lease: &Lease) {
        let Some(worker) = self.workers.get_mut(&lease.worker) else { return };
        let busy = now.saturating_sub(lease.granted_at.max(worker.last_finish));
        worker.last_finish = now;
        if let Some(submission) = self.submissions.get_mut(&lease.submission) {
            submission.learn_cost(busy, lease.task_count);
        }
    }
}
