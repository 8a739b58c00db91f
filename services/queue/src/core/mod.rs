//! The queue's rules as a state machine without I/O, clock or randomness of its own.
//!
//! Every method takes the time, changes the state and appends what must happen to the effects; the engine carries them
//! out. The same calls in the same order give the same effects, so that property tests and simulations can drive it
//! through any schedule.
//!
//! What holds after every call: each unresolved task of an active submission is in exactly one place, a ready run, a run
//! that waits for its retry, a suspect, a run that waits to be announced or claimed, or the unresolved part of one lease.
//! That is why an outcome can be recorded at most once, and why none is forgotten.

mod adoption;
mod caution;
mod controls;
mod dispatch;
mod intake;
mod load;
mod order;
mod pardon;
mod poison;
mod ranges;
mod retry;
mod settle;
mod stats;
mod submission;
mod timers;
mod times;
mod unread;
mod window;
mod worker;
mod workers;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap},
    time::Duration,
};

use hashmesh::v1::Algorithm;
use uuid::Uuid;

pub(crate) use adoption::{Adopted, Claim};
pub(crate) use controls::{TenantControls, Waits};
pub(crate) use intake::{AppendRefusal, Appended, CancelRefusal, NewBatchMeta, SealRefusal, Sealed};
pub(crate) use ranges::TaskRun;
pub(crate) use settle::{AttemptFailure, OutcomesPart, Recorded, Verdict};
pub(crate) use stats::CoreCounts;
pub(crate) use submission::{Phase, Resolved};
pub(crate) use times::LeaseTimes;
pub(crate) use worker::{LeaseEnd, WorkerInfo};

use adoption::HeldOff;
use caution::Caution;
use order::{Order, classes::Classes, ready::ReadyIndex};
use pardon::Accused;
use poison::{Place, Suspect};
use retry::{Backoff, Waiting};
use submission::Submission;
use timers::Timers;
use worker::{Lease, Worker};

use crate::{
    mutant::{self, Mutant},
    shard::SHARDS,
    store::model::{LeaseRow, WantedBatches},
};

/// Time since the owner began, from a clock that never goes back.
pub(crate) type Now = Duration;

/// A connected worker; never used again after it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkerId(pub(crate) u64);

/// A lease; never used again within an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LeaseId(pub(crate) u64);

/// Algorithms as a set of bits, for comparing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AlgorithmSet(u64);

impl AlgorithmSet {
    /// The set of these algorithms.
    pub(crate) fn of(algorithms: &[Algorithm]) -> Self {
        Self(algorithms.iter().fold(0, |bits, algorithm| bits | 1 << (*algorithm as i32 & 63)))
    }

    /// True if every one of `other` is in this set.
    pub(crate) fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }
}

/// How leases are granted and taken back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CoreConfig {
    /// How long a lease lasts after the last heartbeat that names it.
    pub(crate) lease_duration: Duration,
    /// A lease on which work began and then stood still for this long is taken back, and the attempt is charged.
    pub(crate) stall_timeout: Duration,
    /// The longest wait before a second attempt; doubles with each further one.
    pub(crate) backoff_base: Duration,
    /// The longest wait before any attempt.
    pub(crate) backoff_cap: Duration,
    /// The last owner died with its workers, and its database is ours alone: see [`caution`].
    pub(crate) after_crash: bool,
    /// Seeds the jitter of the back-off.
    pub(crate) seed: u64,
    /// Batches in memory of one submission, at most.
    pub(crate) window_batches: usize,
    /// Batches in memory of all submissions together; beyond it each has [`window::LEAST_WINDOW`] at most.
    pub(crate) index_batches: usize,
    /// Bytes of leases that workers have not read yet, of all workers together (see [`unread`]).
    pub(crate) unread_bytes: u64,
    /// A deliberate defect (see [`crate::mutant`]): outcomes of expired leases are recorded.
    pub(crate) honours_expired: bool,
}

impl Default for CoreConfig {
    fn default() -> Self {
        Self {
            lease_duration: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(60),
            backoff_base: Duration::from_millis(500),
            backoff_cap: Duration::from_secs(30),
            after_crash: false,
            seed: 0,
            window_batches: 64 * 1024,
            index_batches: 512 * 1024,
            unread_bytes: 64 * 1024 * 1024,
            honours_expired: false,
        }
    }
}

impl CoreConfig {
    /// A worker that has not been heard for this long gets no new lease.
    fn silence(&self) -> Duration {
        self.lease_duration / 2
    }
}

