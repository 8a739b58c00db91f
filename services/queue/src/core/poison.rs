//! Tasks that kill or hang whoever works on them: found by halving, so that they end alone.
//!
//! A *blow* is the loss of a worker, or of a lease that stood still. Nobody can tell which of the ranges in a lost
//! worker's hands was to blame: what it had begun in its last milliseconds no frame has told. So each gets a *strike*:
//!
//! - The first changes nothing else. Workers are killed for other reasons all the time.
//! - With the second a range is *suspect*: it is halved, and leased *alone* from then on, to a worker that holds nothing
//!   else and gets nothing else meanwhile. Whoever dies of it then tells exactly which range it was, which is halved again.
//! - A single task at which three workers were lost while it was all they worked on is a dead letter; those that come back
//!   were not lost (see [`super::pardon`]). What else a worker works on for other owners nobody but itself knows: it says
//!   when it begins what it was leased alone ([`Core::begin_alone`]), and does nothing else from then on. Lost before, it
//!   leaves everything as it was.
//!
//! So a range of n tasks costs at most 2 + ⌈log2 n⌉ + 3 workers, and nobody else's task is ever blamed. Strikes from the
//! second on are committed before the range is leased again (`Effect::WriteAhead`).
//!
//! Suspects stand outside of the order of work, as they are few and wait for workers that hold nothing; but pauses, times
//! and limits hold for them too.

use hashmesh::error::TaskReason;
use uuid::Uuid;

use super::{
    Core, Effect, LeaseId, Now, WorkerId,
    order::TenantId,
    ranges::{RunSet, TaskRun},
    submission::{ReadyRun, Submission},
    worker::{Lease, Worker},
};
use crate::{
    mutant::{self, Mutant},
    store::model::LeaseRow,
};

/// Strikes from which on a range is leased alone.
pub(super) const ALONE: u32 = 2;
/// Strikes that make a dead letter of a single task: three of them while it was all that its worker held.
pub(super) const DEADLY: u32 = ALONE + 3;

/// Of a dead letter that killed its workers: code and reason.
pub(super) const KILLED: (&str, &str) =
    (TaskReason::WorkerLost.as_str(), "killed its worker: the third that was lost while it held nothing else");

/// Of one that hung them.
const HUNG: (&str, &str) =
    (TaskReason::WorkerStalled.as_str(), "hung its worker: work on it stood still each time it was leased alone");

/// How the worker of a lease, or the lease, was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blow {
    /// Its stream ended, or it fell silent. The session, if it may come back.
    Lost(Option<Uuid>),
    /// Work on the lease stood still.
    Stalled,
}

/// A suspect's place: submission, sequence, first task.
pub(super) type Place = (Uuid, u32, u32);

/// A range that is leased alone, while it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Suspect {
    pub(super) count: u32,
    pub(super) attempt: u32,
    pub(super) strikes: u32,
    pub(super) since: Now,
    /// Its strikes are in the table.
    pub(super) written: bool,
    /// After a crash: that a worker may hold it is in the table (`Some(true)`) or on its way there.
    pub(super) announced: Option<bool>,
}

impl Core {
    /// A lease was lost together with its worker, or stood still.
    pub(super) fn strike(&mut self, now: Now, lease: &Lease, blow: Blow) {
        if lease.awaits_begin {
            // Its worker was lost before it began: with what it did for others, or for no reason of ours.
            return self.give_back(now, lease, lease.attempt);
        }
        for run in lease.unresolved.iter() {
            self.strikes += 1;
            self.strike_run(now, lease, run, blow);
        }
    }

    fn strike_run(&mut self, now: Now, lease: &Lease, run: TaskRun, blow: Blow) {
        let (id, sequence, attempt) = (lease.submission, lease.sequence, lease.attempt);
        if lease.strikes == 0 {
            return self.queue_run(id, sequence, run, ReadyRun { count: run.count, attempt, since: now, strikes: 1 });
        }
        if run.count > 1 {
            let half = run.count.div_ceil(2);
            for (first, count) in [(run.first, half), (run.first + half, run.count - half)] {
                self.queue_run(
                    id,
                    sequence,
                    TaskRun::new(first, count),
                    ReadyRun { count, attempt, since: now, strikes: ALONE },
                );
            }
            return;
        }
        // Only what was alone is to blame for sure.
        let alone = lease.task_count == 1 && lease.strikes >= ALONE;
        let place = (id, sequence, run.first);
        let (strikes, awaits_verdict) =
            if alone { self.accuse(now, place, lease.strikes + 1, blow) } else { (ALONE, false) };
        if strikes < DEADLY || awaits_verdict {
            return self.queue_run(id, sequence, run, ReadyRun { count: 1, attempt, since: now, strikes });
        }
        self.accused.remove(&place);
        self.bury(place, attempt, if blow == Blow::Stalled { HUNG } else { KILLED });
    }

