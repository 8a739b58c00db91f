//! From a lease to its outcomes.
//!
//! A lease's tasks are cut into groups of neighbours that run on the pools side by side; none waits for another, so a
//! slow one delays only itself. What they have done is put on a shelf; the lease's own async task sends it: all at once
//! if the lease is quick, which is the rule, else in parts. A lease that is over sooner than a thread wakes up is worked
//! on right where it came in.

mod collect;
mod door;
mod group;
mod piece;
mod plan;
mod remote;
mod small;

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, StreamExt as _, stream};
use hashmesh::queue::v1::{Lease, NackReason};
use hashmesh_hash::{HashError, HashPool, Helpers};
use hashmesh_runtime::telemetry::{self, Repeated};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

pub(crate) use self::{
    door::{Door, Standing},
    plan::Plan,
};
use self::{
    group::{GroupWork, Stopped},
    piece::{Piece, Shelf},
    plan::Group,
    remote::RemoteGroup,
};
use crate::{
    account::End,
    cache::{CacheClient, Memo, MemoRoom},
    hung::Busy,
    leases::HeldLease,
    poison,
    sources::Sources,
    trust::Trust,
    turns::{NoTurn, Turns},
};

/// Longer leases send what is done this often.
const PART_INTERVAL: Duration = Duration::from_millis(500);

/// What a task costs the threads besides its bytes, in bytes.
const TASK_COST: usize = 64;

/// What every lease of a worker runs on.
#[derive(Debug)]
pub(crate) struct Executor {
    /// For leases that are all inline: CPU only, over in milliseconds.
    pub(crate) inline: HashPool,
    /// For leases that read objects: threads of their own, because a slow disk must not hold up what needs none.
    pub(crate) objects: HashPool,
    /// Whose turn it is on either.
    pub(crate) inline_door: Door,
    pub(crate) objects_door: Door,
    /// Whose turn it is to be read over the network, and how many have it at once.
    pub(crate) remote_door: Door,
    pub(crate) remote_reads: usize,
    /// What may be read.
    pub(crate) sources: Arc<Sources>,
    /// Who knows digests of objects.
    pub(crate) cache: Option<CacheClient>,
    /// How much may be known at a time.
    pub(crate) memo_room: MemoRoom,
    /// What the threads do.
    pub(crate) busy: Arc<Busy>,
    /// What helps one of them with a large file. `None`: they are not worth their memory.
    pub(crate) helpers: Option<Arc<Helpers>>,
    /// Who must be alone, and when.
    pub(crate) turns: Turns,
    /// Whether what they compute is right.
    pub(crate) trust: Arc<Trust>,
}

/// How the work on a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Executed {
    /// Every outcome was handed over; `settled` will follow.
    Finished,
    /// A nack was sent; nothing will follow.
    GivenBack,
    /// The lease was cancelled, or nobody is there to take it back.
    Abandoned,
}

impl Executor {
    /// Works on a lease and sends its outcomes, or gives it back if it makes no sense.
    pub(crate) async fn execute(self: Arc<Self>, lease: Lease, held: Arc<HeldLease>) -> Executed {
        let turn = match self.turns.take(&held).await {
            Ok(turn) => turn,
            Err(NoTurn::Cancelled) => return Executed::Abandoned,
            Err(NoTurn::GiveBack(reason)) => return give_back(&held, reason).await,
        };
        let plan = match Plan::new(&lease, self.inline.threads()) {
            Ok(plan) => Arc::new(plan),
            Err(unsupported) => {
                tracing::error!(lease_id = lease.lease_id, error = %unsupported, "giving back a lease that makes no sense");
                held.account.failed("the lease makes no sense to this worker");
                return give_back(&held, NackReason::Unsupported).await;
            }
        };
        let standing = Standing { priority: lease.priority, flow: lease.flow };
        let memo = tokio::select! {
            () = held.wait_cancelled() => return Executed::Abandoned,
            memo = Memo::look_up(&self, standing, &lease, &plan) => Arc::new(memo),
        };
        let mut sender = PartSender { held: Arc::clone(&held), shelf: Arc::default(), sent_tasks: 0 };
        let ran = self.run_groups((&plan, &memo), standing, &held, &mut sender).await;
        // The payload, before the outcomes wait for their turn.
        drop((plan, memo));
        match ran {
            Ok(()) => {
                let finished = sender.finish().await;
                Turns::end(turn, &held);
                finished
            }
            Err(ended) => ended,
        }
    }

