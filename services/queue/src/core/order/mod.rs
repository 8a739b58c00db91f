//! Who gets work next: levels of priority, in each level tenants by what they were given so far, for each tenant its
//! oldest submission.
//!
//! - **Levels.** The highest level with work goes first. Each lower level with work is guaranteed one part in
//!   [`SHARES`] of the cost that is handed out, so none starves.
//! - **Tenants** of a level share it equally by cost: start-time fair queueing (Goyal, Vin, Cheng: "Start-time Fair
//!   Queuing", SIGCOMM 1996). Each tenant has a virtual time, which rises by the cost of what it is given; the lowest is
//!   next. Who comes anew starts at the time of whoever was served last: it is next at once, and has saved up nothing.
//! - **Submissions** of a tenant go oldest first, by id.
//!
//! Work is kept apart by [`classes`]: by which kinds of workers may take it. So finding the next run for a worker takes
//! a look at the first of a few queues, however many submissions, tenants or unreachable runs there are.

pub(super) mod classes;
mod level;
pub(super) mod ready;
mod tenants;

#[cfg(test)]
mod tests;

use std::{array, collections::BTreeMap};

use uuid::Uuid;

pub(super) use tenants::{Tenant, TenantId, Tenants};

use super::Now;
use classes::{ClassId, Classes, KindId};
use level::Level;

/// Levels of priority, 0 to 9.
pub(super) const LEVELS: usize = 10;

/// A lower level with work is guaranteed one part in this many of the cost handed out. With all ten levels busy the
/// highest still has 23 of 32 parts.
pub(super) const SHARES: i64 = 32;

/// Where a submission's runs of one class stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) tenant: TenantId,
    pub(super) level: usize,
    pub(super) class: ClassId,
}

/// What a worker is given next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pick {
    pub(super) place: Place,
    pub(super) submission: Uuid,
    /// A bit per level that has something for this worker.
    busy: u16,
}

/// Every submission that has ready runs and may be given to workers.
#[derive(Debug)]
pub(super) struct Order {
    levels: [Level; LEVELS],
    /// Cost that each level is behind its guaranteed share; negative: ahead of it.
    owed: [i64; LEVELS],
    pub(super) tenants: Tenants,
    everyone_paused: bool,
    /// When everyone was last resumed.
    resumed_at: Now,
}

impl Order {
    pub(super) fn new() -> Self {
        Self {
            levels: array::from_fn(|_| Level::default()),
            owed: [0; LEVELS],
            tenants: Tenants::default(),
            everyone_paused: false,
            resumed_at: Now::ZERO,
        }
    }

    /// True if there is nothing that any worker could be given.
    pub(super) fn is_empty(&self) -> bool {
        self.everyone_paused || self.levels.iter().all(Level::is_empty)
    }

    pub(super) fn everyone_paused(&self) -> bool {
        self.everyone_paused
    }

    /// Nobody is given anything, or everybody may be again.
    pub(super) fn pause_everyone(&mut self, now: Now, paused: bool) {
        if self.everyone_paused && !paused {
            self.resumed_at = now;
        }
        self.everyone_paused = paused;
    }

    /// Since when neither everyone nor the tenant is paused, if they are not: what is older has been ready for no longer.
    pub(super) fn given_work_since(&self, tenant: TenantId) -> Now {
        self.tenants.get(tenant).map_or(self.resumed_at, |tenant| tenant.resumed_at.max(self.resumed_at))
    }

    /// A submission has runs of a class that may be given to workers. Saying so again changes nothing.
    pub(super) fn push(&mut self, place: Place, submission: Uuid) {
        let Place { tenant, level, class } = place;
        let Some(owner) = self.tenants.get_mut(tenant) else { return };
        let visible = owner.visible();
        let queues = owner.levels.entry(level).or_default();
        if queues.by_class.is_empty() {
            queues.virtual_time = queues.virtual_time.max(self.levels[level].now());
        }
        let queue = queues.by_class.entry(class).or_default();
        if queue.is_empty() && visible {
            self.levels[level].insert(class, queues.virtual_time, tenant);
        }
        queue.insert(submission);
    }

    /// A submission has no more runs of a class that may be given to workers. Saying so again changes nothing.
    pub(super) fn remove(&mut self, place: Place, submission: Uuid) {
        let Place { tenant, level, class } = place;
        let Some(owner) = self.tenants.get_mut(tenant) else { return };
        let Some(queues) = owner.levels.get_mut(&level) else { return };
        let Some(queue) = queues.by_class.get_mut(&class) else { return };
        queue.remove(&submission);
        if queue.is_empty() {
            queues.by_class.remove(&class);
            self.levels[level].remove(class, queues.virtual_time, tenant);
        }
    }