/// What the engine must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Send a lease to a worker.
    Dispatch(Grant),
    /// Tell a worker to stop working on a lease; its outcomes will be refused.
    Revoke { worker: WorkerId, lease: LeaseId, reason: &'static str },
    /// Every task of the batch has its outcome: its payload is not needed any more.
    BatchResolved { submission: Uuid, sequence: u32 },
    /// Read unresolved batches of a submission and hand them to [`Core::loaded`].
    Load(WantedBatches),
    /// Record dead letters that no worker reported.
    Bury { submission: Uuid, recorded: Recorded, complete: bool, code: &'static str, reason: &'static str },
    /// Record that the submission is cancelled, because its deadline has passed.
    DeadlinePassed { submission: Uuid },
    /// Write a row of `leases`; what it speaks of is not leased before [`Core::written_ahead`] hears of it.
    WriteAhead(LeaseRow),
}

/// A lease as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) worker: WorkerId,
    pub(crate) lease: LeaseId,
    pub(crate) submission: Uuid,
    pub(crate) sequence: u32,
    pub(crate) run: TaskRun,
    pub(crate) attempt: u32,
    pub(crate) cost_bytes: u64,
    /// What its tasks are in bytes.
    pub(crate) payload_bytes: u64,
    pub(crate) priority: u8,
    /// Equal for grants of one tenant.
    pub(crate) flow: u64,
    /// It may be what killed workers before.
    pub(crate) alone: bool,
}

/// The owner's memory of unfinished submissions, workers and leases.
#[derive(Debug)]
pub(crate) struct Core {
    config: CoreConfig,
    backoff: Backoff,
    submissions: HashMap<Uuid, Submission>,
    /// Who gets work next.
    order: Order,
    classes: Classes,
    ready: ReadyIndex,
    timers: Timers,
    workers: BTreeMap<WorkerId, Worker>,
    /// The worker served last: the next dispatch begins behind it.
    served: WorkerId,
    leases: BTreeMap<LeaseId, Lease>,
    leased_tasks: u64,
    /// Runs that wait for their next attempt, soonest first.
    waiting: BinaryHeap<Waiting>,
    /// Batches in memory, of all submissions.
    kept_batches: usize,
    /// Ranges that are leased alone, while they are not.
    suspects: BTreeMap<Place, Suspect>,
    /// Workers may have to be set aside for suspects.
    isolate: bool,
    /// Single tasks that were alone in the hands of lost workers.
    accused: BTreeMap<Place, Accused>,
    caution: Caution,
    /// Nothing is leased: what was found is about to be claimed.
    still: bool,
    /// When each shard was taken over.
    taken_over: [Now; SHARDS as usize],
    /// Ranges that are kept for the workers that hold them.
    held_off: BTreeMap<Place, HeldOff>,
    next_worker: u64,
    next_lease: u64,
    refused_tasks: u64,
    retried_tasks: u64,
    rescued_leases: u64,
    strikes: u64,
    /// Leases that have ended since they were last taken.
    ended: Vec<(LeaseId, LeaseEnd)>,
    /// Submissions that are resolved further than was last taken.
    resolved: BTreeSet<Uuid>,
    effects: Vec<Effect>,
}

impl Core {
    /// An empty state.
    pub(crate) fn new(config: CoreConfig) -> Self {
        Self {
            backoff: Backoff::new(config.backoff_base, config.backoff_cap, config.seed),
            config,
            submissions: HashMap::new(),
            order: Order::new(),
            classes: Classes::default(),
            ready: ReadyIndex::default(),
            timers: Timers::default(),
            workers: BTreeMap::new(),
            served: WorkerId(0),
            leases: BTreeMap::new(),
            leased_tasks: 0,
            waiting: BinaryHeap::new(),
            kept_batches: 0,
            suspects: BTreeMap::new(),
            isolate: false,
            accused: BTreeMap::new(),
            caution: Caution::new(),
            still: false,
            taken_over: [Now::ZERO; SHARDS as usize],
            held_off: BTreeMap::new(),
            next_worker: intake::FIRST_WORKER,
            next_lease: 1,
            refused_tasks: 0,
            retried_tasks: 0,
            rescued_leases: 0,
            strikes: 0,
            ended: Vec::new(),
            resolved: BTreeSet::new(),
            effects: Vec::new(),
        }
    }

