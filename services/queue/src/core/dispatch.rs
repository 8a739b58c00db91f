//! Work meets workers: workers with credit in turn, each is given what is next for it (see [`super::order`]).

use std::ops::Bound::{Excluded, Unbounded};

use uuid::Uuid;

use super::{
    Core, Effect, Grant, LeaseId, Now, WorkerId,
    order::{LEVELS, Pick, Place, TenantId},
    poison::ALONE,
    ranges::{RunSet, TaskRun},
    submission::ReadyRun,
    worker::{Lease, Worker},
};
use crate::store::model::LeaseRow;

impl Core {
    /// Grants leases until credit or ready runs are used up.
    pub(super) fn dispatch(&mut self, now: Now) {
        if self.still {
            return;
        }
        self.dispatch_suspects(now);
        let mut without_luck = 0;
        while !self.order.is_empty() {
            let Some(worker) = self.next_taker(now) else { return };
            self.served = worker;
            if self.grant_to(worker, now) {
                without_luck = 0;
            } else {
                without_luck += 1;
                if without_luck >= self.workers.len() {
                    return;
                }
            }
        }
    }

    /// The next worker behind the one served last that may be given a lease.
    fn next_taker(&self, now: Now) -> Option<WorkerId> {
        let silence = self.config.silence();
        let behind = self.workers.range((Excluded(self.served), Unbounded));
        let from_start = self.workers.range(..=self.served);
        behind.chain(from_start).find(|(_, worker)| worker.takes_leases(now, silence)).map(|(id, _)| *id)
    }

    /// Grants one lease to a worker. False if there is nothing for it.
    fn grant_to(&mut self, worker_id: WorkerId, now: Now) -> bool {
        let Some(worker) = self.workers.get(&worker_id) else { return false };
        let Some(pick) = self.pick_for(worker) else { return false };
        let Place { tenant, class, .. } = pick.place;
        let id = pick.submission;
        let room = self.order.tenants.get(tenant).map_or(0, super::order::Tenant::room);
        let Some(submission) = self.submissions.get_mut(&id) else { return false };
        let Some((key, ready)) = submission.ready.first(class) else {
            debug_assert!(false, "{id} stands in the order with nothing to give");
            self.order.remove(pick.place, id);
            return true;
        };
        let (sequence, first) = key;
        let Some(batch) = submission.window.get(sequence) else {
            // Resolved without this run: nothing is left to do.
            self.ready.remove(id, &mut submission.ready, class, key);
            if submission.ready.first(class).is_none() {
                self.order.remove(pick.place, id);
            }
            return true;
        };
        let wanted = submission.lease_tasks(batch);
        let room = u32::try_from(room.min(submission.room())).unwrap_or(u32::MAX);
        let count = ready.count.min(wanted).min(room);
        if count == 0 {
            debug_assert!(false, "{id} stands in the order at its limit");
            return false;
        }
        self.ready.remove(id, &mut submission.ready, class, key);
        if count < ready.count {
            let rest = ReadyRun { count: ready.count - count, ..ready };
            self.ready.insert(id, &mut submission.ready, class, (sequence, first + count), rest);
        }
        let cost_bytes = self.grant(now, worker_id, id, sequence, TaskRun::new(first, count), ready);
        self.charge(&pick, cost_bytes, count);
        true
    }

    /// What a worker with credit is given next. The last part of its credit is for what is more urgent than all that it
    /// holds, and for tenants of whom it holds nothing: neither is ever shut out by a worker whose hands are full.
    fn pick_for(&self, worker: &Worker) -> Option<Pick> {
        if worker.has_plenty() {
            return self.order.pick(&self.classes, worker.kind, 0, |_| true);
        }
        let urgent = self.order.pick(&self.classes, worker.kind, worker.lowest_urgent(), |_| true);
        let of_none = |tenant| !worker.tenants.contains_key(&tenant);
        urgent.or_else(|| self.order.pick(&self.classes, worker.kind, 0, of_none))
    }

    /// What was picked was given to a worker.
    fn charge(&mut self, pick: &Pick, cost_bytes: u64, tasks: u32) {
        let id = pick.submission;
        self.order.charge(pick, cost_bytes, tasks);
        let Some(submission) = self.submissions.get(&id) else { return };
        if submission.ready.first(pick.place.class).is_none() {
            self.order.remove(pick.place, id);
        }
        if submission.room() == 0 {
            self.sync(id);
        }
    }

