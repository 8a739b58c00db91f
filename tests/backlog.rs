//! A backlog of more batches than the Queue keeps in memory (promises 1, 2, 8): it waits in Postgres, and is loaded piece by piece.

use std::collections::BTreeMap;

use hashmesh::{
    error::Reason,
    gateway::v1::{OpenSubmission, SealSubmissionRequest},
    v1::SubmissionState,
};

use crate::support::{
    Gateway, Mesh, MeshOptions, oracle,
    raw::{SubmitStream, assert_refused, packed},
    wait::soon,
};

/// More batches of one task than 64 MiB of memory have room for (43,690).
const BATCHES: u32 = 45_000;
/// What a stream may have under way.
const WINDOW: u32 = 64;

fn input(sequence: u32) -> String {
    format!("waits {sequence}")
}

async fn reopen(gateway: &Gateway, submission_id: &str) -> SubmitStream {
    let open = OpenSubmission { submission_id: submission_id.to_owned(), ..OpenSubmission::default() };
    gateway.open(open).await.expect("it opens again").0
}

/// Repeats are known, in memory or not, and a different batch under a number that is taken is refused.
async fn assert_repeats_are_known(gateway: &Gateway, submission_id: &str) {
    for sequence in [0, BATCHES / 2, BATCHES - 1] {
        let mut stream = reopen(gateway, submission_id).await;
        stream.batch(sequence, packed([input(sequence)])).await;
        stream.accepted(sequence).await;
        stream.batch(sequence, packed(["something else"])).await;
        let (refused, status) = stream.rejected().await;
        assert_eq!(refused, sequence);
        assert_refused(&status, Reason::SequenceConflict);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_8_a_backlog_larger_than_memory_waits_in_postgres_and_every_task_of_it_ends_once() {
    let queue_environment = vec![("HASHMESH_MEMORY_MIB".to_owned(), "64".to_owned())];
    let mut mesh =
        Mesh::start("backlog", MeshOptions { workers: 0, queue_environment, ..MeshOptions::default() }).await;
    let mut gateway = mesh.connect().await;
    let (mut stream, opened) = gateway.open_new().await;
    let id = opened.submission_id;
    for first in (0..BATCHES).step_by(WINDOW as usize) {
        let last = BATCHES.min(first + WINDOW) - 1;
        for sequence in first..=last {
            stream.batch(sequence, packed([input(sequence)])).await;
        }
        stream.accepted(last).await;
    }
    assert_repeats_are_known(&gateway, &id).await;
    let waiting = gateway.submission(&id).await;
    assert_eq!((waiting.accepted_tasks, waiting.recorded_tasks), (u64::from(BATCHES), 0));

    drop(stream);
    mesh.queue.restart().await;
    mesh.queue.ready().await;
    assert_repeats_are_known(&gateway, &id).await;
    let seal = SealSubmissionRequest { submission_id: id.clone(), batch_count: BATCHES };
    soon("SealSubmission", gateway.seal_submission(seal)).await.expect("it is sealed");
    mesh.add_worker().await;
    let end = gateway.reaches(&id, SubmissionState::Completed).await;
    assert_eq!(end.succeeded_tasks, u64::from(BATCHES));

    let outcomes = gateway.outcomes_after(&id, 0).await;
    let digests: BTreeMap<u32, &str> =
        outcomes.iter().map(|outcome| (outcome.sequence, outcome.digests[0].hex.as_str())).collect();
    assert_eq!((outcomes.len(), digests.len()), (BATCHES as usize, BATCHES as usize), "each once");
    let inputs: Vec<String> = (0..BATCHES).map(input).collect();
    let expected = oracle::digests("sha256", inputs.iter().map(String::as_bytes));
    for ((sequence, digest), expected) in digests.into_iter().zip(expected) {
        assert_eq!(digest, hex::encode(expected), "batch {sequence}");
    }
}
