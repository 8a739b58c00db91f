//! One unfinished submission in the owner's memory.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use hashmesh::v1::Algorithm;

use super::{
    AlgorithmSet, LeaseId, Now,
    order::{LEVELS, TenantId, ready::ReadyRuns},
    times::BatchTimes,
    window::Window,
};
use crate::{
    mutant::{self, Mutant},
    store::model::{Totals, WorkOrder},
};

/// Where an unfinished submission stands. A finished one is not in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Takes batches.
    Open,
    /// Takes no more batches.
    Sealed,
    /// Its last outcome or its seal is on its way to Postgres together with its completion.
    Completing,
    /// Its cancellation is on its way to Postgres.
    Cancelling,
}

/// A batch without its payload.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) task_count: u32,
    pub(crate) byte_count: u32,
    pub(crate) fingerprint: [u8; 32],
    /// Common prefix of the tasks' URIs; `None`: all are inline.
    pub(crate) reference_prefix: Option<Arc<str>>,
    /// Tasks without an outcome.
    pub(crate) unresolved: u32,
    /// The submission's last position when the batch was taken into memory: all its outcomes in this owner's time have
    /// higher ones.
    pub(crate) outcomes_after: u64,
    /// Unknown of a batch that was read from Postgres.
    pub(super) times: Option<BatchTimes>,
}

impl Batch {
    /// What leasing `count` of its tasks uses up of a worker's credit in bytes.
    pub(crate) fn cost_bytes(&self, count: u32) -> u64 {
        let per_task = if self.reference_prefix.is_some() { REFERENCE_COST_BYTES } else { INLINE_COST_BYTES };
        self.payload_bytes(count) + per_task * u64::from(count)
    }

    /// What `count` of its tasks are in bytes.
    pub(crate) fn payload_bytes(&self, count: u32) -> u64 {
        u64::from(self.byte_count) * u64::from(count) / u64::from(self.task_count.max(1))
    }
}

/// Bookkeeping of one inline task at a worker.
const INLINE_COST_BYTES: u64 = 64;
/// An object's size is not known before it is read. Counting it as this much keeps a worker from hoarding a thousand
/// large ones while others idle.
const REFERENCE_COST_BYTES: u64 = 64 * 1024;
/// Tasks in the first leases of a submission by reference, before anything is known about their cost.
const FIRST_REFERENCE_LEASE_TASKS: u32 = 16;
/// How long a lease should last. Long enough that its overhead does not matter, short enough that losing one does not.
const LEASE_TARGET: Duration = Duration::from_millis(500);

/// A run of tasks that waits for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadyRun {
    pub(crate) count: u32,
    /// The attempt that the next lease makes, from 1.
    pub(crate) attempt: u32,
    /// Since when it has been ready.
    pub(crate) since: Now,
    /// How many workers were lost with it (see [`super::poison`]).
    pub(crate) strikes: u32,
}

impl ReadyRun {
    /// True if a new owner must be told of it.
    pub(super) fn tried(&self) -> bool {
        self.attempt > 1 || self.strikes > 0
    }
}

/// An unfinished submission.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) algorithms: Arc<[Algorithm]>,
    pub(crate) algorithm_set: AlgorithmSet,
    pub(crate) max_attempts: u32,
    pub(crate) phase: Phase,
    /// The unresolved batches that are in memory; those whose insert is still on its way included.
    pub(crate) window: Window,
    /// Batches below were there before this owner.
    pub(crate) found_below: u32,
    /// Those were unfinished when the last owner and its workers died together.
    pub(crate) after_crash: bool,
    /// Tasks in all batches, those in Postgres only included.
    pub(crate) accepted_tasks: u64,
    /// After every outcome handed to the lane; `totals.recorded()` is the last position given out.
    pub(crate) totals: Totals,
    /// How far the submission was resolved when that was last looked at, to be noted once it is committed.
    pub(crate) resolved: Option<Resolved>,
    /// Outcomes from before this owner that may belong to batches that are not in memory: above the first position, up to
    /// the second.
    pub(crate) unread_outcomes: (u64, u64),
    pub(super) tenant: TenantId,
    pub(crate) order: WorkOrder,
    /// Its tasks may not be leased yet, or not any more.
    pub(crate) held: bool,
    /// Runs that wait for a worker.
    pub(super) ready: ReadyRuns,
    /// Its tasks in workers' hands.
    pub(crate) leased_tasks: u64,
    /// Leases on its tasks.
    pub(crate) leases: BTreeSet<LeaseId>,
    /// Its tasks that wait for their next attempt.
    pub(crate) waiting_tasks: u64,
    /// Workers have lately given back tasks whose objects they do not reach, and nothing else came of the submission since.
    pub(super) unreached: bool,
    /// What a task has cost a worker lately, in seconds of its whole capacity.
    pub(crate) task_seconds: Option<f64>,
}

