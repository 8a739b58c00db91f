//! More than the Queue can write, or a worker can read: it waits where it costs nobody else anything (promise 8).

use std::time::Duration;

use hashmesh::{gateway::v1::GetStatsRequest, v1::SubmissionState};

use crate::support::{
    Gateway, Mesh, MeshOptions, heavy,
    raw::{Frame, SubmitStream, packed},
    scripted_worker::ScriptedWorker,
    wait::{PATIENCE, soon, until_value},
};

const MIB: u64 = 1024 * 1024;
const STREAMS: usize = 32;
/// Batches of 1 MiB on each of them.
const BATCHES: u32 = 6;

/// A Queue with the least memory: 16 MiB for writes under way, 8 MiB for leases that workers have not read.
fn little_memory() -> MeshOptions {
    let queue_environment = vec![("HASHMESH_MEMORY_MIB".to_owned(), "64".to_owned())];
    MeshOptions { workers: 0, queue_environment, ..MeshOptions::default() }
}

fn large_batch(sequence: u32) -> hashmesh::gateway::v1::batch::Tasks {
    packed([vec![sequence as u8; MIB as usize]])
}

/// Sends everything and waits until it is accepted. Gives the smallest window that it was told.
async fn write(mut stream: SubmitStream) -> u32 {
    for sequence in 0..BATCHES {
        stream.batch(sequence, large_batch(sequence)).await;
    }
    let mut smallest = u32::MAX;
    loop {
        match soon("an answer", stream.next()).await.expect("the stream lives") {
            Some(Frame::Accepted(accepted)) => {
                if accepted.window_bytes > 0 {
                    smallest = smallest.min(accepted.window_bytes);
                }
                if accepted.through_sequence == BATCHES - 1 {
                    return smallest;
                }
            }
            other => panic!("wanted accepted, got {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_8_while_postgres_stands_still_streams_bring_no_more_than_there_is_memory_for() {
    let _turn = heavy::turn().await;
    let mesh = Mesh::start("pressure", little_memory()).await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        streams.push(mesh.connect().await.open_new().await.0);
    }
    let before = mesh.queue.process.rss_bytes();

    let blocker = mesh.database.client().await;
    blocker.batch_execute("BEGIN; LOCK TABLE batches IN SHARE MODE").await.expect("the table is locked");
    let writers: Vec<_> = streams.into_iter().map(|stream| tokio::spawn(write(stream))).collect();
    // All that finds room anywhere has found it by then; less than the 5 s after which the lane asks again.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let grown = mesh.queue.process.rss_bytes().saturating_sub(before) / MIB;
    blocker.batch_execute("COMMIT").await.expect("the table is free");
    let mut windows = Vec::new();
    for writer in writers {
        windows.push(soon("everything to be accepted", writer).await.expect("it does not panic"));
    }

    println!("the queue grew by {grown} MiB; windows {windows:?}");
    // 16 MiB for writes, and of each stream a batch that waits. Unread windows of 4 MiB each would come on top of that.
    assert!(grown < 128, "the queue grew by {grown} MiB");
    let told = windows.iter().filter(|window| **window < 16 * MIB as u32).count();
    assert!(told > STREAMS / 2, "of {STREAMS} streams {told} were told of a smaller window");
}

async fn leased_by_workers(gateway: &mut Gateway) -> u64 {
    let stats = soon("GetStats", gateway.get_stats(GetStatsRequest {})).await.expect("an answer").into_inner();
    stats.queue.expect("it has one").workers.iter().map(|worker| worker.leased_tasks).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_8_a_worker_that_does_not_read_is_sent_little_and_the_others_do_its_work() {
    const BATCHES: u32 = 40;
    let mut mesh = Mesh::start("does-not-read", little_memory()).await;
    let mut slow = ScriptedWorker::connect_for(&mesh.queue.url(), u32::MAX, u64::MAX).await;
    let mut gateway = mesh.connect().await;
    let (mut stream, opened) = gateway.open_new().await;
    let submit = async {
        for sequence in 0..BATCHES {
            stream.batch(sequence, large_batch(sequence)).await;
        }
        stream.seal(BATCHES).await;
        stream.accepted(BATCHES - 1).await;
    };
    let watch = async {
        // Every lease of this owner, so that none expires.
        let mut ask = async || {
            slow.keeps(1..=u64::from(BATCHES)).await;
            leased_by_workers(&mut gateway).await
        };
        let mut most = until_value("the worker to be given its share", PATIENCE, &mut ask, |leased| *leased >= 8).await;
        // That no more follow there is no fact to wait for.
        for _ in 0..100 {
            most = most.max(ask().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        most
    };
    let ((), most) = tokio::join!(submit, watch);
    // Its share of 8 MiB, the lease that exceeds it, and what the transport takes: an HTTP/2 window of 2 MiB, and a frame.
    assert!(most <= 14, "{most} leases of 1 MiB");

    // It names them no more: they expire, and go to who reads.
    mesh.add_worker().await;
    let end = gateway.reaches(&opened.submission_id, SubmissionState::Completed).await;
    assert_eq!(end.succeeded_tasks, u64::from(BATCHES));
}
