//! The way of a lease's outcomes to whichever queue wants them. Work outlives the stream on which it was granted: what is
//! done while there is none is kept, and sent once a queue has adopted the lease.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashmesh::queue::v1::{LeaseOutcomes, Nack, NackReason, TaskRange, lease_tasks_request::Frame};
use tokio::sync::{mpsc, watch};

use crate::{account::End, execute::Executed, leases::HeldLease, outbox::Outbox};

/// Under what a lease is held now.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) lease_id: u64,
    pub(crate) epoch: u64,
    pub(crate) outbox: Outbox,
    /// Hears of it when the lease was given back.
    pub(crate) given_back: mpsc::Sender<u64>,
}

/// What of a lease was handed over to be sent.
#[derive(Debug)]
pub(crate) struct Delivery(Mutex<State>);

#[derive(Debug)]
struct State {
    /// None while there is no stream for it.
    grant: Option<Grant>,
    /// In the order in which they were handed over; kept until the lease is let go, because only then they are recorded.
    parts: Vec<LeaseOutcomes>,
}

impl Delivery {
    pub(crate) fn new(grant: Grant) -> Self {
        Self(Mutex::new(State { grant: Some(grant), parts: Vec::new() }))
    }

    /// Hands over a part. It is sent, or kept until the lease is adopted.
    pub(crate) async fn hand_over(&self, mut part: LeaseOutcomes) {
        let grant = {
            let mut state = self.lock();
            state.parts.push(part.clone());
            state.grant.clone()
        };
        let Some(grant) = grant else { return };
        (part.lease_id, part.epoch) = (grant.lease_id, grant.epoch);
        // A stream that is over: whoever adopts the lease gets the part.
        let _ = grant.outbox.send(Frame::Outcomes(part)).await;
    }

    /// Gives the lease back; nothing more is sent of it.
    pub(crate) async fn give_back(&self, reason: NackReason) -> Executed {
        let Some(grant) = self.lock().grant.take() else { return Executed::Abandoned };
        let nack = Nack { lease_id: grant.lease_id, epoch: grant.epoch, reason: reason.into(), retry_after: None };
        if grant.outbox.send(Frame::Nack(nack)).await.is_err() {
            return Executed::Abandoned;
        }
        // A session that is over wants no credit for it.
        let _ = grant.given_back.send(grant.lease_id).await;
        Executed::GivenBack
    }

    /// The stream is over.
    pub(crate) fn suspend(&self) {
        self.lock().grant = None;
    }

    /// Goes on under a new lease: sends again what its queue has not recorded, then lets what is still to come follow.
    pub(crate) async fn resume(&self, held: &HeldLease, ranges: &[TaskRange], grant: Grant) -> Executed {
        let wanted = Wanted::of(held, ranges);
        let (mut next, mut ended, mut end_sent) = (0, false, false);
        let mut to_come = vec![true; held.range.task_count as usize];
        loop {
            let part = {
                let mut state = self.lock();
                let Some(part) = state.parts.get(next) else {
                    state.grant = Some(grant);
                    break;
                };
                part.clone()
            };
            next += 1;
            ended |= part.r#final;
            let places = wanted.places(&part);
            places.clone().for_each(|place| to_come[place] = false);
            if wanted.all(places) {
                end_sent |= part.r#final;
                let part = LeaseOutcomes { lease_id: grant.lease_id, epoch: grant.epoch, ..part };
                if grant.outbox.send(Frame::Outcomes(part)).await.is_err() {
                    return Executed::Abandoned;
                }
            }
        }
        // What is still to come must be wanted, and something must end the lease.
        let fits = to_come.iter().enumerate().all(|(place, to_come)| !to_come || wanted.all(place..place + 1));
        if fits && (end_sent || !ended) {
            return Executed::Finished;
        }
        held.end(End::GivenBack);
        held.cancel();
        self.give_back(NackReason::Overloaded).await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tasks of an adopted lease that have no outcome, a place of the lease each.
struct Wanted {
    first_task: u32,
    places: Vec<bool>,
}

impl Wanted {
    fn of(held: &HeldLease, ranges: &[TaskRange]) -> Self {
        let range = &held.range;
        let mut places = vec![false; range.task_count as usize];
        for wanted in ranges {
            let begin = wanted.first_task.saturating_sub(range.first_task) as usize;
            let end = begin.saturating_add(wanted.task_count as usize).min(places.len());
            if wanted.first_task >= range.first_task && begin < end {
                places[begin..end].fill(true);
            }
        }
        Self { first_task: range.first_task, places }
    }

    /// Where a part's tasks are in the lease. Parts are our own: they lie within it.
    fn places(&self, part: &LeaseOutcomes) -> std::ops::Range<usize> {
        let begin = (part.first_task - self.first_task) as usize;
        begin..begin + part.task_count as usize
    }

    fn all(&self, places: std::ops::Range<usize>) -> bool {
        self.places.get(places).is_some_and(|places| places.iter().all(|wanted| *wanted))
    }
}

/// Leases of streams that are over, until the next queue that welcomes the worker adopts them or does not. Shared by all
/// streams: who owns the work may be another process by then.
#[derive(Debug, Default)]
pub(crate) struct Unclaimed(watch::Sender<Vec<Arc<HeldLease>>>);

impl Unclaimed {
    /// As many as a queue listens to.
    const MOST: usize = 4096;

    /// Keeps a lease; one beyond the most is stopped.
    pub(crate) fn keep(&self, lease: Arc<HeldLease>) {
        lease.delivery.suspend();
        self.0.send_modify(|kept| {
            if kept.len() < Self::MOST {
                kept.push(lease);
            } else {
                lease.cancel();
            }
        });
    }

    /// All that are kept, now and whenever that changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Vec<Arc<HeldLease>>> {
        self.0.subscribe()
    }

    /// Takes all that are kept.
    pub(crate) fn take(&self) -> Vec<Arc<HeldLease>> {
        let mut taken = Vec::new();
        self.0.send_if_modified(|kept| {
            taken = std::mem::take(kept);
            !taken.is_empty()
        });
        taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Waits until there are none.
    pub(crate) async fn none(&self) {
        // The sender lives as long as we do.
        let _ = self.0.subscribe().wait_for(Vec::is_empty).await;
    }
}

/// A grant whose stream nobody reads.
#[cfg(test)]
pub(crate) fn test_grant(lease_id: u64) -> Grant {
    let (outbox, _) = crate::outbox::outbox(hashmesh::queue::v1::Hello::default());
    Grant { lease_id, epoch: 1, outbox, given_back: mpsc::channel(1).0 }
}
