//! How soon what a worker held is another's once it is killed or stopped (promise 9). Seen by a worker that the test plays: it
//! has credit and gets nothing, until the tasks that the other holds are leased to it.

use std::time::{Duration, Instant};

use hashmesh::gateway::v1::GetStatsRequest;

use super::matrix::{bound, report};
use crate::support::{
    Mesh, MeshOptions, heavy,
    raw::packed,
    scripted_worker::ScriptedWorker,
    wait::{PATIENCE, Patience, until},
};

const TASKS: u32 = 100;

/// A worker is stopped, and then is leased all there is to do. Gives the mesh, another worker that waits, and when the first was
/// stopped.
async fn held_by_a_stopped_worker(name: &str) -> (Mesh, ScriptedWorker, Instant) {
    let mesh = Mesh::start(name, MeshOptions::default()).await;
    let mut gateway = mesh.connect().await;
    let (mut stream, _) = gateway.open_new().await;
    mesh.workers[0].process.freeze();
    let stopped = Instant::now();
    stream.batch(0, packed((0..TASKS).map(|task| format!("task {task}")))).await;
    stream.accepted(0).await;
    until("the stopped worker to hold everything", PATIENCE, async || {
        let stats = gateway.get_stats(GetStatsRequest {}).await.expect("an answer").into_inner();
        let workers = stats.queue.expect("it has one").workers;
        (workers.iter().map(|worker| worker.leased_tasks).sum::<u64>() == u64::from(TASKS)).then_some(())
    })
    .await;
    let waiting = ScriptedWorker::connect(&mesh.queue.url()).await;
    (mesh, waiting, stopped)
}

/// Waits until all is leased to the worker that waits, which says all the while that it lives.
async fn rescued(waiting: &mut ScriptedWorker) {
    let mut leases = Vec::new();
    let mut tasks = 0;
    let patience = Patience::new("everything to be leased again", PATIENCE);
    while tasks < TASKS {
        waiting.keeps(leases.iter().copied()).await;
        if let Ok(lease) = tokio::time::timeout(Duration::from_millis(100), waiting.lease()).await {
            leases.push(lease.lease_id);
            tasks += lease.task_count;
        }
        patience.pause().await;
    }
}

fn judge(name: &str, took: Duration, promised: Duration) {
    report(&serde_json::json!({
        "fault": name, "long": heavy::long(), "hit": "its lease was another's",
        "recovered_seconds": took.as_secs_f64(), "violations": 0,
    }));
    assert!(took <= bound(promised), "leased again after {took:?}, promised within {promised:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_9_what_a_killed_worker_held_is_leased_again_within_a_second() {
    let _turn = heavy::turn().await;
    let (mut mesh, mut waiting, _) = held_by_a_stopped_worker("rescue-killed").await;
    let killed = Instant::now();
    mesh.workers[0].process.kill();
    rescued(&mut waiting).await;
    judge("what_a_killed_worker_held_is_leased_again", killed.elapsed(), Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_9_what_a_stopped_worker_held_is_leased_again_within_six_seconds() {
    let _turn = heavy::turn().await;
    let (mesh, mut waiting, stopped) = held_by_a_stopped_worker("rescue-stopped").await;
    rescued(&mut waiting).await;
    assert_eq!(mesh.workers[0].process.state(), 'T', "it was not stopped");
    judge("what_a_stopped_worker_held_is_leased_again", stopped.elapsed(), Duration::from_secs(6));
}
