//! What is taken over from other queues: shards move between queues while streams last, and what a worker holds of them
//! moves after.
//!
//! A queue says which shards it owns (`Welcome`, `OwnedShards`). What is held by no queue and is of these shards is claimed
//! from it, at one queue at a time: shards have one owner, and should two think so for a moment, whoever adopts a lease
//! first has it, and the other gets its own back.

use std::sync::Arc;

use hashmesh::queue::v1::{Claimed, Claims};

use super::{Session, SessionEnd, SessionError};
use crate::{leases::HeldLease, shards::ShardSet};

/// What the queue of a stream owns, and what it was asked for.
#[derive(Debug)]
pub(super) struct Claiming {
    /// None: all, and it is of a version that knows no claims.
    owned: Option<ShardSet>,
    /// Claimed and not answered yet. They stay unclaimed until then: the stream may end first.
    under_way: Option<Vec<Arc<HeldLease>>>,
    /// Shards have come: what others say is held of them waits for our claims, even for none.
    answer_due: bool,
}

impl Claiming {
    pub(super) fn new(owned: Option<ShardSet>) -> Self {
        Self { owned, under_way: None, answer_due: false }
    }
}

impl Session {
    /// The queue's shards have changed.
    pub(super) fn on_owned_shards(&mut self, now: ShardSet) {
        let before = self.claiming.owned.replace(now).unwrap_or(ShardSet::ALL);
        let (gone, came) = (before.without(now), now.without(before));
        if !gone.is_empty() {
            self.work.lose(gone);
        }
        self.claiming.answer_due |= !came.is_empty();
        self.claim();
    }

    /// The queue has answered our claims.
    pub(super) fn on_claimed(&mut self, claimed: Claimed) -> Result<(), SessionError> {
        let Some(told) = self.claiming.under_way.take() else {
            return Err(SessionError::Protocol("it answered claims that were not made".to_owned()));
        };
        let owned = ShardSet::from_bits(claimed.owned_shards);
        let before = self.claiming.owned.unwrap_or(ShardSet::ALL);
        let gone = before.without(owned);
        if !gone.is_empty() {
            // What came is said by `OwnedShards`, and is answered then.
            self.claiming.owned = Some(before.without(gone));
            self.work.lose(gone);
        }
        self.work.take_up(&told, claimed.adopted_leases, Some(owned))?;
        self.claim();
        Ok(())
    }

    /// Whether claims could be made now.
    pub(super) fn may_claim(&self) -> bool {
        let queue_drains = self.drain.is_some_and(|drain| drain.end == SessionEnd::QueueDrained);
        self.claiming.owned.is_some() && self.claiming.under_way.is_none() && !queue_drains
    }

    /// Claims what is the queue's by now and no queue knows of. What comes up while claims are under way is claimed after.
    pub(super) fn claim(&mut self) {
        let Some(owned) = self.claiming.owned.filter(|_| self.may_claim()) else { return };
        let leases = self.work.unclaimed().of(owned);
        if leases.is_empty() && !self.claiming.answer_due {
            return;
        }
        self.claiming.answer_due = false;
        self.work.urgent().claim(Claims { held_leases: leases.iter().map(|lease| lease.claim()).collect() });
        self.claiming.under_way = Some(leases);
    }

    /// True if nothing is held, and nothing may come of claims.
    pub(super) fn idle(&self) -> bool {
        self.work.idle() && self.claiming.under_way.is_none()
    }
}