    /// Runs every group; sends parts meanwhile if that takes long.
    async fn run_groups(
        &self,
        (plan, memo): (&Arc<Plan>, &Arc<Memo>),
        standing: Standing,
        held: &Arc<HeldLease>,
        sender: &mut PartSender,
    ) -> Result<(), Executed> {
        let (pool, door) =
            if plan.reads_objects { (&self.objects, &self.objects_door) } else { (&self.inline, &self.inline_door) };
        let work = |group: &Group| GroupWork {
            plan: Arc::clone(plan),
            memo: Arc::clone(memo),
            group: *group,
            held: Arc::clone(held),
            sources: Arc::clone(&self.sources),
            shelf: Arc::clone(&sender.shelf),
            busy: Arc::clone(&self.busy),
            helpers: self.helpers.clone(),
            trust: Arc::clone(&self.trust),
            log: tracing::Span::current(),
        };
        let enter = |group: &Group| door.enter(standing, (group.data_bytes + group.count * TASK_COST) as u64);
        if let [group] = plan.groups[..]
            && plan.small
            && !poison::expected()
        {
            let _place = enter(&group).await;
            return work(&group).run().map_err(|Stopped| Executed::Abandoned);
        }
        let works = plan.groups.iter().map(|group| {
            if group.remote {
                let place = self.remote_door.enter(standing, (group.data_bytes + group.count * TASK_COST) as u64);
                let work = RemoteGroup {
                    plan: Arc::clone(plan),
                    memo: Arc::clone(memo),
                    group: *group,
                    held: Arc::clone(held),
                    sources: Arc::clone(&self.sources),
                    shelf: Arc::clone(&sender.shelf),
                };
                return async move {
                    let _place = place.await;
                    Ok(work.run().await)
                }
                .left_future();
            }
            let (work, place) = (work(group), enter(group));
            async move {
                let _place = place.await;
                pool.run(group.data_bytes, move || work.run()).await
            }
            .right_future()
        });
        // No more at once than there are places: leases that come later get their turn between this one's groups.
        let at_once = if plan.groups.iter().any(|group| group.remote) { self.remote_reads } else { pool.threads() };
        let mut groups = stream::iter(works.collect::<Vec<_>>()).buffer_unordered(at_once);
        let mut parts = interval_at(Instant::now() + PART_INTERVAL, PART_INTERVAL);
        parts.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = held.wait_cancelled() => return Err(Executed::Abandoned),
                group = groups.next() => match group {
                    None => return Ok(()),
                    Some(Ok(Ok(()))) => {}
                    Some(Ok(Err(Stopped))) => return Err(Executed::Abandoned),
                    // Its tasks stay without an outcome, and go back to the queue with the last part.
                    Some(Err(error)) => {
                        held.account.failed("a group of tasks failed on the pool");
                        log_failed_group(&error);
                    }
                },
                _ = parts.tick() => sender.send_part(plan.task_count).await,
            }
        }
    }
}

fn log_failed_group(error: &HashError) {
    // What makes a thread panic goes back, and comes again.
    static FAILED: Repeated = Repeated::at_most(10);
    if let Some(left_out) = FAILED.failed() {
        let error = telemetry::chain(error);
        tracing::error!(error, left_out, "a group of tasks failed on the pool; its tasks go back");
    }
}

/// Gives a lease back and stops the work on it.
pub(crate) async fn give_back(held: &HeldLease, reason: NackReason) -> Executed {
    held.end(End::GivenBack);
    held.cancel();
    held.delivery.give_back(reason).await
}

/// Sends what is on the shelf.
struct PartSender {
    held: Arc<HeldLease>,
    shelf: Arc<Shelf>,
    sent_tasks: usize,
}

impl PartSender {
    /// Sends what is done so far, unless that is all there is: then the last part is about to be sent anyway.
    async fn send_part(&mut self, task_count: usize) {
        if self.sent_tasks + self.shelf.task_count() >= task_count {
            return;
        }
        for piece in self.shelf.take() {
            self.sent_tasks += piece.task_count();
            self.hand_over(piece, false).await;
        }
    }

    /// Sends the rest, its last part marked as final.
    async fn finish(self) -> Executed {
        let mut pieces = self.shelf.take();
        let Some(last) = pieces.pop() else {
            // Groups failed as a whole and everything else was sent: this is how the rest goes back.
            return give_back(&self.held, NackReason::Overloaded).await;
        };
        for piece in pieces {
            self.hand_over(piece, false).await;
        }
        // Before it is sent: `settled` may be here before this goes on.
        self.held.finish();
        self.hand_over(last, true).await;
        self.held.end(End::Done);
        Executed::Finished
    }

    async fn hand_over(&self, piece: Piece, last: bool) {
        let part = piece.into_outcomes(&self.held.range, self.held.account.traceparent(), last);
        self.held.account.note(&part);
        self.held.delivery.hand_over(part).await;
    }
}
