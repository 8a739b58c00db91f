//! The way of a lease's outcomes to whichever queue wants them. Work outlives the stream on which it was granted: what is
//! done while there is none is kept, and sent once a queue has adopted the lease.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hashmesh::queue::v1::{Begin, LeaseOutcomes, Nack, NackReason, TaskRange, lease_tasks_request::Frame};
use tokio::sync::mpsc;

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
    /// How often it lost its stream.
    suspensions: u64,
    /// In the order in which they were handed over; kept until the lease is let go, because only then they are recorded.
    parts: Vec<LeaseOutcomes>,
}

impl Grant {
    /// Gives what was granted back.
    pub(crate) async fn give_back(self, reason: NackReason) -> Executed {
        let nack = Nack { lease_id: self.lease_id, epoch: self.epoch, reason: reason.into(), retry_after: None };
        if self.outbox.send(Frame::Nack(nack)).await.is_err() {
            return Executed::Abandoned;
        }
        // A session that is over wants no credit for it.
        let _ = self.given_back.send(self.lease_id).await;
        Executed::GivenBack
    }
}

impl Delivery {
    pub(crate) fn new(grant: Grant) -> Self {
        Self(Mutex::new(State { grant: Some(grant), suspensions: 0, parts: Vec::new() }))
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

    /// Tells the queue that work on the lease begins. False if there is no stream for it.
    pub(crate) async fn begin(&self) -> bool {
        let Some(Grant { lease_id, outbox, .. }) = self.lock().grant.clone() else { return false };
        outbox.send(Frame::Begin(Begin { lease_id })).await.is_ok()
    }

    /// Gives the lease back; nothing more is sent of it.
    pub(crate) async fn give_back(&self, reason: NackReason) -> Executed {
        let Some(grant) = self.lock().grant.take() else { return Executed::Abandoned };
        grant.give_back(reason).await
    }

    /// The stream is over, or the lease's shard is another queue's.
    pub(crate) fn suspend(&self) {
        let mut state = self.lock();
        state.grant = None;
        state.suspensions += 1;
    }

    /// How often it was suspended: a resumption is over as soon as this changes.
    pub(crate) fn suspensions(&self) -> u64 {
        self.lock().suspensions
    }

    /// Goes on under a new lease: sends again what its queue has not recorded, then lets what is still to come follow. Unless
    /// it was suspended again since it had been `suspensions` times.
    pub(crate) async fn resume(
        &self,
        held: &HeldLease,
        ranges: &[TaskRange],
        grant: Grant,
        suspensions: u64,
    ) -> Executed {
        let wanted = Wanted::of(held, ranges);
        let (mut next, mut ended, mut end_sent) = (0, false, false);
        let mut to_come = vec![true; held.range.task_count as usize];
        loop {
            let part = {
                let mut state = self.lock();
                if state.suspensions != suspensions {
                    return Executed::Abandoned;
                }
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
        // One that was given back while there was no stream for it is worked on by nobody.
        if fits && (end_sent || !ended) && !held.cancelled() {
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

/// A grant whose stream nobody reads.
#[cfg(test)]
pub(crate) fn test_grant(lease_id: u64) -> Grant {
    let (outbox, _) = crate::outbox::outbox(hashmesh::queue::v1::Hello::default());
    Grant { lease_id, epoch: 1, outbox, given_back: mpsc::channel(1).0 }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, StreamExt as _};
    use hashmesh::queue::v1::{Hello, Lease};

    use super::*;
    use crate::outbox::{OutgoingFrames, outbox};

    fn held() -> HeldLease {
        HeldLease::new(&Lease { task_count: 1, ..Lease::default() }, test_grant(1))
    }

    fn grant(lease_id: u64) -> (Grant, OutgoingFrames) {
        let (outbox, mut frames) = outbox(Hello::default());
        assert!(next(&mut frames).is_some(), "hello");
        (Grant { lease_id, epoch: 2, outbox, given_back: mpsc::channel(1).0 }, frames)
    }

    fn next(frames: &mut OutgoingFrames) -> Option<Frame> {
        frames.next().now_or_never()?.and_then(|request| request.frame)
    }

    const ALL: [TaskRange; 1] = [TaskRange { first_task: 0, task_count: 1 }];

    #[tokio::test]
    async fn a_lease_that_was_suspended_again_is_not_taken_back_to_the_queue_before() {
        let held = held();
        held.delivery.suspend();
        let (suspensions, (late, mut late_frames)) = (held.delivery.suspensions(), grant(2));
        held.delivery.suspend();
        let (now, mut frames) = grant(3);
        let resumed = held.delivery.resume(&held, &ALL, now, held.delivery.suspensions()).await;
        assert_eq!(resumed, Executed::Finished);
        assert_eq!(held.delivery.resume(&held, &ALL, late, suspensions).await, Executed::Abandoned);
        held.delivery.hand_over(LeaseOutcomes { task_count: 1, r#final: true, ..LeaseOutcomes::default() }).await;
        assert!(matches!(next(&mut frames), Some(Frame::Outcomes(part)) if part.lease_id == 3));
        assert_eq!(next(&mut late_frames), None);
    }

    #[tokio::test]
    async fn what_was_given_back_while_there_was_no_stream_for_it_is_given_back_once_there_is() {
        let held = held();
        held.delivery.suspend();
        assert_eq!(crate::execute::give_back(&held, NackReason::Overloaded).await, Executed::Abandoned);
        let (again, mut frames) = grant(2);
        let _resumed = held.delivery.resume(&held, &ALL, again, held.delivery.suspensions()).await;
        assert!(matches!(next(&mut frames), Some(Frame::Nack(nack)) if nack.lease_id == 2));
    }
}