    /// Leases a run to a worker. Returns what that costs; its tenant is charged by whoever calls this.
    pub(super) fn grant(
        &mut self,
        now: Now,
        worker: WorkerId,
        id: Uuid,
        sequence: u32,
        run: TaskRun,
        ready: ReadyRun,
    ) -> u64 {
        let Some(submission) = self.submissions.get(&id) else { return 0 };
        let batch = submission.window.get(sequence);
        let cost_bytes = batch.map_or(0, |batch| batch.cost_bytes(run.count));
        let payload_bytes = batch.map_or(0, |batch| batch.payload_bytes(run.count));
        let (priority, flow) = (submission.order.priority, submission.tenant.number());
        let attempt = ready.attempt;
        let ready = ReadyRun { count: run.count, ..ready };
        let lease = self.enter_lease(now, worker, (id, sequence), RunSet::of(run), cost_bytes, ready);
        let Some(lease_id) = lease else { return 0 };
        let share = self.unread_share();
        if let Some(taker) = self.workers.get_mut(&worker) {
            taker.note_unread(taker.unread_bytes.saturating_add(payload_bytes), share);
        }
        self.effects.push(Effect::Dispatch(Grant {
            worker,
            lease: lease_id,
            submission: id,
            sequence,
            run,
            attempt,
            cost_bytes,
            payload_bytes,
            priority,
            flow,
            alone: ready.strikes >= ALONE,
        }));
        cost_bytes
    }

    /// Notes a lease of as many tasks as `ready` says, of which some are unresolved. `None` if its worker or submission is
    /// gone.
    pub(super) fn enter_lease(
        &mut self,
        now: Now,
        worker: WorkerId,
        (id, sequence): (Uuid, u32),
        unresolved: RunSet,
        cost_bytes: u64,
        ready: ReadyRun,
    ) -> Option<LeaseId> {
        let submission = self.submissions.get_mut(&id)?;
        let taker = self.workers.get_mut(&worker)?;
        let lease_id = LeaseId(self.next_lease);
        self.next_lease += 1;
        let (level, tenant) = (submission.level(), submission.tenant);
        let begins_alone = taker.info.begins_alone;
        taker.hand(lease_id, (level, tenant), ready.count, cost_bytes);
        submission.leases.insert(lease_id);
        let tasks = u64::from(unresolved.tasks());
        submission.leased_tasks += tasks;
        self.leased_tasks += tasks;
        let lease = Lease {
            worker,
            submission: id,
            sequence,
            task_count: ready.count,
            cost_bytes,
            level,
            tenant,
            attempt: ready.attempt,
            strikes: ready.strikes,
            unresolved,
            granted_at: now,
            adopted: false,
            expires_at: now + self.config.lease_duration,
            progress: None,
            awaits_begin: ready.strikes >= ALONE && begins_alone,
        };
        self.leases.insert(lease_id, lease);
        Some(lease_id)
    }

    /// Puts a submission's ready runs into the order, or takes them out, as it may be leased now.
    pub(super) fn sync(&mut self, id: Uuid) {
        let Some(submission) = self.submissions.get(&id) else { return };
        let (tenant, level, may_be_leased) = (submission.tenant, submission.level(), submission.may_be_leased());
        for class in submission.ready.classes() {
            let place = Place { tenant, level, class };
            if may_be_leased {
                self.order.push(place, id);
            } else {
                self.order.remove(place, id);
            }
        }
    }

    /// Makes a run of tasks wait for a worker.
    pub(super) fn put_ready(&mut self, id: Uuid, sequence: u32, first: u32, run: ReadyRun) {
        let Some(submission) = self.submissions.get_mut(&id) else { return };
        let Some(batch) = submission.window.get(sequence) else { return };
        let prefix = batch.reference_prefix.as_deref();
        let class = self.classes.class_of(submission.algorithm_set, prefix);
        self.ready.insert(id, &mut submission.ready, class, (sequence, first), run);
        if submission.may_be_leased() {
            let place = Place { tenant: submission.tenant, level: submission.level(), class };
            self.order.push(place, id);
        }
    }

    /// Takes every ready run of a submission out of the order. Returns them.
    pub(super) fn withdraw(&mut self, id: Uuid) -> Vec<((u32, u32), ReadyRun)> {
        let Some(submission) = self.submissions.get_mut(&id) else { return Vec::new() };
        let (tenant, level) = (submission.tenant, submission.level());
        for class in submission.ready.classes() {
            self.order.remove(Place { tenant, level, class }, id);
        }
        self.ready.drain(id, &mut submission.ready)
    }

    /// Tasks of a submission are in no worker's hands any more.
    pub(super) fn release_leased(&mut self, id: Uuid, tasks: u32) {
        self.leased_tasks = self.leased_tasks.saturating_sub(u64::from(tasks));
        let Some(submission) = self.submissions.get_mut(&id) else { return };
        let was_full = submission.room() == 0;
        submission.leased_tasks = submission.leased_tasks.saturating_sub(u64::from(tasks));
        // Suspects may have waited for it.
        self.isolate |= was_full || self.order.tenants.get(submission.tenant).is_some_and(|tenant| tenant.room() == 0);
        self.order.release(submission.tenant, tasks);
        if was_full {
            self.sync(id);
        }
    }

