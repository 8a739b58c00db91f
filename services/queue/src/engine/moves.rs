//! Shards that come and go while the engine runs.
//!
//! What comes is taken up as it was read from the tables, once the connected workers have said what they hold of it: they may
//! be at work on it, for the owner before. What goes is given up in two steps: first nothing new is begun, and
//! workers are told, who go on with what they hold and claim it from the next owner; then, once everything of it that is
//! under way is committed and its callers have heard of it, its submissions are let go. So nothing of a shard is in any lane
//! when it changes hands, and nobody loses an answer by a planned move.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hashmesh::queue::v1::{Claimed, OwnedShards, lease_tasks_response::Frame};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::run::{Engine, snapshot};
use crate::{
    behind::{Last, Snapshot},
    core::{Claim, Now, WorkerId},
    error::QueueError,
    shard::{Shard, ShardSet},
    store::model::Recovered,
};

/// The shards that an engine works on: written by it, read by whoever asks it something.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedShards(Arc<AtomicU64>);

impl SharedShards {
    pub(crate) fn now(&self) -> ShardSet {
        ShardSet::of_bits(self.0.load(Ordering::Acquire))
    }

    fn set(&self, shards: ShardSet) {
        self.0.store(shards.bits(), Ordering::Release);
    }
}

/// How long connected workers may take to say what they hold of shards that come.
const CLAIMS_TIMEOUT: Duration = Duration::from_millis(250);

/// Shards that are about to be taken up.
#[derive(Debug)]
pub(super) struct Coming {
    shards: ShardSet,
    submissions: Vec<Recovered>,
    /// Connected workers that have not said what they hold.
    awaited: BTreeSet<WorkerId>,
    until: Now,
    /// What the others have said.
    claims: Vec<(WorkerId, Vec<Claim>)>,
    reply: oneshot::Sender<()>,
}

/// Shards that are being given up.
#[derive(Debug)]
pub(super) struct Leaving {
    shards: ShardSet,
    /// What was in hand when they were.
    snapshot: Snapshot,
    reply: oneshot::Sender<()>,
}

impl Engine {
    /// True if the submission is of a shard that the engine works on.
    pub(super) fn works_on(&self, id: Uuid) -> bool {
        self.shards.now().contains(Shard::of(id))
    }

    /// Works on these shards soon. Their unfinished submissions are these.
    pub(super) fn take_up(&mut self, shards: ShardSet, submissions: Vec<Recovered>, reply: oneshot::Sender<()>) {
        let until = self.now() + CLAIMS_TIMEOUT;
        let awaited = self.workers.keys().copied().collect();
        self.tell_shards(self.shards.now().or(shards));
        // One at a time is asked for; if the one who asked is gone, so is what was read.
        self.coming = Some(Coming { shards, submissions, awaited, until, claims: Vec::new(), reply });
    }

    /// Works on shards that come, if nothing more is to be heard of them.
    pub(super) fn go_on_coming(&mut self) {
        let now = self.now();
        let due = self.coming.as_mut().is_some_and(|coming| {
            coming.awaited.retain(|worker| self.workers.contains_key(worker));
            coming.awaited.is_empty() || now >= coming.until
        });
        if !due {
            return;
        }
        let Some(Coming { shards, submissions, claims, reply, .. }) = self.coming.take() else { return };
        self.core.take_over(now, shards);
        self.shards.set(self.shards.now().or(shards));
        self.core.stand_still(now, true);
        for submission in &submissions {
            self.recover(submission);
        }
        for (worker, claims) in claims {
            self.answer_claims(worker, &claims);
        }
        self.core.stand_still(now, false);
        // Workers that have connected meanwhile do not know it yet.
        self.tell_shards(self.shards.now());
        self.expansions.look_again();
        let _ = reply.send(());
    }

    /// Begins nothing more of these shards. The answer comes once nothing of them is under way, and what was in hand is
    /// written, so that the next owner keeps it for whoever has it.
    pub(super) fn give_up(&mut self, shards: ShardSet, reply: oneshot::Sender<()>) {
        let now = self.now();
        // One at a time is asked for; if the one who asked is gone, so is the reason to wait.
        let before = self.leaving.take().map_or(ShardSet::NONE, |leaving| leaving.shards);
        let shards = shards.or(before);
        self.shards.set(self.shards.now().without(shards));
        self.tell_shards(self.shards.now());
        let snapshot = snapshot(&mut self.core, &self.live, None, shards, now, Duration::ZERO);
        for connected in self.workers.values_mut() {
            connected.moved.clear();
        }
        for id in self.live_in(shards) {
            for (lease, worker) in self.core.leases_of(id) {
                if let Some(connected) = self.workers.get_mut(&worker) {
                    connected.moved.insert(lease);
                }
            }
            self.core.forget(id);
            self.expansions.end(id);
            self.payloads.forget(id);
        }
        self.leaving = Some(Leaving { shards, snapshot, reply });
    }

    /// Lets go of shards that are given up, if nothing of them is under way any more.
    pub(super) fn go_on_leaving(&mut self) {
        let Some(leaving) = &self.leaving else { return };
        if self.lanes.busy(leaving.shards) {
            return;
        }
        let Some(Leaving { shards, snapshot, reply }) = self.leaving.take() else { return };
        self.last_words.push(Last { snapshot, reply });
        for id in self.live_in(shards) {
            if let Some(live) = self.live.get(&id) {
                live.handle.fail(QueueError::NotOwner { owner: None });
            }
            self.let_go(id);
        }
    }

    /// What a worker says it holds of shards that have come, or are about to.
    pub(super) fn claims(&mut self, worker: WorkerId, claims: Vec<Claim>) {
        match &mut self.coming {
            Some(coming) => {
                coming.awaited.remove(&worker);
                coming.claims.push((worker, claims));
            }
            None => self.answer_claims(worker, &claims),
        }
    }

    fn answer_claims(&mut self, worker: WorkerId, claims: &[Claim]) {
        let adopted_leases = self.adopt(worker, claims);
        let owned_shards = self.shards.now().bits();
        self.send(worker, Frame::Claimed(Claimed { adopted_leases, owned_shards }));
    }

    fn tell_shards(&mut self, shards: ShardSet) {
        let shards = shards.bits();
        let workers: Vec<WorkerId> = self.workers.keys().copied().collect();
        for worker in workers {
            self.send(worker, Frame::OwnedShards(OwnedShards { shards }));
        }
    }

    /// In order: what happens to one after the other is the same each time it is simulated.
    fn live_in(&self, shards: ShardSet) -> Vec<Uuid> {
        let mut ids: Vec<Uuid> = self.live.keys().filter(|id| shards.contains(Shard::of(**id))).copied().collect();
        ids.sort_unstable();
        ids
    }
}
