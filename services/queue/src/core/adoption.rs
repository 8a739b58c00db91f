//! What workers had in their hands when the last owner went away.
//!
//! A worker goes on with what it has begun, and names it in its hello: each such *claim* gets a new lease, if its tasks
//! have no outcome and are nobody else's. So that there is something left to claim, a range of which a row of `leases`
//! says that somebody holds it is *held off*: not leased for one lease duration after the takeover, or until the worker of
//! that name is there. All others are leased at once.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{
    Core, LeaseId, Now, WorkerId,
    order::ready::RunKey,
    poison::{ALONE, Place},
    ranges::{RunSet, TaskRun},
    submission::ReadyRun,
    worker::MAX_LEASES,
};
use crate::{
    mutant::{self, Mutant},
    shard::{Shard, ShardSet},
    store::model::LeaseRow,
};

/// What a worker says it still holds.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) submission: Uuid,
    pub(crate) sequence: u32,
    pub(crate) run: TaskRun,
    pub(crate) attempt: u32,
    pub(crate) fingerprint: [u8; 32],
    pub(crate) cost_bytes: u64,
}

/// A new lease for a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Adopted {
    /// Which of the claims.
    pub(crate) claim: usize,
    pub(crate) lease: LeaseId,
    /// Those of its tasks that have no outcome.
    pub(crate) unresolved: RunSet,
}

/// A range that its holder may claim.
#[derive(Clone, Debug)]
pub(super) struct HeldOff {
    pub(super) ready: ReadyRun,
    pub(super) worker: String,
}

impl Core {
    /// Keeps a range back for the worker that holds it. False if it is too late for that.
    pub(super) fn hold_off(&mut self, now: Now, place: Place, ready: ReadyRun, worker: &str) -> bool {
        let in_time = now < self.held_off_until(place.0) && !worker.is_empty();
        if in_time {
            self.held_off.insert(place, HeldOff { ready, worker: worker.to_owned() });
        }
        in_time
    }

    /// These shards are ours from now on; their unfinished submissions follow.
    pub(crate) fn take_over(&mut self, now: Now, shards: ShardSet) {
        shards.iter().for_each(|shard| self.taken_over[usize::from(shard.number())] = now);
    }

    /// Leases nothing, or goes on with it: what a new owner finds must not be leased to others before those who hold it had
    /// their say.
    pub(crate) fn stand_still(&mut self, now: Now, still: bool) {
        self.still = still;
        self.dispatch(now);
    }

    fn held_off_until(&self, submission: Uuid) -> Now {
        self.held_off_in(Shard::of(submission))
    }

    fn held_off_in(&self, shard: Shard) -> Now {
        self.taken_over[usize::from(shard.number())] + self.config.lease_duration
    }

    /// Lets go of what nobody has claimed in time.
    pub(super) fn review_held_off(&mut self, now: Now) {
        if self.held_off.is_empty() || mutant::active(Mutant::HeldOffForever) {
            return;
        }
        let over: ShardSet = Shard::all().filter(|shard| now >= self.held_off_in(*shard)).collect();
        self.let_go_held_off(now, |place, _| over.contains(Shard::of(place.0)));
    }

    /// Forgets a submission's: it is over.
    pub(super) fn release_held_off(&mut self, id: Uuid) {
        self.held_off.retain(|place, _| place.0 != id);
    }

    fn let_go_held_off(&mut self, now: Now, which: impl Fn(&Place, &HeldOff) -> bool) {
        let ready = self.held_off.extract_if(.., |place, held| which(place, held)).collect::<Vec<_>>();
        for ((id, sequence, first), HeldOff { ready, .. }) in ready {
            self.insert_ready(id, sequence, TaskRun::new(first, ready.count), ReadyRun { since: now, ..ready });
        }
    }

