//! What is held moves with its shard from queue to queue.

use super::*;

/// The shard of [`lease`]'s submission.
const OURS: u64 = 1 << 1;
const OTHERS: u64 = 1 << 2;

impl Bench {
    /// A stream that is welcomed by a queue of these shards, with its first credit taken note of.
    async fn welcomed_owning(&mut self, shards: u64) -> Stream {
        let mut stream = self.queue.accept().await;
        assert_eq!(stream.hello().await.held_leases, []);
        stream.welcome_owning(Some(shards), Vec::new()).await;
        Credited::default().take(&mut stream).await;
        stream
    }

    /// Lease 1, on which work has begun and which takes long.
    async fn begun(&self, stream: &mut Stream, name: &str) {
        stream.send(ToWorker::Lease(lease(1, vec![self.endless(name)]))).await;
        while stream.progress(1).await.bytes_read == 0 {}
    }
}

/// A worker with two queues, both of which have welcomed it.
async fn two_queues(shards: [u64; 2]) -> (Bench, ScriptedQueue, [Stream; 2]) {
    let mut other = ScriptedQueue::start().await;
    let config = WorkerConfig { queue: vec![other.url()], ..WorkerConfig::default() };
    let mut bench = Bench::start_with(config).await;
    let one = bench.welcomed_owning(shards[0]).await;
    let mut two = other.accept().await;
    assert_eq!(two.hello().await.held_leases, []);
    two.welcome_owning(Some(shards[1]), Vec::new()).await;
    Credited::default().take(&mut two).await;
    (bench, other, [one, two])
}

fn credit(frame: &FromWorker) -> Option<(u32, u64)> {
    if let FromWorker::Credit(credit) = frame { Some((credit.tasks, credit.bytes)) } else { None }
}

/// A lease of the other shard.
fn other_lease(lease_id: u64, tasks: Vec<Task>) -> Lease {
    Lease { submission_id: vec![2; 16].into(), ..lease(lease_id, tasks) }
}

#[tokio::test]
async fn of_what_hello_named_only_the_queues_own_is_over_and_the_rest_waits_for_its_owner() {
    let mut bench = Bench::start().await;
    let mut stream = bench.welcomed_owning(OURS).await;
    bench.begun(&mut stream, "one").await;
    drop(stream);

    let mut stream = bench.queue.accept().await;
    assert_eq!(stream.hello().await.held_leases, [claim(1, 1)]);
    stream.welcome_owning(Some(OTHERS), Vec::new()).await;
    Credited::default().take(&mut stream).await;
    drop(stream);

    let mut stream = bench.queue.accept().await;
    assert_eq!(stream.hello().await.held_leases, [claim(1, 1)], "still");
    stream.welcome_owning(Some(OURS), Vec::new()).await;
    Credited::default().take(&mut stream).await;
    drop(stream);

    let mut stream = bench.queue.accept().await;
    assert_eq!(stream.hello().await.held_leases, [], "its owner did not adopt it");
}

