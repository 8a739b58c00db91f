//! Who follows a submission's outcomes, where the Queue has no memory to spare (promise 5).

use hashmesh::{
    gateway::v1::{GetStatsRequest, OpenSubmission, SealSubmissionRequest},
    queue::v1::Lease,
    v1::SubmissionOptions,
};

use crate::support::{
    Gateway, Mesh, MeshOptions, heavy,
    raw::packed,
    scripted_worker::ScriptedWorker,
    wait::{PATIENCE, until},
};

/// Payload that a Queue with the least memory keeps for leases.
const KEPT_BYTES: u64 = 16 * 1024 * 1024;
/// Of a batch, of one task.
const LARGE_BYTES: usize = 3_900_000;
/// Fewer than what may be on its way to Postgres, and with as many that are stored more than is kept.
const LARGE_BATCHES: u32 = 3;

fn large_batch(sequence: u32) -> hashmesh::gateway::v1::batch::Tasks {
    packed([vec![sequence as u8; LARGE_BYTES]])
}

/// A submission that is worked on before those of others.
fn urgent() -> OpenSubmission {
    OpenSubmission {
        options: Some(SubmissionOptions { priority: Some(9), ..SubmissionOptions::default() }),
        ..OpenSubmission::default()
    }
}

async fn lease_of(worker: &mut ScriptedWorker, submission_id: &str, sequence: u32) -> Lease {
    loop {
        let lease = worker.lease().await;
        let id = uuid::Uuid::from_slice(&lease.submission_id).expect("an id").to_string();
        if id == submission_id && lease.sequence == sequence {
            return lease;
        }
    }
}

async fn payload_bytes(gateway: &mut Gateway) -> u64 {
    let stats = gateway.get_stats(GetStatsRequest {}).await.expect("an answer").into_inner();
    stats.queue.expect("it has one").payload_bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_5_outcomes_of_a_batch_whose_payload_had_to_make_room_meanwhile_reach_who_follows() {
    let _turn = heavy::turn().await;
    let queue_environment = vec![("HASHMESH_MEMORY_MIB".to_owned(), "64".to_owned())];
    let options = MeshOptions { workers: 0, queue_environment, ..MeshOptions::default() };
    let mesh = Mesh::start("followers", options).await;
    let mut gateway = mesh.connect().await;

    let (mut others, _) = gateway.open_new().await;
    for sequence in 0..LARGE_BATCHES {
        others.batch(sequence, large_batch(sequence)).await;
    }
    others.accepted(LARGE_BATCHES - 1).await;

    let (mut stream, opened) = gateway.open(urgent()).await.expect("it opens");
    let submission_id = opened.submission_id;
    let following = {
        let (mut gateway, submission_id) = (gateway.clone(), submission_id.clone());
        tokio::spawn(async move { gateway.outcomes_after(&submission_id, 0).await })
    };
    stream.batch(0, packed(["a"])).await;
    stream.accepted(0).await;
    let mut worker = ScriptedWorker::connect(&mesh.queue.url()).await;
    let first = lease_of(&mut worker, &submission_id, 0).await;
    worker.hand_in(&first).await;
    stream.batch(1, packed(["b"])).await;
    stream.accepted(1).await;
    let second = lease_of(&mut worker, &submission_id, 1).await;

    // What is on its way to Postgres is kept in any case. Once it is stored, the newest makes room: that, and what was stored last.
    let blocker = mesh.database.client().await;
    blocker.batch_execute("BEGIN; LOCK TABLE batches IN SHARE MODE").await.expect("the table is locked");
    for sequence in LARGE_BATCHES..2 * LARGE_BATCHES {
        others.batch(sequence, large_batch(sequence)).await;
    }
    let all = u64::from(2 * LARGE_BATCHES) * LARGE_BYTES as u64;
    until("the batches to be in memory", PATIENCE, async || {
        worker.keeps([second.lease_id]).await;
        (payload_bytes(&mut gateway).await >= all).then_some(())
    })
    .await;
    blocker.batch_execute("COMMIT").await.expect("the table is free");
    others.accepted(2 * LARGE_BATCHES - 1).await;
    assert!(payload_bytes(&mut gateway).await <= KEPT_BYTES, "nothing made room");

    worker.hand_in(&second).await;
    let seal = SealSubmissionRequest { submission_id, batch_count: 2 };
    gateway.seal_submission(seal).await.expect("it is stored");
    let outcomes = following.await.expect("it does not panic");
    let seen: Vec<_> = outcomes.iter().map(|outcome| (outcome.position, outcome.sequence)).collect();
    assert_eq!(seen, [(1, 0), (2, 1)], "before the end");
}