    /// A worker that has just connected, or has been told of shards that came, goes on with what it held: the claims that
    /// got a lease. What is held off for it and not claimed is leased to others. What it holds uses up what
    /// credit it has, or will give.
    pub(crate) fn adopt(&mut self, now: Now, worker: WorkerId, claims: &[Claim]) -> Vec<Adopted> {
        let Some(name) = self.workers.get(&worker).map(|worker| worker.info.name.clone()) else { return Vec::new() };
        self.let_go_held_off(now, |_, held| held.worker == name);
        let mut by_submission: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
        for (index, claim) in claims.iter().enumerate().take(MAX_LEASES) {
            by_submission.entry(claim.submission).or_default().push(index);
        }
        let mut adopted = Vec::new();
        for (id, indices) in by_submission {
            let mut ready: BTreeMap<RunKey, ReadyRun> = self.withdraw(id).into_iter().collect();
            for index in indices {
                let lease = self.adopt_one(now, worker, &claims[index], &mut ready);
                adopted.extend(lease.map(|(lease, unresolved)| Adopted { claim: index, lease, unresolved }));
            }
            for ((sequence, first), run) in ready {
                self.put_ready(id, sequence, first, run);
            }
        }
        adopted
    }

    /// Leases what is ready of a claim to the worker that makes it.
    fn adopt_one(
        &mut self,
        now: Now,
        worker: WorkerId,
        claim: &Claim,
        ready: &mut BTreeMap<RunKey, ReadyRun>,
    ) -> Option<(LeaseId, RunSet)> {
        let (id, sequence) = (claim.submission, claim.sequence);
        let submission = self.submissions.get(&id).filter(|submission| submission.active())?;
        let batch = submission.window.get(sequence)?;
        let other = batch.fingerprint != claim.fingerprint && !mutant::active(Mutant::FingerprintNotCompared);
        if other || claim.run.end() > batch.task_count {
            return None;
        }
        let meant = |first: u32, run: &ReadyRun| {
            claim.run.overlaps(TaskRun::new(first, run.count)) && run.attempt == claim.attempt && run.strikes < ALONE
        };
        let mut beside = RunSet::of(claim.run);
        let mut found = Vec::new();
        for ((_, first), run) in ready.range((sequence, 0)..(sequence, claim.run.end())) {
            if meant(*first, run) {
                remove_overlap(&mut beside, TaskRun::new(*first, run.count));
                found.push((*first, *run));
            }
        }
        let mut unresolved = RunSet::of(claim.run);
        beside.iter().for_each(|run| unresolved.remove(run));
        let room = self.order.tenants.get(submission.tenant)?.room().min(submission.room());
        if unresolved.is_empty() || u64::from(unresolved.tasks()) > room {
            return None;
        }
        let mut strikes = 0;
        for (first, run) in found {
            if !mutant::active(Mutant::AdoptTwice) {
                ready.remove(&(sequence, first));
            }
            strikes = strikes.max(run.strikes);
            // What the claim does not speak of stays.
            let mut rest = RunSet::of(TaskRun::new(first, run.count));
            remove_overlap(&mut rest, claim.run);
            for part in rest.iter() {
                ready.insert((sequence, part.first), ReadyRun { count: part.count, ..run });
            }
        }
        let tenant = submission.tenant;
        let tasks = unresolved.tasks();
        let state = ReadyRun { count: claim.run.count, attempt: claim.attempt, since: now, strikes };
        let lease = self.enter_lease(now, worker, (id, sequence), unresolved.clone(), claim.cost_bytes, state)?;
        // It was begun long ago: that it stands still counts from now on.
        if let Some(lease) = self.leases.get_mut(&lease) {
            lease.progress = Some((0, 0, now));
            lease.adopted = true;
        }
        self.order.give_apart(tenant, tasks);
        Some((lease, unresolved))
    }

    /// A worker has left because this owner is about to go: what it holds stays its own, for it to claim it from the next.
    pub(crate) fn worker_left(&mut self, id: WorkerId) {
        self.worker_draining(id);
        let Some(worker) = self.workers.get(&id) else { return };
        for lease in &worker.leases {
            if let Some(lease) = self.leases.get_mut(lease) {
                lease.expires_at = Now::MAX;
                lease.progress = None;
            }
        }
    }

    /// The rows of what is held off: they stand until it is decided.
    pub(super) fn held_off_rows(&self) -> impl Iterator<Item = LeaseRow> + '_ {
        self.held_off.iter().map(|((submission, sequence, first), held)| LeaseRow {
            submission: *submission,
            sequence: *sequence,
            first_task: *first,
            task_count: held.ready.count,
            attempt: held.ready.attempt,
            worker: Some(held.worker.clone()),
            strikes: held.ready.strikes,
        })
    }
}

fn remove_overlap(runs: &mut RunSet, run: TaskRun) {
    runs.overlap(run).into_iter().for_each(|part| runs.remove(part));
}