#[tokio::test]
async fn what_has_begun_of_a_shard_that_goes_is_claimed_from_the_queue_to_which_it_comes() {
    let (bench, _other, [mut from, mut to]) = two_queues([OURS, OTHERS]).await;
    fs::write(bench.path("abc"), "abc").unwrap();
    from.send(ToWorker::Lease(lease(1, vec![bench.object("abc", None), bench.endless("one")]))).await;
    from.expect(outcomes).await;
    from.owned_shards(0).await;
    to.owned_shards(OURS | OTHERS).await;
    // Which of both is heard first does not matter: at the end it is claimed.
    let mut claims = to.claims().await;
    if claims.is_empty() {
        to.claimed(OURS | OTHERS, Vec::new()).await;
        claims = to.claims().await;
    }
    assert_eq!(claims, [claim(1, 2)]);
    to.claimed(OURS | OTHERS, vec![adopted(0, 42, &[(10, 2)])]).await;
    let again = to.expect(outcomes).await;
    assert_eq!((again.lease_id, again.epoch, again.first_task, again.r#final), (42, 78, 10, false));
    let before = to.progress(42).await;
    assert!(before.started);
    while to.progress(42).await.bytes_read <= before.bytes_read {}
    // What the queue before still says of it is none of ours.
    from.send(ToWorker::Revoke(Revoke { lease_id: 1, reason: "its shard has gone".to_owned() })).await;
    from.send(ToWorker::Settled(Settled { lease_ids: vec![1] })).await;
    let before = to.progress(42).await;
    while to.progress(42).await.bytes_read <= before.bytes_read {}
}

#[tokio::test]
async fn what_has_not_begun_of_a_shard_that_goes_stops_and_its_credit_comes_back() {
    let mut bench = Bench::start().await;
    let mut stream = bench.welcomed_owning(OURS | OTHERS).await;
    // While both threads are busy nothing else can begin.
    stream.send(ToWorker::Lease(other_lease(1, vec![bench.endless("one"), bench.endless("two")]))).await;
    while stream.progress(1).await.bytes_read == 0 {}
    stream.send(ToWorker::Lease(lease(2, vec![bench.endless("three")]))).await;
    assert!(!stream.progress(2).await.started);
    stream.owned_shards(OTHERS).await;
    assert_eq!(stream.expect(credit).await, (1, 1_002));
    assert_eq!(stream.heartbeat().await.leases.len(), 1);
    stream.owned_shards(OURS | OTHERS).await;
    assert_eq!(stream.claims().await, [], "nothing is left of it");
}

#[tokio::test]
async fn shards_that_come_are_answered_with_claims_even_if_nothing_is_held_of_them() {
    let mut bench = Bench::start().await;
    let mut stream = bench.welcomed_owning(0).await;
    stream.owned_shards(OURS).await;
    assert_eq!(stream.claims().await, []);
    stream.claimed(OURS, Vec::new()).await;
    // Shards that only go are not.
    stream.owned_shards(0).await;
    stream.owned_shards(OTHERS).await;
    assert_eq!(stream.claims().await, []);
    stream.claimed(OTHERS, Vec::new()).await;
    stream.send(ToWorker::Lease(other_lease(1, vec![inline("abc")]))).await;
    stream.expect(outcomes).await;
}

#[tokio::test]
async fn claims_are_made_one_after_another_and_those_of_a_shard_that_is_gone_by_then_stay_unclaimed() {
    let mut bench = Bench::start().await;
    let mut stream = bench.welcomed_owning(OURS).await;
    bench.begun(&mut stream, "one").await;
    stream.owned_shards(0).await;
    stream.owned_shards(OURS).await;
    assert_eq!(stream.claims().await, [claim(1, 1)]);
    // It comes while the claims are under way; then the queue has neither.
    stream.owned_shards(OURS | OTHERS).await;
    stream.heartbeat().await;
    stream.heartbeat().await;
    stream.claimed(0, Vec::new()).await;
    assert_eq!(stream.claims().await, [], "of nothing, for the shards that had come");
    stream.claimed(0, Vec::new()).await;
    stream.owned_shards(OURS).await;
    assert_eq!(stream.claims().await, [claim(1, 1)], "it is still held");
    stream.claimed(OURS, Vec::new()).await;
    stream.owned_shards(0).await;
    stream.owned_shards(OURS).await;
    assert_eq!(stream.claims().await, [], "the owner did not adopt it: it is over");
}

#[tokio::test]
async fn what_another_streams_end_leaves_is_claimed_from_the_queue_that_owns_it_by_then() {
    let (bench, _other, [mut one, mut two]) = two_queues([OURS, OTHERS]).await;
    bench.begun(&mut one, "one").await;
    two.owned_shards(OURS | OTHERS).await;
    assert_eq!(two.claims().await, [], "it is the other queue's, as far as we know");
    two.claimed(OURS | OTHERS, Vec::new()).await;
    drop(one);
    assert_eq!(two.claims().await, [claim(1, 1)]);
    two.claimed(OURS | OTHERS, vec![adopted(0, 7, &[(10, 1)])]).await;
    while two.progress(7).await.bytes_read == 0 {}
}

#[tokio::test]
async fn of_two_queues_that_adopt_the_same_the_second_gets_its_own_back_with_the_credit() {
    let (mut bench, _other, [mut one, mut two]) = two_queues([OURS, OTHERS]).await;
    bench.begun(&mut one, "one").await;
    drop(one);
    let mut one = bench.queue.accept().await;
    assert_eq!(one.hello().await.held_leases, [claim(1, 1)]);
    two.owned_shards(OURS | OTHERS).await;
    assert_eq!(two.claims().await, [claim(1, 1)]);
    one.welcome_owning(Some(OURS), vec![adopted(0, 5, &[(10, 1)])]).await;
    while one.progress(5).await.bytes_read == 0 {}
    // Credit that the broken stream left is on its way before the third at the latest.
    for _ in 0..3 {
        two.heartbeat().await;
    }
    two.claimed(OURS | OTHERS, vec![adopted(0, 6, &[(10, 1)])]).await;
    assert_eq!(two.expect(credit).await, (1, 1_001));
    assert_eq!(two.expect(nack).await, (6, 78, NackReason::Overloaded));
    let before = one.progress(5).await;
    while one.progress(5).await.bytes_read <= before.bytes_read {}
}

#[tokio::test]
async fn a_queue_that_answers_claims_that_were_not_made_is_left() {
    let mut bench = Bench::start().await;
    let stream = bench.welcomed_owning(OURS).await;
    stream.claimed(OURS, Vec::new()).await;
    bench.queue.accept().await.hello().await;
}

#[tokio::test]
async fn a_stopping_worker_claims_what_has_begun_and_ends_when_all_queues_are_done_with_it() {
    let (bench, mut other, [mut one, mut two]) = two_queues([OURS, OTHERS]).await;
    bench.begun(&mut one, "one").await;
    two.send(ToWorker::Lease(other_lease(2, vec![inline("abc")]))).await;
    two.expect(outcomes).await;
    bench.shutdown.begin();
    one.expect(draining).await;
    two.expect(draining).await;
    drop(one);
    two.owned_shards(OURS | OTHERS).await;
    let mut claims = two.claims().await;
    if claims.is_empty() {
        two.claimed(OURS | OTHERS, Vec::new()).await;
        claims = two.claims().await;
    }
    assert_eq!(claims, [claim(1, 1)]);
    two.claimed(OURS | OTHERS, vec![adopted(0, 7, &[(10, 1)])]).await;
    while two.progress(7).await.bytes_read == 0 {}
    two.send(ToWorker::Settled(Settled { lease_ids: vec![2] })).await;
    two.send(ToWorker::Revoke(Revoke { lease_id: 7, reason: "for the test".to_owned() })).await;
    two.ended().await;
    bench.worker.await.unwrap().unwrap();
    assert!(other.alone(), "nothing was held: no stream was of use");
}