    /// What must happen since the last call, in order.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// How far submissions are resolved that got further since the last call, as far as it is `committed`: the last
    /// committed position of a submission. What is not committed yet is reported by a later call. A new owner skips what
    /// is resolved, so a number that ran ahead of the tables would lose tasks.
    pub(crate) fn take_resolved(&mut self, committed: impl Fn(Uuid) -> Option<u64>) -> Vec<(Uuid, Resolved)> {
        let mut taken = Vec::new();
        self.resolved.retain(|id| {
            let Some(submission) = self.submissions.get_mut(id) else { return false };
            let now = submission.resolved_now();
            let Some(before) = submission.resolved else {
                submission.resolved = Some(now);
                return true;
            };
            let ahead = committed(*id).is_none_or(|position| position < before.position);
            if ahead && !mutant::active(Mutant::ResolvedRunsAhead) {
                return true;
            }
            taken.push((*id, before));
            submission.resolved = (now.through > before.through).then_some(now);
            submission.resolved.is_some()
        });
        taken
    }

    /// Time passes: takes back leases that expired or stand still, makes due retries ready, and does what is due by the
    /// clock.
    pub(crate) fn tick(&mut self, now: Now) {
        self.expire_leases(now);
        self.release_due(now);
        self.fire_timers(now);
        self.order.sweep();
        self.pass_verdicts(now);
        self.review_announced();
        self.review_held_off(now);
        self.isolate = true;
        self.dispatch(now);
    }

    /// True if the submission is unfinished.
    #[cfg(test)]
    pub(crate) fn knows(&self, id: Uuid) -> bool {
        self.submissions.contains_key(&id)
    }

    /// Where an unfinished submission stands.
    pub(crate) fn phase(&self, id: Uuid) -> Option<Phase> {
        Some(self.submissions.get(&id)?.phase)
    }

    /// The number of the next new batch, if the submission takes one.
    pub(crate) fn awaits(&self, id: Uuid) -> Option<u32> {
        let submission = self.submissions.get(&id)?;
        (submission.phase == Phase::Open).then(|| submission.next_sequence())
    }

    /// What the store needs to know about a batch in hand: algorithms of the submission, fingerprint of the batch.
    pub(crate) fn fingerprint(&self, id: Uuid, sequence: u32) -> Option<[u8; 32]> {
        Some(self.submissions.get(&id)?.window.get(sequence)?.fingerprint)
    }

    /// The bytes of a batch in memory.
    pub(crate) fn byte_count(&self, id: Uuid, sequence: u32) -> Option<u32> {
        Some(self.submissions.get(&id)?.window.get(sequence)?.byte_count)
    }

    /// The number of tasks of a batch.
    pub(crate) fn task_count(&self, id: Uuid, sequence: u32) -> Option<u32> {
        Some(self.submissions.get(&id)?.window.get(sequence)?.task_count)
    }

    /// The submission of a lease that is held.
    pub(crate) fn lease_submission(&self, lease: LeaseId) -> Option<Uuid> {
        Some(self.leases.get(&lease)?.submission)
    }

    /// The leases of a submission, and who holds them.
    pub(crate) fn leases_of(&self, id: Uuid) -> impl Iterator<Item = (LeaseId, WorkerId)> + '_ {
        let leases = self.submissions.get(&id).into_iter().flat_map(|submission| &submission.leases);
        leases.filter_map(|lease| Some((*lease, self.leases.get(lease)?.worker)))
    }

    /// Counts outcomes that cannot belong to any lease.
    pub(crate) fn refuse(&mut self, tasks: u32) {
        self.refused_tasks += u64::from(tasks);
    }

    /// The algorithms of an unfinished submission.
    pub(crate) fn algorithms(&self, id: Uuid) -> Option<&[Algorithm]> {
        Some(&self.submissions.get(&id)?.algorithms)
    }

    /// The leases that have ended since the last call, in order.
    pub(crate) fn take_ended(&mut self) -> Vec<(LeaseId, LeaseEnd)> {
        std::mem::take(&mut self.ended)
    }

    /// The worker that holds a lease.
    pub(crate) fn holder(&self, lease: LeaseId) -> Option<WorkerId> {
        Some(self.leases.get(&lease)?.worker)
    }

    /// A connected worker's leases, their tasks, and the outcomes recorded from it.
    pub(crate) fn worker_stats(&self, id: WorkerId) -> Option<(u32, u64, u64)> {
        let worker = self.workers.get(&id)?;
        let tasks = worker.leases.iter().filter_map(|lease| self.leases.get(lease));
        let tasks = tasks.map(|lease| u64::from(lease.unresolved.tasks())).sum();
        Some((u32::try_from(worker.leases.len()).unwrap_or(u32::MAX), tasks, worker.recorded_tasks))
    }

    /// Outcomes recorded from a worker since it connected.
    pub(crate) fn recorded_from(&self, id: WorkerId) -> u64 {
        self.workers.get(&id).map_or(0, |worker| worker.recorded_tasks)
    }
}
