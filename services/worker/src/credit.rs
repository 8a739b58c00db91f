//! How much work the queues may hand out: what the worker is configured to hold, shared by its streams.
//!
//! Half of it is divided evenly among the streams, so that each queue can always hand out something; the other half is
//! lent to whoever uses its part up. What was granted and not used cannot be taken back: so a stream is never granted much
//! more than it has shown to need, and one whose queue has little work ties up little. When there are more streams than
//! before, those that have more than their share grant nothing back until they are at it; when there are fewer, the others
//! grant more. A worker with one queue grants it everything.
//!
//! What is held never exceeds the limit by more than one lease. A stream that joins late gets its half share at once,
//! though the others may have been granted everything: should all of that come, leases are given back.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{config::CreditLimit, outbox::UrgentFrames};

/// What a stream may have unused: its half share, and a part in this many of what it holds.
const LENT_AHEAD: i128 = 4;

/// The credit of all streams of a worker.
#[derive(Debug)]
pub(crate) struct CreditPool {
    limit: Amount,
    state: Mutex<State>,
}

/// One stream's part, until dropped. It grants nothing before it is opened.
#[derive(Debug)]
pub(crate) struct Share {
    pool: Arc<CreditPool>,
    number: u64,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    members: BTreeMap<u64, Member>,
    /// How many streams there will be soon.
    expected: usize,
    /// What leases use up that no queue knows of.
    unclaimed: Amount,
    /// Nothing is granted any more.
    ended: bool,
}

#[derive(Debug)]
struct Member {
    urgent: UrgentFrames,
    /// It grants credit.
    open: bool,
    /// What its leases use up.
    held: Amount,
    /// What of the granted credit leases have not used up. Negative: the last one overdrew it.
    left: Amount,
}

/// Tasks and bytes. Wide enough for any sum of what the protocol can say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amount {
    tasks: i128,
    bytes: i128,
}

impl CreditPool {
    pub(crate) fn new(limit: CreditLimit) -> Self {
        Self { limit: limit.into(), state: Mutex::default() }
    }

    /// So many streams are kept, welcomed or not: none of them is to be granted what will soon be another's.
    pub(crate) fn expect(&self, streams: usize) {
        let mut state = self.lock();
        state.expected = streams;
        self.distribute(&mut state);
    }