impl Submission {
    /// A submission without batches.
    pub(super) fn new(algorithms: Arc<[Algorithm]>, max_attempts: u32, tenant: TenantId, order: WorkOrder) -> Self {
        Self {
            algorithm_set: AlgorithmSet::of(&algorithms),
            algorithms,
            max_attempts,
            phase: Phase::Open,
            window: Window::default(),
            found_below: 0,
            after_crash: false,
            accepted_tasks: 0,
            totals: Totals::default(),
            resolved: None,
            unread_outcomes: (0, 0),
            tenant,
            order,
            held: false,
            ready: ReadyRuns::default(),
            leased_tasks: 0,
            leases: BTreeSet::new(),
            waiting_tasks: 0,
            unreached: false,
            task_seconds: None,
        }
    }

    /// The sequence number that the next new batch must have.
    pub(crate) fn next_sequence(&self) -> u32 {
        self.window.next()
    }

    /// True once every task has its outcome and no batch can follow.
    pub(crate) fn finished(&self) -> bool {
        let all = self.totals.recorded() == self.accepted_tasks || mutant::active(Mutant::CompleteTooEarly);
        self.phase == Phase::Sealed && all
    }

    /// True while its tasks may be leased and their outcomes recorded.
    pub(crate) fn active(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Sealed)
    }

    /// Its level of priority.
    pub(super) fn level(&self) -> usize {
        usize::from(self.order.priority).min(LEVELS - 1)
    }

    /// How many more of its tasks may be leased.
    pub(super) fn room(&self) -> u64 {
        let max = self.order.max_leased_tasks.map_or(u64::MAX, u64::from);
        max.saturating_sub(self.leased_tasks)
    }

    /// Its tasks that neither have an outcome nor are in workers' hands nor wait for their next attempt.
    pub(super) fn ready_tasks(&self) -> u64 {
        self.accepted_tasks.saturating_sub(self.totals.recorded() + self.leased_tasks + self.waiting_tasks)
    }

    /// True if a lease on its ready tasks may be granted now, as far as it is up to the submission.
    pub(super) fn may_be_leased(&self) -> bool {
        self.active() && !self.held && self.room() > 0
    }

    /// How many tasks the next lease on `batch` should hold.
    pub(crate) fn lease_tasks(&self, batch: &Batch) -> u32 {
        if batch.reference_prefix.is_none() {
            // A whole batch is a fraction of a second of hashing, and is passed on as it was stored (README, decisions).
            return batch.task_count;
        }
        match self.task_seconds {
            None => FIRST_REFERENCE_LEASE_TASKS,
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped, and a float cast saturates
            Some(seconds) => ((LEASE_TARGET.as_secs_f64() / seconds.max(1e-9)) as u32).clamp(1, batch.task_count),
        }
    }

    /// Learns from a finished lease: `count` tasks kept a worker busy for `busy`.
    pub(crate) fn learn_cost(&mut self, busy: Duration, count: u32) {
        let seconds = busy.as_secs_f64() / f64::from(count.max(1));
        self.task_seconds = Some(self.task_seconds.map_or(seconds, |before| before * 0.7 + seconds * 0.3));
    }

    /// How far the submission is resolved by what was handed to its lane.
    pub(crate) fn resolved_now(&self) -> Resolved {
        let position = self.totals.recorded();
        let (unread_after, unread_to) = self.unread_outcomes;
        let elsewhere = if unread_after < unread_to { unread_after } else { position };
        Resolved {
            position,
            through: self.window.resolved_through(),
            outcomes_after: self.window.outcomes_after().unwrap_or(elsewhere),
        }
    }
}

/// How far a submission was resolved at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// The last position given out then: true of the tables once that is committed.
    pub(crate) position: u64,
    /// Every batch below is resolved.
    pub(crate) through: u32,
    /// The outcomes of the other batches have positions above this one.
    pub(crate) outcomes_after: u64,
}
