use futures::{FutureExt as _, StreamExt as _};
use hashmesh::queue::v1::{Hello, Lease, lease_tasks_request::Frame};
use tokio::sync::mpsc;

use super::*;
use crate::{
    delivery::{Grant, test_grant},
    outbox::{OutgoingFrames, outbox},
};

fn beside() -> HeldLease {
    HeldLease::new(&Lease::default(), test_grant(1))
}

fn alone(lease_id: u64) -> (HeldLease, OutgoingFrames) {
    let (outbox, mut frames) = outbox(Hello::default());
    assert!(matches!(next(&mut frames), Some(Frame::Hello(_))));
    let grant = Grant { lease_id, epoch: 1, outbox, given_back: mpsc::channel(1).0 };
    (HeldLease::new(&Lease { lease_id, alone: true, ..Lease::default() }, grant), frames)
}

fn next(frames: &mut OutgoingFrames) -> Option<Frame> {
    frames.next().now_or_never()?.and_then(|request| request.frame)
}

#[tokio::test(start_paused = true)]
async fn what_is_alone_waits_for_all_that_has_begun_and_for_its_queue_to_know() {
    let turns = Turns::default();
    let (one, other) = (beside(), beside());
    let first = turns.take(&one).await.unwrap();
    let second = turns.take(&other).await.unwrap();
    let (suspect, mut frames) = alone(7);
    let mut turn = Box::pin(turns.take(&suspect));
    assert!(turn.as_mut().now_or_never().is_none());
    drop(first);
    assert!(turn.as_mut().now_or_never().is_none() && next(&mut frames).is_none(), "another is still worked on");
    drop(second);
    assert!(turn.as_mut().now_or_never().is_none(), "the queue does not know yet");
    assert!(matches!(next(&mut frames), Some(Frame::Begin(begin)) if begin.lease_id == 7));
    assert!(turn.as_mut().now_or_never().is_none() && next(&mut frames).is_none(), "it is said once");
    suspect.may_begin();
    assert!(matches!(turn.await.unwrap(), Turn::Alone { .. }));
}

#[tokio::test(start_paused = true)]
async fn what_was_alone_keeps_its_turn_until_its_outcomes_are_recorded_or_that_takes_too_long() {
    let turns = Turns::default();
    for settles in [true, false] {
        let (suspect, _frames) = alone(7);
        suspect.may_begin();
        let turn = turns.take(&suspect).await.unwrap();
        let (suspect, next) = (Arc::new(suspect), beside());
        Turns::end(turn, &suspect);
        let mut waits = Box::pin(turns.take(&next));
        // The next to come is as patient as any, and sees nothing for as long.
        assert!(waits.as_mut().now_or_never().is_none());
        if settles {
            suspect.settle();
            assert!(matches!(waits.await.unwrap(), Turn::Beside { .. }));
        } else {
            assert!(matches!(waits.await, Err(NoTurn::GiveBack(NackReason::Overloaded))));
            sleep(SETTLED_WITHIN).await;
            assert!(matches!(turns.take(&next).await.unwrap(), Turn::Beside { .. }));
        }
    }
    // Who was beside others holds up nobody.
    let (one, other) = (Arc::new(beside()), alone(8));
    let turn = turns.take(&one).await.unwrap();
    Turns::end(turn, &one);
    other.0.may_begin();
    assert!(matches!(turns.take(&other.0).await.unwrap(), Turn::Alone { .. }));
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_one_is_alone_waits_a_moment_and_then_goes_back() {
    let turns = Turns::default();
    let (suspect, _frames) = alone(7);
    suspect.may_begin();
    let turn = turns.take(&suspect).await.unwrap();
    let (patient, impatient) = (beside(), beside());
    let mut waits = Box::pin(turns.take(&patient));
    assert!(waits.as_mut().now_or_never().is_none());
    tokio::time::advance(PATIENCE / 2).await;
    assert!(waits.as_mut().now_or_never().is_none());
    let ended = turns.take(&impatient).await;
    assert!(matches!(ended, Err(NoTurn::GiveBack(NackReason::Overloaded))), "{ended:?}");
    let mut waits = Box::pin(turns.take(&patient));
    assert!(waits.as_mut().now_or_never().is_none());
    drop(turn);
    assert!(matches!(waits.await.unwrap(), Turn::Beside { .. }));
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_back_while_it_waits_has_no_turn_and_is_in_nobodys_way() {
    let turns = Turns::default();
    let one = beside();
    let first = turns.take(&one).await.unwrap();
    let (suspect, mut frames) = alone(7);
    let mut turn = Box::pin(turns.take(&suspect));
    assert!(turn.as_mut().now_or_never().is_none());
    suspect.cancel();
    assert_eq!(turn.await.err(), Some(NoTurn::Cancelled));
    assert!(next(&mut frames).is_none());
    assert!(turns.take(&beside()).await.is_ok());
    drop(first);

    let (unheard, _frames) = alone(8);
    unheard.delivery.suspend();
    assert_eq!(turns.take(&unheard).await.err(), Some(NoTurn::Cancelled), "there is no stream to say it on");
    assert!(turns.take(&beside()).await.is_ok());
}
