//! The leases of a stream, and who works on them.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt as _;
use hashmesh::queue::v1::{AdoptedLease, Lease, NackReason};
use hashmesh_runtime::trace;
use tokio::sync::mpsc;
use tracing::Instrument as _;

use super::{SessionError, SessionSettings};
use crate::{
    config::CreditLimit,
    credit::Share,
    delivery::Grant,
    execute::{Executor, give_back},
    leases::{HeldLease, HeldLeases},
    outbox::{Outbox, UrgentFrames},
    shards::ShardSet,
    unclaimed::Unclaimed,
};

/// When it is dropped, what has begun goes on, unclaimed; the rest stops.
#[derive(Debug)]
pub(super) struct Work {
    executor: Arc<Executor>,
    outbox: Outbox,
    held: Arc<HeldLeases>,
    unclaimed: Arc<Unclaimed>,
    given_back: mpsc::Sender<u64>,
    credit: Share,
}

impl Work {
    /// Of a stream that holds nothing and grants nothing yet.
    pub(super) fn new(settings: &SessionSettings, outbox: Outbox, given_back: mpsc::Sender<u64>) -> Self {
        Self {
            executor: Arc::clone(&settings.executor),
            held: Arc::default(),
            unclaimed: Arc::clone(&settings.unclaimed),
            given_back,
            credit: settings.credit.join(outbox.urgent().clone()),
            outbox,
        }
    }

    pub(super) fn held(&self) -> Arc<HeldLeases> {
        Arc::clone(&self.held)
    }

    pub(super) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    pub(super) fn urgent(&self) -> &UrgentFrames {
        self.outbox.urgent()
    }

    pub(super) fn unclaimed(&self) -> &Unclaimed {
        &self.unclaimed
    }

    /// The queue may hand out work.
    pub(super) fn open_credit(&self) {
        self.credit.open();
    }

    /// True if nothing is held.
    pub(super) fn idle(&self) -> bool {
        self.held.is_empty()
    }

    /// Works on a lease, or gives it back.
    pub(super) fn begin(&self, lease: Lease, draining: bool) -> Result<(), SessionError> {
        let grant = self.new_grant(lease.lease_id, lease.epoch);
        let held = Arc::new(HeldLease::new(&lease, grant));
        if !self.held.insert(lease.lease_id, Arc::clone(&held)) {
            return Err(granted_twice(lease.lease_id));
        }
        let room = self.credit.take(held.cost);
        if draining {
            give_back_later(held, NackReason::Draining);
        } else if room {
            self.execute(lease, held);
        } else {
            tracing::warn!(lease_id = lease.lease_id, "giving back a lease beyond the granted credit");
            give_back_later(held, NackReason::Overloaded);
        }
        Ok(())
    }

    /// The queue knows that work on a lease begins.
    pub(super) fn may_begin(&self, lease_id: u64) {
        self.held.may_begin(lease_id);
    }

    /// Nothing more is to be done for these leases: what they used of the credit is granted again. Those that are not held
    /// any more are none of ours: their shards have left, or they were given back.
    pub(super) fn let_go(&self, lease_ids: &[u64]) {
        let gone: Vec<_> = lease_ids.iter().filter_map(|lease_id| self.held.remove(*lease_id)).collect();
        gone.iter().for_each(|held| held.settle());
        self.free(&gone);
    }

    /// Goes on with what the queue has adopted of what it was told is held, and stops what else it was told of that is of its
    /// shards. `None`: all are, and nothing can be claimed from it later either.
    pub(super) fn take_up(
        &self,
        told: &[Arc<HeldLease>],
        adopted: Vec<AdoptedLease>,
        owned: Option<ShardSet>,
    ) -> Result<(), SessionError> {
        for adopted in adopted {
            let Some(held) = told.get(adopted.held_lease as usize) else {
                let held_lease = adopted.held_lease;
                return Err(SessionError::Protocol(format!("it adopted held lease {held_lease}, which there is not")));
            };
            self.adopt(held, adopted)?;
        }
        let over = |lease: &Arc<HeldLease>| match owned {
            Some(owned) => lease.belongs_to(owned) && told.iter().any(|one| Arc::ptr_eq(one, lease)),
            None => true,
        };
        let stopped = self.unclaimed.stop(over);
        if stopped > 0 {
            // Recorded by now, most of them: their outcomes had been sent.
            tracing::info!(leases = stopped, "stopping what the queue has not adopted");
        }
        Ok(())
    }

