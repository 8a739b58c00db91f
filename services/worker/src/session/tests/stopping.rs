//! Workers and queues that stop, each alone and both at once.

use std::time::Duration;

use super::*;
use crate::session::WELCOME_TIMEOUT;

#[tokio::test]
async fn a_queue_that_drains_is_left_with_long_work_under_way_which_the_next_adopts() {
    let mut bench = Bench::start().await;
    let (mut stream, ..) = bench.welcomed().await;
    stream.send(ToWorker::Lease(lease(1, vec![bench.endless("one")]))).await;
    while stream.progress(1).await.bytes_read == 0 {}
    stream.send(ToWorker::Drain(Drain { reason: "for the test".to_owned() })).await;
    stream.expect(draining).await;
    stream.ended().await;
    let mut stream = bench.queue.accept().await;
    assert_eq!(stream.hello().await.held_leases, [claim(1, 1)]);
    stream.welcome_adopting(vec![adopted(0, 2, &[(10, 1)])]).await;
    Credited::default().take(&mut stream).await;
    while stream.progress(2).await.bytes_read == 0 {}
}

#[tokio::test]
async fn a_hello_that_is_not_answered_yet_is_said_again_once_there_is_more_to_claim() {
    let mut other = ScriptedQueue::start().await;
    let config = WorkerConfig { queue: vec![other.url()], ..WorkerConfig::default() };
    let mut bench = Bench::start_with(config).await;
    let mut waits = other.accept().await;
    assert_eq!(waits.hello().await.held_leases, []);
    let (mut stream, ..) = bench.welcomed().await;
    stream.send(ToWorker::Lease(lease(1, vec![bench.endless("one")]))).await;
    while stream.progress(1).await.bytes_read == 0 {}
    drop(stream);
    // Well before the worker would be tired of waiting.
    let again = tokio::time::timeout(WELCOME_TIMEOUT / 2, other.accept());
    let mut stream = again.await.expect("it does not wait for the first answer");
    assert_eq!(stream.hello().await.held_leases, [claim(1, 1)]);
    stream.welcome_adopting(vec![adopted(0, 2, &[(10, 1)])]).await;
    Credited::default().take(&mut stream).await;
    while stream.progress(2).await.bytes_read == 0 {}
}

#[tokio::test]
async fn a_stopping_worker_finishes_what_it_holds_waits_until_it_is_settled_and_takes_nothing_new() {
    let mut bench = Bench::start().await;
    let (mut stream, ..) = bench.welcomed().await;
    stream.send(ToWorker::Lease(lease(1, vec![inline("abc")]))).await;
    stream.expect(outcomes).await;
    bench.shutdown.begin();
    stream.expect(draining).await;
    stream.send(ToWorker::Lease(lease(2, vec![inline("abc")]))).await;
    assert_eq!(stream.expect(nack).await, (2, 77, NackReason::Draining));
    assert!(!bench.worker.is_finished(), "lease 1 is not settled");
    stream.send(ToWorker::Settled(Settled { lease_ids: vec![1] })).await;
    stream.ended().await;
    bench.worker.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_a_stopping_worker_cannot_finish_within_the_grace_is_given_back() {
    let config = WorkerConfig { drain_grace: Duration::from_millis(100), ..WorkerConfig::default() };
    let mut bench = Bench::start_with(config).await;
    let (mut stream, ..) = bench.welcomed().await;
    stream.send(ToWorker::Lease(lease(1, vec![bench.endless("endless")]))).await;
    while stream.progress(1).await.bytes_read == 0 {}
    bench.shutdown.begin();
    stream.expect(draining).await;
    assert_eq!(stream.expect(nack).await, (1, 77, NackReason::Draining));
    stream.ended().await;
    bench.worker.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stopping_worker_hands_what_it_has_begun_to_the_next_queue_and_takes_nothing_else() {
    let mut bench = Bench::start().await;
    let (mut stream, ..) = bench.welcomed().await;
    stream.send(ToWorker::Lease(lease(1, vec![bench.endless("one")]))).await;
    while stream.progress(1).await.bytes_read == 0 {}
    bench.shutdown.begin();
    stream.expect(draining).await;
    stream.send(ToWorker::Drain(Drain { reason: "for the test".to_owned() })).await;
    stream.ended().await;

    let mut stream = bench.queue.accept().await;
    assert_eq!(stream.hello().await.held_leases, [claim(1, 1)]);
    stream.welcome_adopting(vec![adopted(0, 2, &[(10, 1)])]).await;
    let credit_or_draining = |frame: &FromWorker| match frame {
        FromWorker::Credit(_) => Some(true),
        FromWorker::Draining(_) => Some(false),
        _ => None,
    };
    assert!(!stream.expect(credit_or_draining).await, "it wants no more");
    while stream.progress(2).await.bytes_read == 0 {}
    stream.send(ToWorker::Revoke(Revoke { lease_id: 2, reason: "for the test".to_owned() })).await;
    stream.ended().await;
    bench.worker.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stopping_worker_that_finds_no_queue_within_the_grace_ends_without_one() {
    let config = WorkerConfig { drain_grace: Duration::from_millis(100), ..WorkerConfig::default() };
    let mut bench = Bench::start_with(config).await;
    let (mut stream, ..) = bench.welcomed().await;
    stream.send(ToWorker::Lease(lease(1, vec![bench.endless("endless")]))).await;
    while stream.progress(1).await.bytes_read == 0 {}
    drop(stream);
    let _unanswered = bench.queue.accept().await;
    bench.shutdown.begin();
    bench.worker.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_worker_that_no_queue_has_welcomed_stops_at_once() {
    let mut bench = Bench::start().await;
    let _unanswered = bench.queue.accept().await;
    bench.shutdown.begin();
    bench.worker.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_queue_that_drains_is_left_when_all_is_settled_and_the_worker_connects_again() {
    let mut bench = Bench::start().await;
    let (mut stream, ..) = bench.welcomed().await;
    stream.send(ToWorker::Lease(lease(1, vec![inline("abc")]))).await;
    stream.expect(outcomes).await;
    stream.send(ToWorker::Drain(Drain { reason: "for the test".to_owned() })).await;
    stream.expect(draining).await;
    stream.send(ToWorker::Settled(Settled { lease_ids: vec![1] })).await;
    stream.ended().await;
    bench.welcomed().await;
}
