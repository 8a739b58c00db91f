//! Which queues a worker keeps streams to.

use super::*;

/// A worker that was told of the first of these queues only.
async fn bench_with_others(others: usize) -> (Bench, Vec<ScriptedQueue>) {
    let mut queues = Vec::new();
    for _ in 0..others {
        queues.push(ScriptedQueue::start().await);
    }
    let queue = ScriptedQueue::start().await;
    let urls: Vec<String> = queues.iter().map(ScriptedQueue::url).chain([queue.url()]).collect();
    queue.tell(&urls);
    let config = WorkerConfig { drain_grace: Duration::from_secs(60), ..WorkerConfig::default() };
    (Bench::start_at(queue, config).await, queues)
}

async fn welcomed(queue: &mut ScriptedQueue) -> (Stream, Credited) {
    let mut stream = queue.accept().await;
    stream.hello().await;
    stream.welcome_owning(Some(0), Vec::new()).await;
    let mut credited = Credited::default();
    credited.take(&mut stream).await;
    (stream, credited)
}

#[tokio::test]
async fn a_worker_keeps_one_stream_to_each_queue_that_the_configured_one_knows_of_and_shares_its_credit() {
    let (mut bench, mut others) = bench_with_others(1).await;
    let (_one, first) = welcomed(&mut bench.queue).await;
    let (_two, second) = welcomed(&mut others[0]).await;
    assert_eq!(first, second);
    assert_eq!(first, Credited { tasks: 2 * 256 * 1024 / 4, bytes: 16 * 1024 * 1024 }, "a half share");
    assert!(bench.queue.alone() && others[0].alone());
}

#[tokio::test]
async fn a_configured_url_is_no_second_stream_to_the_process_that_spells_it_otherwise() {
    let queue = ScriptedQueue::start().await;
    queue.tell(&[format!("{}/", queue.url())]);
    let mut bench = Bench::start_at(queue, WorkerConfig::default()).await;
    let (mut stream, credited) = welcomed(&mut bench.queue).await;
    assert_eq!(credited.tasks, 2 * 256 * 1024, "there is no other");
    stream.heartbeat().await;
    assert!(bench.queue.alone());
}

#[tokio::test]
async fn only_the_addresses_of_the_picture_count_once_there_is_one() {
    let mut other = ScriptedQueue::start().await;
    let queue = ScriptedQueue::start().await;
    queue.tell(&[other.url()]);
    let mut bench = Bench::start_at(queue, WorkerConfig::default()).await;
    let (mut stream, _) = welcomed(&mut other).await;
    stream.heartbeat().await;
    assert!(bench.queue.alone());
}

#[tokio::test]
async fn a_process_that_joins_gets_a_stream_and_that_of_one_that_has_left_is_not_opened_again() {
    let (mut bench, mut others) = bench_with_others(1).await;
    let (mut leaves, _) = welcomed(&mut others[0]).await;
    let (_stays, _) = welcomed(&mut bench.queue).await;
    let mut joins = ScriptedQueue::start().await;
    bench.queue.tell(&[bench.queue.url(), joins.url()]);
    let (_joined, _) = welcomed(&mut joins).await;
    // Its stream goes on until it ends by itself.
    leaves.send(ToWorker::Lease(lease(1, vec![inline("abc")]))).await;
    leaves.expect(outcomes).await;
    leaves.send(ToWorker::Drain(Drain { reason: "for the test".to_owned() })).await;
    leaves.expect(draining).await;
    leaves.send(ToWorker::Settled(Settled { lease_ids: vec![1] })).await;
    leaves.ended().await;
    // It comes back: it was gone long enough to be missed, if a stream was opened meanwhile.
    assert!(others[0].alone());
    bench.queue.tell(&[bench.queue.url(), joins.url(), others[0].url()]);
    welcomed(&mut others[0]).await;
    assert!(others[0].alone());
}

#[tokio::test]
async fn another_queue_is_asked_when_the_one_that_told_is_gone() {
    let (mut bench, mut others) = bench_with_others(1).await;
    let urls = [bench.queue.url(), others[0].url()];
    others[0].tell(&urls);
    let (_one, _) = welcomed(&mut bench.queue).await;
    let (_two, _) = welcomed(&mut others[0]).await;
    // Whichever it was that told: from now on only the other does.
    bench.queue.tell_no_more();
    let mut joins = ScriptedQueue::start().await;
    others[0].tell(&[others[0].url(), joins.url()]);
    welcomed(&mut joins).await;
}

#[tokio::test]
async fn a_queue_of_the_version_before_gets_a_stream_at_each_configured_url() {
    let mut other = ScriptedQueue::start().await;
    let config = WorkerConfig { queue: vec![other.url(), format!("{}/", other.url())], ..WorkerConfig::default() };
    let mut bench = Bench::start_with(config).await;
    other.accept().await.hello().await;
    let (_stream, _, credited) = bench.welcomed().await;
    assert_eq!(credited.tasks, 2 * 256 * 1024, "the others own nothing");
    // Later it is replaced by one that knows.
    let mut joins = ScriptedQueue::start().await;
    bench.queue.tell(&[bench.queue.url(), joins.url()]);
    welcomed(&mut joins).await;
}

#[tokio::test]
async fn a_worker_serves_while_any_queue_has_welcomed_it() {
    let (mut bench, mut others) = bench_with_others(1).await;
    let (one, _) = welcomed(&mut bench.queue).await;
    bench.health.wait_serving().await;
    let (two, _) = welcomed(&mut others[0]).await;
    drop(one);
    let _unanswered = bench.queue.accept().await;
    assert!(bench.health.state().is_ok());
    drop(two);
    let _unanswered_too = others[0].accept().await;
    assert!(bench.health.state().is_err());
}
