//! Work that a worker has begun goes on while Queues come and go (promises 3, 12).

use std::{fs, path::Path};

use hashmesh::{
    gateway::v1::{GetStatsRequest, SubmitBatchRequest, submit_batch_request},
    v1::{Algorithm, SubmissionOptions, SubmissionState, TaskRows},
};

use crate::support::{
    Gateway, Mesh, MeshOptions, Role, heavy, oracle,
    raw::{file, inline},
    rundir,
    wait::{PATIENCE, soon, until},
};

/// Takes seconds to read with the algorithms below, and no room.
const LONG_BYTES: u64 = 512 * 1024 * 1024;
/// Read of it before something happens.
const BEGUN_BYTES: u64 = 64 * 1024 * 1024;

/// A file of zeros and short ones around it.
async fn submit(gateway: &mut Gateway, long: &Path) -> String {
    let tasks = vec![inline("before", "a"), file("long", long), inline("after", "b")];
    let algorithms = [Algorithm::Sha256, Algorithm::Sha512, Algorithm::Md5].map(i32::from).to_vec();
    let request = SubmitBatchRequest {
        options: Some(SubmissionOptions { algorithms, ..SubmissionOptions::default() }),
        tasks: Some(submit_batch_request::Tasks::Rows(TaskRows { tasks })),
        ..SubmitBatchRequest::default()
    };
    let answer = soon("SubmitBatch", gateway.submit_batch(request)).await.expect("it is accepted");
    answer.into_inner().submission.expect("the answer has it").submission_id
}

fn read_by(worker: &Role) -> u64 {
    worker.process.read_bytes().expect("it runs")
}

async fn begun(worker: &Role) {
    let begun = async || (read_by(worker) > BEGUN_BYTES).then_some(());
    until("the worker to be in the midst of it", PATIENCE, begun).await;
}

async fn assert_read_once(gateway: &mut Gateway, id: &str, long: &Path, worker: &Role) {
    let end = gateway.reaches(id, SubmissionState::Completed).await;
    assert_eq!(end.succeeded_tasks, 3);
    let outcomes = gateway.outcomes_after(id, 0).await;
    assert_eq!(outcomes.len(), 3, "each once");
    let outcome = outcomes.iter().find(|outcome| outcome.name == "long").expect("it has an outcome");
    assert_eq!((outcome.attempt, outcome.digests[0].hex.as_str()), (1, oracle::sha256sum(long).as_str()));
    let read = read_by(worker);
    assert!(read < LONG_BYTES + LONG_BYTES / 10, "{read} bytes were read of {LONG_BYTES}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_12_a_queue_that_is_replaced_by_another_costs_no_work_that_had_begun() {
    let _turn = heavy::turn().await;
    let root = rundir::directory("handed-over");
    let long = root.join("long");
    fs::File::create(&long).and_then(|file| file.set_len(LONG_BYTES)).expect("a file");
    let options = MeshOptions { workers: 0, sources: vec![root.clone()], ..MeshOptions::default() };
    let mut mesh = Mesh::start("handed-over", options).await;
    let mut second = mesh.second_queue().await;
    let queues = [mesh.queue.url(), second.url()];
    mesh.add_worker_of(&queues).await;
    let gateway_role = mesh.gateway_to(&[&mesh.queue, &second]).await;
    let mut gateway = Gateway::connect(&gateway_role.url()).await;

    let id = submit(&mut gateway, &long).await;
    begun(&mesh.workers[0]).await;
    assert!(mesh.queue.terminate().await.success());
    assert!(read_by(&mesh.workers[0]) < LONG_BYTES, "it came too late to matter");
    second.ready().await;
    assert_read_once(&mut gateway, &id, &long, &mesh.workers[0]).await;
    let stats = gateway.get_stats(GetStatsRequest {}).await.expect("an answer").into_inner().queue.expect("it has one");
    assert_eq!((stats.refused_tasks, stats.rescued_leases), (0, 0), "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_3_what_was_done_while_no_queue_was_there_is_recorded_by_the_next_and_not_done_again() {
    let _turn = heavy::turn().await;
    let root = rundir::directory("orphaned");
    let long = root.join("long");
    fs::File::create(&long).and_then(|file| file.set_len(LONG_BYTES)).expect("a file");
    let mut mesh = Mesh::start("orphaned", MeshOptions { sources: vec![root.clone()], ..MeshOptions::default() }).await;
    let mut gateway = mesh.connect().await;
    let id = submit(&mut gateway, &long).await;
    begun(&mesh.workers[0]).await;
    mesh.queue.process.kill();
    assert!(read_by(&mesh.workers[0]) < LONG_BYTES, "it came too late to matter");
    mesh.queue.restart().await;
    mesh.queue.ready().await;
    assert_read_once(&mut gateway, &id, &long, &mesh.workers[0]).await;
}
