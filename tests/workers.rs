//! Gateway, Queue, Hash and three Workers as separate processes; workers die and fall silent under load (promises 2, 3, 9).

use std::{
    future::Future,
    time::{Duration, Instant},
};

use crate::{
    history::{
        check::check,
        run::{Load, Run},
    },
    support::{
        Mesh, MeshOptions, heavy,
        raw::packed,
        wait::{PATIENCE, soon, until, until_value},
    },
};

/// What a busy machine may add to a bound that the mesh keeps by itself.
const SLACK: Duration = Duration::from_secs(1);

fn three_workers() -> MeshOptions {
    MeshOptions { workers: 3, ..MeshOptions::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_2_3_and_9_all_tasks_finish_once_while_one_worker_is_killed_and_another_stopped_under_load() {
    let _turn = heavy::turn().await;
    let mut mesh = Mesh::start("workers", three_workers()).await;
    let tasks = if heavy::long() { 1_000_000 } else { 100_000 };
    let load = Load { tasks, batch_tasks: 500, window: 16, cut_after: tasks / 5 };
    let mut run = Run::start_held(&mesh.gateway.url(), load);
    let share = run.batch_count / 10;
    run.may_write(2 * share);
    run.acknowledged(share).await;
    mesh.workers[0].process.kill();
    run.may_write(4 * share);
    run.acknowledged(3 * share).await;
    mesh.workers[1].process.freeze();
    run.may_write_all();
    let database = mesh.database.clone();
    let (history, _) = run.finish(&database).await;
    check(&history).assert_clean();

    // The stopped one wakes up, hands in what nobody wants any more, and works again.
    mesh.workers[1].process.thaw();
    let mut gateway = mesh.connect().await;
    let connected = async || names(&mut gateway).await;
    until_value("the stopped worker to be back", PATIENCE, connected, |names| *names == ["worker-1", "worker-2"]).await;
    assert!(crate::history::counters::faults(&database).await.is_empty());
}

async fn names(gateway: &mut crate::support::Gateway) -> Vec<String> {
    let stats = gateway.get_stats(hashmesh::gateway::v1::GetStatsRequest {}).await.expect("an answer").into_inner();
    let mut names: Vec<String> =
        stats.queue.expect("it has one").workers.into_iter().map(|worker| worker.worker_id).collect();
    names.sort();
    names
}

/// A large task in each worker's hands, so that whichever is hit holds leases; gives the moment of the hit, and how long
/// after it every lease of that worker was in other hands or done.
async fn rescue(name: &str, hit: impl AsyncFnOnce(&mut Mesh, usize)) -> Duration {
    let mut mesh = Mesh::start(name, three_workers()).await;
    let mut gateway = mesh.connect().await;
    // A few seconds of work for each worker.
    let (mut stream, opened) = gateway.open_new().await;
    let mut sequence = 0;
    let victim = 0;
    let id = format!("worker-{victim}");
    // Fed until the victim has something in hand.
    until("the victim to hold a lease", PATIENCE, async || {
        for _ in 0..4 {
            stream.batch(sequence, packed((0..200).map(|task| vec![task as u8; 16 * 1024]))).await;
            sequence += 1;
        }
        let stats = gateway.get_stats(hashmesh::gateway::v1::GetStatsRequest {}).await.expect("an answer").into_inner();
        let workers = stats.queue.expect("it has one").workers;
        workers.iter().any(|worker| worker.worker_id == id && worker.leases > 0).then_some(())
    })
    .await;
    let started = Instant::now();
    hit(&mut mesh, victim).await;
    stream.accepted(sequence - 1).await;
    stream.seal(sequence).await;
    // Only the victim's leases can hold up the end for as long as this.
    let end = gateway.reaches(&opened.submission_id, hashmesh::v1::SubmissionState::Completed).await;
    let took = started.elapsed();
    assert_eq!(end.recorded_tasks, u64::from(sequence) * 200);
    took
}

/// The time that the same work takes when nobody is hit, so that the bound is about the rescue alone.
async fn within(bound: Duration, rescued: impl Future<Output = Duration>) {
    let took = soon("the rescue", rescued).await;
    assert!(took <= bound, "the rescue took {took:?}, wanted at most {bound:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_9_the_tasks_of_a_killed_worker_are_done_by_others_within_a_second() {
    let _turn = heavy::turn().await;
    let killed = rescue("worker-killed", async |mesh, victim| mesh.workers[victim].process.kill());
    within(Duration::from_secs(1) + SLACK, killed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_9_the_tasks_of_a_stopped_worker_are_done_by_others_within_six_seconds() {
    let _turn = heavy::turn().await;
    let stopped = rescue("worker-stopped", async |mesh, victim| mesh.workers[victim].process.freeze());
    within(Duration::from_secs(6) + SLACK, stopped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_outlive_their_queue_and_come_back_to_it() {
    let _turn = heavy::turn().await;
    let mut mesh = Mesh::start("queue-restarts", three_workers()).await;
    let load = Load { tasks: 60_000, batch_tasks: 300, window: 16, cut_after: 20_000 };
    let mut run = Run::start(&mesh.gateway.url(), load);
    run.acknowledged(run.batch_count / 4).await;
    mesh.queue.restart().await;
    mesh.queue.ready().await;
    run.acknowledged(run.batch_count / 2).await;
    mesh.gateway.restart().await;
    let database = mesh.database.clone();
    let (history, outages) = run.finish(&database).await;
    assert!(outages >= 2, "both restarts must show: {outages}");
    check(&history).assert_clean();
    let mut gateway = mesh.connect().await;
    let all = ["worker-0", "worker-1", "worker-2"];
    until_value("all workers to be back", PATIENCE, async || names(&mut gateway).await, |names| *names == all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_7_a_worker_that_finds_a_digest_wrong_ends_before_anybody_is_told_and_its_work_is_done_by_the_next() {
    // The check at start computes the first one; the second is among those of tasks.
    let worker_environment = vec![("HASHMESH_WRONG_DIGEST".to_owned(), "1".to_owned())];
    let mut mesh = Mesh::start("wrong-digest", MeshOptions { worker_environment, ..MeshOptions::default() }).await;
    let load = Load { tasks: 30_000, batch_tasks: 500, window: 16, cut_after: 10_000 };
    let run = Run::start(&mesh.gateway.url(), load);
    let status = until("the worker to end", PATIENCE, async || mesh.workers[0].process.exited()).await;
    assert_eq!(status.code(), Some(1), "{status}");
    let log = mesh.workers[0].process.log();
    assert!(log.contains("do not use this machine or this build"), "{log}");
    mesh.workers[0].set_environment(&[]);
    mesh.workers[0].restart().await;
    let (history, _) = run.finish(&mesh.database.clone()).await;
    check(&history).assert_clean();
}