    /// What a worker of this kind is given next, from the levels from `lowest` up, of a tenant that is wanted.
    pub(super) fn pick(
        &self,
        classes: &Classes,
        kind: KindId,
        lowest: usize,
        wanted: impl Fn(TenantId) -> bool,
    ) -> Option<Pick> {
        if self.everyone_paused {
            return None;
        }
        let firsts: [Option<TenantId>; LEVELS] =
            array::from_fn(
                |level| if level < lowest { None } else { self.levels[level].first(classes, kind, &wanted) },
            );
        let highest = firsts.iter().rposition(Option::is_some)?;
        let behind = (0..highest).rev().filter(|level| firsts[*level].is_some() && self.owed[*level] > 0);
        let level = behind.max_by_key(|level| self.owed[*level]).unwrap_or(highest);
        let tenant = firsts[level]?;
        let by_class = &self.tenants.get(tenant)?.levels.get(&level)?.by_class;
        let oldest = by_class.iter().filter(|(class, _)| classes.takes(**class, kind));
        let oldest = oldest.filter_map(|(class, queue)| Some((*queue.first()?, *class))).min()?;
        let busy = (0..LEVELS).filter(|level| firsts[*level].is_some()).fold(0, |bits, level| bits | 1 << level);
        Some(Pick { place: Place { tenant, level, class: oldest.1 }, submission: oldest.0, busy })
    }

    /// What was picked was given to the worker: `tasks` tasks at this cost.
    pub(super) fn charge(&mut self, pick: &Pick, cost: u64, tasks: u32) {
        let Place { tenant, level, .. } = pick.place;
        self.share(level, pick.busy, cost);
        let Some(owner) = self.tenants.get_mut(tenant) else { return };
        let visible = owner.visible();
        if let Some(queues) = owner.levels.get_mut(&level) {
            let before = queues.virtual_time;
            queues.virtual_time += cost;
            self.levels[level].served(before, queues.virtual_time);
            if visible {
                for class in queues.by_class.keys() {
                    self.levels[level].remove(*class, before, tenant);
                    self.levels[level].insert(*class, queues.virtual_time, tenant);
                }
            }
        }
        owner.leased += u64::from(tasks);
        if visible && !owner.wants_to_be_visible() {
            self.hide(tenant);
        }
    }

    /// Tasks of a tenant were given to a worker outside of the order: they count for its limit, and cost it nothing.
    pub(super) fn give_apart(&mut self, tenant: TenantId, tasks: u32) {
        let Some(owner) = self.tenants.get_mut(tenant) else { return };
        owner.leased += u64::from(tasks);
        self.refresh(tenant);
    }

    /// Tasks of a tenant are in no worker's hands any more.
    pub(super) fn release(&mut self, tenant: TenantId, tasks: u32) {
        let Some(owner) = self.tenants.get_mut(tenant) else { return };
        owner.leased = owner.leased.saturating_sub(u64::from(tasks));
        self.refresh(tenant);
    }

    /// A tenant is given nothing, or may be again; and how many of its tasks workers may hold at once.
    pub(super) fn control(&mut self, now: Now, tenant: TenantId, paused: bool, max_leased: Option<u64>) {
        let Some(owner) = self.tenants.get_mut(tenant) else { return };
        if owner.paused && !paused {
            owner.resumed_at = now;
        }
        owner.paused = paused;
        owner.max_leased = max_leased;
        self.refresh(tenant);
    }

    /// Keeps account of the guaranteed shares: `level` was served among the `busy` ones.
    fn share(&mut self, level: usize, busy: u16, cost: u64) {
        let cost = i64::try_from(cost).unwrap_or(i64::MAX / SHARES / 2);
        let highest = busy.checked_ilog2().unwrap_or(0) as usize;
        for (lower, owed) in self.owed.iter_mut().enumerate().take(highest) {
            if busy & 1 << lower != 0 {
                *owed = owed.saturating_add(cost);
            } else {
                // Nothing is saved up while there is nothing to do.
                *owed = (*owed).min(0);
            }
        }
        if level < highest {
            self.owed[level] = self.owed[level].saturating_sub(cost.saturating_mul(SHARES));
        }
        // Above it there is no work: what it gets is its own.
        self.owed[highest..].fill(0);
    }

    fn refresh(&mut self, tenant: TenantId) {
        let Some(owner) = self.tenants.get(tenant) else { return };
        match (owner.visible(), owner.wants_to_be_visible()) {
            (true, false) => self.hide(tenant),
            (false, true) => self.show(tenant),
            _ => {}
        }
    }

    fn hide(&mut self, tenant: TenantId) {
        let Some(owner) = self.tenants.get_mut(tenant) else { return };
        owner.set_visible(false);
        for (level, queues) in &owner.levels {
            for class in queues.by_class.keys() {
                self.levels[*level].remove(*class, queues.virtual_time, tenant);
            }
        }
    }

    fn show(&mut self, tenant: TenantId) {
        let Some(owner) = self.tenants.get_mut(tenant) else { return };
        owner.set_visible(true);
        for (level, queues) in &mut owner.levels {
            // It has saved up nothing while it was hidden.
            queues.virtual_time = queues.virtual_time.max(self.levels[*level].now());
            for class in queues.by_class.keys() {
                self.levels[*level].insert(*class, queues.virtual_time, tenant);
            }
        }
    }

    /// Forgets tenants that have nothing here and are owed or owe nothing.
    pub(super) fn sweep(&mut self) {
        let times: BTreeMap<usize, u64> = self.levels.iter().map(Level::now).enumerate().collect();
        self.tenants.sweep(&times);
    }
}
