//! What happens at a time of day: work that may begin, submissions whose time is over.
//!
//! The owner tells the core what its clock says. A clock that is set takes effect the next time it is told: what became
//! due by a jump ahead is due, and what has begun stays begun if the clock goes back.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{Core, Effect, Now};
use crate::{store::model::WorkOrder, wall::WallTime};

/// What is to happen to a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Its tasks may be leased.
    NotBefore,
    /// It is cancelled.
    Deadline,
}

/// The times of all unfinished submissions, soonest first; at most two of each.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// What the clock said last.
    wall: WallTime,
    due: BTreeSet<(WallTime, Uuid, Timer)>,
}

impl Timers {
    /// Notes a submission's times. True if its tasks may not be leased now.
    pub(super) fn enter(&mut self, id: Uuid, order: &WorkOrder) -> bool {
        self.due.extend(order.not_before.filter(|at| *at > self.wall).map(|at| (at, id, Timer::NotBefore)));
        self.due.extend(order.deadline.map(|at| (at, id, Timer::Deadline)));
        order.not_before.is_some_and(|at| at > self.wall) || order.deadline.is_some_and(|at| at <= self.wall)
    }

    /// Forgets a submission's times.
    pub(super) fn leave(&mut self, id: Uuid, order: &WorkOrder) {
        for (at, timer) in [(order.not_before, Timer::NotBefore), (order.deadline, Timer::Deadline)] {
            if let Some(at) = at {
                self.due.remove(&(at, id, timer));
            }
        }
    }

    fn next_due(&mut self) -> Option<(Uuid, Timer)> {
        let (at, id, timer) = *self.due.first()?;
        if at > self.wall {
            return None;
        }
        self.due.pop_first();
        Some((id, timer))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.due.len()
    }
}

impl Core {
    /// What the owner's clock says now. Takes effect with the next tick.
    pub(crate) fn clock(&mut self, wall: WallTime) {
        self.timers.wall = wall;
    }

    /// Does what is due by the clock.
    pub(super) fn fire_timers(&mut self, now: Now) {
        while let Some((id, timer)) = self.timers.next_due() {
            match timer {
                Timer::NotBefore => self.release_held(now, id),
                // One that is being completed or cancelled has come to its end in time.
                Timer::Deadline => {
                    if self.cancel(id) == Ok(true) {
                        self.effects.push(Effect::DeadlinePassed { submission: id });
                    }
                }
            }
        }
    }

    fn release_held(&mut self, now: Now, id: Uuid) {
        let Some(submission) = self.submissions.get_mut(&id) else { return };
        submission.held = false;
        // Its tasks have waited for a worker since now, and not since they were sent.
        let runs = self.ready.drain(id, &mut submission.ready);
        for ((sequence, first), run) in runs {
            let run = super::submission::ReadyRun { since: now, ..run };
            self.put_ready(id, sequence, first, run);
        }
        self.sync(id);
    }
}