    /// A worker says that it does nothing else now and is about to begin. False if the lease is not its own any more.
    pub(crate) fn begin_alone(&mut self, worker: WorkerId, lease: LeaseId) -> bool {
        let Some(lease) = self.leases.get_mut(&lease).filter(|lease| lease.worker == worker) else { return false };
        lease.awaits_begin = false;
        true
    }

    /// Puts a range where ranges with its strikes wait for a worker.
    pub(super) fn queue_run(&mut self, id: Uuid, sequence: u32, run: TaskRun, ready: ReadyRun) {
        if ready.strikes < ALONE {
            return self.insert_ready(id, sequence, run, ready);
        }
        if run.count == 0 || !self.submissions.get(&id).is_some_and(Submission::active) {
            return;
        }
        let ReadyRun { attempt, strikes, since, .. } = ready;
        let written = mutant::active(Mutant::StrikeNotAwaited);
        let suspect = Suspect { count: run.count, attempt, strikes, since, written, announced: None };
        self.effects.push(Effect::WriteAhead(suspect_row((id, sequence, run.first), &suspect)));
        self.suspects.insert((id, sequence, run.first), suspect);
    }

    /// A row is in the table.
    pub(crate) fn written_ahead(&mut self, now: Now, row: &LeaseRow) {
        let place = (row.submission, row.sequence, row.first_task);
        if let Some(suspect) = self.suspects.get_mut(&place)
            && (suspect.count, suspect.strikes) == (row.task_count, row.strikes)
        {
            suspect.written = true;
            if row.worker.is_some() && suspect.announced.is_some() {
                suspect.announced = Some(true);
            }
            self.isolate = true;
        }
        self.ahead_written(now, row);
        self.dispatch(now);
    }

    /// Leases suspects alone, as far as there are workers that hold nothing else; sets workers aside for the others.
    pub(super) fn dispatch_suspects(&mut self, now: Now) {
        if self.suspects.is_empty() {
            return;
        }
        if std::mem::take(&mut self.isolate) {
            self.set_aside(now);
        }
        let idle = self.workers.iter().filter(|(_, worker)| worker.leases.is_empty());
        let idle: Vec<(WorkerId, Place)> = idle.filter_map(|(id, worker)| Some((*id, worker.aside?))).collect();
        for (worker, place) in idle {
            self.lease_suspect(now, worker, place);
        }
    }

    /// Leases a suspect to the worker that was set aside for it, if it may be leased now.
    fn lease_suspect(&mut self, now: Now, worker_id: WorkerId, place: Place) {
        let silence = self.config.silence();
        let takes = self.workers.get(&worker_id).is_some_and(|worker| worker.may_be_leased_to(now, silence));
        let room = self.room_for(place.0).filter(|_| takes);
        let (Some(suspect), Some(room)) = (self.suspects.get_mut(&place), room) else {
            // The range is gone, or the worker is, or it must wait for longer.
            return self.back_in_line(worker_id);
        };
        if room == 0 {
            // Until other leases of its tenant or submission end.
            return;
        }
        if u64::from(suspect.count) > room {
            return self.split(place, u32::try_from(room).unwrap_or(u32::MAX));
        }
        if self.config.after_crash && suspect.announced != Some(true) {
            if suspect.announced.is_none() {
                suspect.announced = Some(false);
                let row = suspect_row(place, suspect);
                self.effects.push(Effect::WriteAhead(row));
            }
            return;
        }
        let Some(suspect) = self.suspects.remove(&place) else { return };
        let (id, sequence, first) = place;
        let Suspect { count, attempt, strikes, since, .. } = suspect;
        let ready = ReadyRun { count, attempt, since, strikes };
        self.grant(now, worker_id, id, sequence, TaskRun::new(first, count), ready);
        if let Some(tenant) = self.tenant_of(place) {
            self.order.give_apart(tenant, count);
        }
        // That may have been the last that the submission may have in hand.
        self.sync(id);
    }

    /// Makes two of a suspect that is larger than what may be leased at once.
    fn split(&mut self, place: Place, first_tasks: u32) {
        let Some(suspect) = self.suspects.remove(&place) else { return };
        let (id, sequence, first) = place;
        for (first, count) in [(first, first_tasks), (first + first_tasks, suspect.count - first_tasks)] {
            let Suspect { attempt, strikes, since, .. } = suspect;
            self.queue_run(id, sequence, TaskRun::new(first, count), ReadyRun { count, attempt, since, strikes });
        }
    }

    /// How many tasks of a submission may be leased now. `None`: it is paused, its time has not come, or it is over.
    pub(super) fn room_for(&self, id: Uuid) -> Option<u64> {
        self.room_of(self.submissions.get(&id)?)
    }

    /// The same.
    pub(super) fn room_of(&self, submission: &Submission) -> Option<u64> {
        if !submission.active() || submission.held {
            return None;
        }
        let tenant = self.order.tenants.get(submission.tenant).filter(|tenant| !tenant.paused)?;
        (!self.order.everyone_paused()).then(|| tenant.room().min(submission.room()))
    }