    /// The worker is stopping: nothing is granted any more, on no stream.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
    }

    /// A stream joins.
    pub(crate) fn join(self: &Arc<Self>, urgent: UrgentFrames) -> Share {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        let member = Member { urgent, open: false, held: Amount::default(), left: Amount::default() };
        state.members.insert(number, member);
        Share { pool: Arc::clone(self), number }
    }

    /// A lease is kept that no queue knows of.
    pub(crate) fn keep(&self, cost: CreditLimit) {
        let mut state = self.lock();
        state.unclaimed = state.unclaimed.plus(cost.into());
    }

    /// A lease is not kept any more.
    pub(crate) fn forget(&self, cost: CreditLimit) {
        let mut state = self.lock();
        state.unclaimed = state.unclaimed.minus(cost.into());
        self.distribute(&mut state);
    }

    /// Grants what may be granted: first to streams that have less than their share, then beyond it.
    fn distribute(&self, state: &mut State) {
        if state.ended {
            return;
        }
        let open = state.members.values().filter(|member| member.open).count();
        let streams = open.max(state.expected).max(1) as i128;
        let share = self.limit.map(|limit| (limit / streams).max(1));
        let half_share = self.limit.map(|limit| (limit / (2 * streams)).max(1));
        let assured = if streams == 1 { share } else { half_share };
        let unused = self.limit.minus(state.held());
        let mut room = state.members.values().fold(unused, |room, member| room.minus(member.left.positive()));
        for lends in [false, true] {
            for member in state.members.values_mut().filter(|member| member.open) {
                let wanted =
                    if streams == 1 { self.limit } else { assured.plus(member.held.map(|held| held / LENT_AHEAD)) };
                let taken = member.held.plus(member.left.positive());
                let most = if lends {
                    room
                } else {
                    room.least(share.minus(taken)).most(unused.least(half_share.minus(taken)))
                };
                // What was overdrawn comes first.
                let most =
                    most.with(member.left.negative(), |most, overdrawn| if most > 0 { most + overdrawn } else { 0 });
                let granted = wanted.minus(member.left).least(most).positive();
                let left = member.left.plus(granted);
                room = room.minus(left.positive().minus(member.left.positive()));
                member.left = left;
                member.grant(granted);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Grants credit from now on.
    pub(crate) fn open(&self) {
        self.change(|member| member.open = true, true);
    }

    /// Grants none any more, and nothing comes of what is left.
    pub(crate) fn close(&self) {
        self.change(
            |member| {
                member.open = false;
                member.left = Amount::default();
            },
            true,
        );
    }

    /// Uses credit up for a lease. False if there was none left before, or what is held in all was at the limit.
    pub(crate) fn take(&self, cost: CreditLimit) -> bool {
        let mut state = self.pool.lock();
        let unused = self.pool.limit.minus(state.held());
        let Some(member) = state.members.get_mut(&self.number) else { return false };
        let room = member.left.some() && unused.some();
        member.use_up(cost.into());
        self.pool.distribute(&mut state);
        room
    }

    /// Uses credit up for a lease that was adopted: there need not be any, for what it uses up it used up before.
    pub(crate) fn adopt(&self, cost: CreditLimit) {
        self.change(|member| member.use_up(cost.into()), false);
    }

    /// Leases are held no more. What they used up is granted again, on this stream or on another.
    pub(crate) fn free(&self, cost: CreditLimit) {
        self.change(|member| member.held = member.held.minus(cost.into()), true);
    }

    fn change(&self, change: impl FnOnce(&mut Member), distribute: bool) {
        let mut state = self.pool.lock();
        if let Some(member) = state.members.get_mut(&self.number) {
            change(member);
        }
        if distribute {
            self.pool.distribute(&mut state);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        state.members.remove(&self.number);
        self.pool.distribute(&mut state);
    }
}

impl State {
    /// What all leases use up.
    fn held(&self) -> Amount {
        self.members.values().fold(self.unclaimed, |held, member| held.plus(member.held))
    }
}

impl Member {
    fn use_up(&mut self, cost: Amount) {
        self.held = self.held.plus(cost);
        self.left = self.left.minus(cost);
    }

    fn grant(&self, granted: Amount) {
        let tasks = u32::try_from(granted.tasks).unwrap_or(u32::MAX);
        let bytes = u64::try_from(granted.bytes).unwrap_or(u64::MAX);
        if tasks > 0 || bytes > 0 {
            self.urgent.grant(CreditLimit { tasks, bytes });
        }
    }
}

impl Amount {
    fn map(self, change: impl Fn(i128) -> i128) -> Self {
        Self { tasks: change(self.tasks), bytes: change(self.bytes) }
    }

    fn with(self, other: Self, both: impl Fn(i128, i128) -> i128) -> Self {
        Self { tasks: both(self.tasks, other.tasks), bytes: both(self.bytes, other.bytes) }
    }

    fn plus(self, other: Self) -> Self {
        self.with(other, |one, other| one + other)
    }

    fn minus(self, other: Self) -> Self {
        self.with(other, |one, other| one - other)
    }

    fn least(self, other: Self) -> Self {
        self.with(other, i128::min)
    }

    fn most(self, other: Self) -> Self {
        self.with(other, i128::max)
    }

    /// What is above zero.
    fn positive(self) -> Self {
        self.map(|amount| amount.max(0))
    }

    /// How far it is below zero.
    fn negative(self) -> Self {
        self.map(|amount| (-amount).max(0))
    }

    /// True if there are tasks and bytes.
    fn some(self) -> bool {
        self.tasks > 0 && self.bytes > 0
    }
}

impl From<CreditLimit> for Amount {
    fn from(limit: CreditLimit) -> Self {
        Self { tasks: limit.tasks.into(), bytes: limit.bytes.into() }
    }
}

#[cfg(test)]
mod tests;