    fn adopt(&self, held: &Arc<HeldLease>, adopted: AdoptedLease) -> Result<(), SessionError> {
        let AdoptedLease { held_lease: _, lease_id, epoch, ranges } = adopted;
        let (held, grant) = (Arc::clone(held), self.new_grant(lease_id, epoch));
        if !self.unclaimed.take(&held) {
            self.refuse(grant, held.cost);
            return Ok(());
        }
        // What it uses up, it used up before: more than there is now is no fault of the queue's.
        self.credit.adopt(held.cost);
        if !self.held.insert(lease_id, Arc::clone(&held)) {
            self.credit.free(held.cost);
            held.cancel();
            return Err(granted_twice(lease_id));
        }
        tracing::debug!(lease_id, "going on with a lease under another queue");
        // Before anything else can happen to it.
        let suspensions = held.delivery.suspensions();
        tokio::spawn(async move { held.delivery.resume(&held, &ranges, grant, suspensions).await });
        Ok(())
    }

    /// Gives a lease back that stands for one that is another queue's by now.
    fn refuse(&self, grant: Grant, cost: CreditLimit) {
        tracing::debug!(lease_id = grant.lease_id, "giving back a lease of work that goes on under another queue");
        // It is in no heartbeat and holds nothing. Only the queue counts what it used up.
        self.urgent().grant(cost);
        tokio::spawn(async move { grant.give_back(NackReason::Overloaded).await });
    }

    /// Lets go of leases whose shards have left the queue: what has begun goes on, for whoever owns them next.
    pub(super) fn lose(&self, shards: ShardSet) {
        let suspended = self.held.suspend(|lease| lease.belongs_to(shards));
        let (begun, stopped) = (suspended.begun, suspended.stopped);
        tracing::info!(begun = begun.len(), stopped = stopped.len(), "shards have left the queue");
        self.unclaimed.keep(begun.clone());
        self.free(&begun);
        self.free(&stopped);
    }

    /// Takes no more, and gives back at once what nobody has begun: others may do it now.
    pub(super) fn drain(&self) {
        self.credit.close();
        self.urgent().drain();
        for (_, lease) in self.held.untouched() {
            give_back_later(lease, NackReason::Draining);
        }
    }

    /// Gives back what is not done.
    pub(super) fn give_back_unfinished(&self) {
        let unfinished = self.held.unfinished();
        tracing::warn!(leases = unfinished.len(), "giving back what was not done within the grace");
        for (_, lease) in unfinished {
            give_back_later(lease, NackReason::Draining);
        }
    }

    fn new_grant(&self, lease_id: u64, epoch: u64) -> Grant {
        Grant { lease_id, epoch, outbox: self.outbox.clone(), given_back: self.given_back.clone() }
    }

    fn execute(&self, lease: Lease, held: Arc<HeldLease>) {
        let lease_id = lease.lease_id;
        let context = held.account.context();
        let span = match context {
            // Whoever follows a trace wants the lines of any level.
            Some(context) => tracing::info_span!("lease", lease_id, trace_id = context.trace_id()),
            None => tracing::debug_span!("lease", lease_id),
        };
        let executor = Arc::clone(&self.executor);
        let execution = async move {
            // Nothing that the work leaves behind is used again.
            let work = trace::within(context, executor.execute(lease, Arc::clone(&held)));
            if AssertUnwindSafe(work).catch_unwind().await.is_err() {
                tracing::error!(lease_id, "the work on a lease panicked; giving it back");
                held.account.failed("the work on the lease panicked");
                give_back(&held, NackReason::Unsupported).await;
            }
        };
        // Not the session's: it may go on under another. It ends with its work, or when the lease is cancelled.
        tokio::spawn(execution.instrument(span));
    }

    fn free(&self, leases: &[Arc<HeldLease>]) {
        let mut freed = CreditLimit { tasks: 0, bytes: 0 };
        for lease in leases {
            freed.tasks = freed.tasks.saturating_add(lease.cost.tasks);
            freed.bytes = freed.bytes.saturating_add(lease.cost.bytes);
        }
        self.credit.free(freed);
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.unclaimed.keep(self.held.suspend(|_| true).begun);
    }
}

/// Not sent from here: the session must go on reading while the queue does not.
fn give_back_later(held: Arc<HeldLease>, reason: NackReason) {
    tokio::spawn(async move { give_back(&held, reason).await });
}

fn granted_twice(lease_id: u64) -> SessionError {
    SessionError::Protocol(format!("lease {lease_id} was granted twice"))
}