    /// Sets workers aside for suspects: idle ones if there are, and never more than half, so that the others' work goes on.
    /// For a tenant without room, one worker waits at most.
    fn set_aside(&mut self, now: Now) {
        let silence = self.config.silence();
        let most = (self.workers.len() / 2).max(1);
        let mut taken: Vec<Place> = self.workers.values().filter_map(|worker| worker.aside).collect();
        let mut chosen = Vec::new();
        for (place, suspect) in &self.suspects {
            if taken.len() >= most {
                break;
            }
            if !suspect.written || taken.contains(place) || self.awaits_verdict(*place) {
                continue;
            }
            let Some(room) = self.room_for(place.0) else { continue };
            if room == 0 && taken.iter().any(|other| self.tenant_of(*other) == self.tenant_of(*place)) {
                continue;
            }
            let free = self.workers.iter().filter(|(id, worker)| {
                worker.takes_leases(now, silence) && !chosen.iter().any(|(other, _)| other == *id)
            });
            let able = free.filter(|(_, worker)| self.may_take(worker, *place));
            if let Some((id, _)) = able.min_by_key(|(id, worker)| (worker.leases.len(), **id)) {
                chosen.push((*id, *place));
                taken.push(*place);
            }
        }
        for (id, place) in chosen {
            if let Some(worker) = self.workers.get_mut(&id) {
                worker.aside = Some(place);
            }
        }
    }

    fn tenant_of(&self, place: Place) -> Option<TenantId> {
        Some(self.submissions.get(&place.0)?.tenant)
    }

    fn may_take(&self, worker: &Worker, (id, sequence, _): Place) -> bool {
        let Some(submission) = self.submissions.get(&id) else { return false };
        let Some(batch) = submission.window.get(sequence) else { return false };
        worker.info.algorithms.covers(submission.algorithm_set)
            && worker.info.reaches(batch.reference_prefix.as_deref())
    }

    /// Gives a worker that was set aside to everybody's work again.
    pub(super) fn back_in_line(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id)
            && worker.aside.take().is_some()
        {
            self.isolate = true;
        }
    }

    /// Drops a submission's suspects: it is over.
    pub(super) fn release_suspects(&mut self, id: Uuid) {
        let places: Vec<Place> =
            self.suspects.range((id, 0, 0)..=(id, u32::MAX, u32::MAX)).map(|(place, _)| *place).collect();
        for place in places {
            self.suspects.remove(&place);
        }
        self.release_accused(id);
        let aside: Vec<WorkerId> = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.aside.is_some_and(|place| place.0 == id))
            .map(|(id, _)| *id)
            .collect();
        aside.into_iter().for_each(|worker| self.back_in_line(worker));
    }

    /// True if suspects of this submission wait for a worker that may take them.
    pub(super) fn suspects_wait(&self, id: Uuid) -> bool {
        let mut suspects = self.suspects.range((id, 0, 0)..=(id, u32::MAX, u32::MAX));
        suspects.any(|(place, _)| !self.reached(*place))
    }

    /// True if a worker is connected that may take a range.
    pub(super) fn reached(&self, place: Place) -> bool {
        self.workers.values().any(|worker| !worker.draining && self.may_take(worker, place))
    }

    /// The rows of all suspects that no worker holds.
    pub(super) fn suspect_rows(&self) -> impl Iterator<Item = LeaseRow> + '_ {
        self.suspects.iter().map(|(place, suspect)| suspect_row(*place, suspect))
    }

    /// Treats what a recovered row says a lost worker held like a lease of it.
    pub(super) fn strike_found(&mut self, now: Now, id: Uuid, sequence: u32, run: TaskRun, attempt: u32, strikes: u32) {
        let Some(tenant) = self.submissions.get(&id).map(|submission| submission.tenant) else { return };
        let lease = Lease {
            worker: WorkerId(0),
            submission: id,
            sequence,
            task_count: run.count,
            cost_bytes: 0,
            level: 0,
            tenant,
            attempt,
            strikes,
            unresolved: RunSet::of(run),
            granted_at: now,
            adopted: false,
            expires_at: now,
            progress: None,
            awaits_begin: false,
        };
        self.strike(now, &lease, Blow::Lost(None));
    }
}

/// A worker that is about to hold a range, in a row that is written before it does.
const ABOUT_TO: &str = "";

pub(super) fn announcement(place: Place, count: u32, attempt: u32, strikes: u32) -> LeaseRow {
    let (submission, sequence, first_task) = place;
    LeaseRow {
        submission,
        sequence,
        first_task,
        task_count: count,
        attempt,
        worker: Some(ABOUT_TO.to_owned()),
        strikes,
    }
}

fn suspect_row(place: Place, suspect: &Suspect) -> LeaseRow {
    let row = announcement(place, suspect.count, suspect.attempt, suspect.strikes);
    LeaseRow { worker: row.worker.filter(|_| suspect.announced.is_some()), ..row }
}
