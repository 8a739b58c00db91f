//! Memory does not grow with what clients do (promise 8).

use std::time::Duration;

use hashmesh::{
    gateway::v1::{StreamResultsRequest, stream_results_response},
    v1::{ResultShape, SubmissionState},
};

use crate::support::{
    Mesh, MeshOptions, heavy,
    raw::packed,
    wait::{PATIENCE, stays_pending},
};

const MIB: u64 = 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_8_clients_that_never_read_cost_a_bounded_amount_of_memory() {
    let _turn = heavy::turn().await;
    let mesh = Mesh::start("never-reads", MeshOptions::default()).await;
    let mut gateway = mesh.connect().await;
    let (mut stream, opened) = gateway.open_new().await;
    // Long names come back with the outcomes: 100 MB of rows.
    const BATCHES: u32 = 60;
    let name = "n".repeat(1_600);
    for sequence in 0..BATCHES {
        let tasks = (0..1_000).map(|task| crate::support::raw::inline(&format!("{name}{task}"), "x")).collect();
        stream.batch(sequence, crate::support::raw::rows(tasks)).await;
    }
    stream.seal(BATCHES).await;
    stream.finish();
    stream.end().await.1.expect("it ends well");
    gateway.reaches(&opened.submission_id, SubmissionState::Completed).await;

    let before = [mesh.gateway.process.rss_bytes(), mesh.queue.process.rss_bytes()];
    let mut readers = Vec::new();
    for _ in 0..16 {
        // Each on a connection of its own, else they would share one window.
        let mut gateway = mesh.connect().await;
        let request = StreamResultsRequest {
            submission_id: opened.submission_id.clone(),
            result_shape: ResultShape::Rows as i32,
            follow: true,
            ..StreamResultsRequest::default()
        };
        let mut results = gateway.stream_results(request).await.expect("it streams").into_inner();
        results.message().await.expect("a first frame");
        readers.push(results);
    }
    // All that windows and buffers take is sent by now; unbounded, this would be 16 times 100 MB.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = [mesh.gateway.process.rss_bytes(), mesh.queue.process.rss_bytes()];
    for (process, (before, after)) in ["gateway", "queue"].iter().zip(before.iter().zip(&after)) {
        let grown = after.saturating_sub(*before) / MIB;
        assert!(grown < 16 * 16, "the {process} grew by {grown} MiB for 16 readers that do not read");
    }
    // And whoever reads meanwhile reads.
    let outcomes = gateway.outcomes_after(&opened.submission_id, u64::from(BATCHES) * 1_000 - 10).await;
    assert_eq!(outcomes.len(), 10);
    // The slow ones lose nothing by having waited.
    let mut positions = 0;
    let mut slow = readers.swap_remove(0);
    while let Some(frame) = tokio::time::timeout(PATIENCE, slow.message()).await.expect("a frame").expect("it lives") {
        match frame.frame.expect("it has something in it") {
            stream_results_response::Frame::Results(results) => positions = results.through_position,
            stream_results_response::Frame::Completed(_) => break,
            _ => {}
        }
    }
    assert_eq!(positions, u64::from(BATCHES) * 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_8_a_writer_that_never_reads_its_acknowledgements_is_stopped_by_the_window() {
    let _turn = heavy::turn().await;
    let mesh = Mesh::start("never-reads-acks", MeshOptions { workers: 0, ..MeshOptions::default() }).await;
    let before = [mesh.gateway.process.rss_bytes(), mesh.queue.process.rss_bytes()];
    let gateway = mesh.connect().await;
    let (mut stream, _) = gateway.open_new().await;
    // 200 MB, no worker: what is accepted must be in Postgres, not in memory.
    let pushing = async {
        for sequence in 0..200 {
            stream.batch(sequence, packed([vec![sequence as u8; 1024 * 1024]])).await;
        }
    };
    let pushed = tokio::time::timeout(PATIENCE, pushing).await;
    pushed.expect("acknowledgements are small: they fit the stream's window, and so everything is taken");
    stream.accepted(199).await;
    for (role, (process, before)) in
        ["gateway", "queue"].iter().zip([&mesh.gateway.process, &mesh.queue.process].into_iter().zip(before))
    {
        let grown = process.rss_bytes().saturating_sub(before) / MIB;
        // The queue keeps up to 256 MiB of payload for leases, the windows take the rest.
        let most = if *role == "queue" { 512 } else { 192 };
        assert!(grown < most, "the {role} grew by {grown} MiB");
    }
    stays_pending("no worker, no outcome", Duration::from_millis(100), stream.next()).await;
}