    /// Workers of a kind that was not there before have come: who may take what is found out anew.
    pub(super) fn classify_again(&mut self) {
        let with_runs = self.submissions.iter().filter(|(_, submission)| !submission.ready.is_empty());
        let mut ids: Vec<Uuid> = with_runs.map(|(id, _)| *id).collect();
        // A map's order is not the same twice, and classes are numbered as they come.
        ids.sort_unstable();
        // All out before any goes in: a class of now may have the number of another of before.
        let runs: Vec<_> = ids.into_iter().map(|id| (id, self.withdraw(id))).collect();
        for (id, runs) in runs {
            for ((sequence, first), run) in runs {
                self.put_ready(id, sequence, first, run);
            }
        }
    }

    /// Leases older than `age`, and everything that a new owner should know of runs that are not leased: attempts made,
    /// workers lost with them.
    pub(crate) fn lease_rows(&self, now: Now, age: Now) -> Vec<LeaseRow> {
        let row = |submission, sequence, run: TaskRun, attempt, strikes, worker| LeaseRow {
            submission,
            sequence,
            first_task: run.first,
            task_count: run.count,
            attempt,
            worker,
            strikes,
        };
        let old = self.leases.values().filter(|lease| lease.granted_at + age <= now || lease.strikes > 0);
        let held = old.flat_map(|lease| {
            let name = self.workers.get(&lease.worker).map(|worker| worker.info.name.clone()).unwrap_or_default();
            let (id, sequence, attempt, strikes) = (lease.submission, lease.sequence, lease.attempt, lease.strikes);
            lease.unresolved.iter().map(move |run| row(id, sequence, run, attempt, strikes, Some(name.clone())))
        });
        let again = self.waiting.iter().filter(|waiting| waiting.attempt > 1 || waiting.strikes > 0);
        let again = again.map(|waiting| {
            row(waiting.submission, waiting.sequence, waiting.run, waiting.attempt, waiting.strikes, None)
        });
        let ready_again = self.ready.tried().map(|(id, sequence, run, ready)| {
            let about_to = self.may_be_held(&ready).then(String::new);
            row(id, sequence, run, ready.attempt, ready.strikes, about_to)
        });
        held.chain(again)
            .chain(ready_again)
            .chain(self.suspect_rows())
            .chain(self.announced_rows())
            .chain(self.held_off_rows())
            .collect()
    }

    /// The submissions some of whose batches a new owner has found and not loaded yet, with the sequence number from
    /// which on: what `leases` says of those stands.
    pub(crate) fn not_loaded(&self) -> impl Iterator<Item = (Uuid, u32)> + '_ {
        let waits = |(id, submission): (&Uuid, &super::submission::Submission)| {
            let loaded_to = submission.window.loaded_to();
            (loaded_to < submission.found_below).then_some((*id, loaded_to))
        };
        self.submissions.iter().filter_map(waits)
    }
}

impl Worker {
    /// Notes a lease in its hands.
    fn hand(&mut self, lease: LeaseId, (level, tenant): (usize, TenantId), tasks: u32, cost_bytes: u64) {
        self.credit_tasks -= i64::from(tasks);
        self.credit_bytes = self.credit_bytes.saturating_sub(i64::try_from(cost_bytes).unwrap_or(i64::MAX));
        self.held_tasks += i64::from(tasks);
        self.held_bytes = self.held_bytes.saturating_add(i64::try_from(cost_bytes).unwrap_or(i64::MAX));
        self.levels[level] += 1;
        *self.tenants.entry(tenant).or_default() += 1;
        self.leases.insert(lease);
    }

    /// A lease is in its hands no more. Its credit comes back by itself, when the worker says so.
    pub(super) fn let_go(&mut self, id: LeaseId, lease: &Lease) {
        if self.leases.remove(&id) {
            self.held_tasks -= i64::from(lease.task_count);
            self.held_bytes = self.held_bytes.saturating_sub(i64::try_from(lease.cost_bytes).unwrap_or(i64::MAX));
            self.levels[lease.level] -= 1;
            if let Some(leases) = self.tenants.get_mut(&lease.tenant) {
                *leases -= 1;
                if *leases == 0 {
                    self.tenants.remove(&lease.tenant);
                }
            }
        }
    }

    /// True if more than the last part of its credit is left.
    pub(super) fn has_plenty(&self) -> bool {
        let reserve = |all: i64| all / RESERVE;
        self.credit_tasks > reserve(self.most_tasks.most()) && self.credit_bytes > reserve(self.most_bytes.most())
    }

    /// The lowest level that is more urgent than all that it holds.
    fn lowest_urgent(&self) -> usize {
        (0..LEVELS).rev().find(|level| self.levels[*level] > 0).map_or(0, |level| level + 1)
    }
}

/// One part in this many of a worker's credit is kept (see [`Core::pick_for`]).
const RESERVE: i64 = 16;
