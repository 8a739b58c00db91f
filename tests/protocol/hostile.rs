//! Peers that break off, or speak something else.

use std::time::Duration;

use hashmesh::{
    gateway::v1::{
        OpenSubmission, StreamResultsRequest, SubmitBatchRequest, WatchSubmissionRequest, submit_tasks_request,
    },
    v1::SubmissionState,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{assert_mesh_works, whole};
use crate::support::{
    Gateway,
    raw::packed,
    shared,
    wait::{PATIENCE, until_value},
};

#[tokio::test]
async fn garbage_on_the_port_is_cut_off_and_the_mesh_goes_on() {
    let address = shared::up().await.server.trim_start_matches("http://").to_owned();
    let random: Vec<u8> = (0..100_000).map(|_| rand::random()).collect();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // A SETTINGS frame, then one that claims 16 MiB.
    let frames =
        [&preface[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0], &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1], &random[..1000]].concat();
    for garbage in [
        random.clone(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        [&preface[..], &random[..]].concat(),
        frames,
        vec![0; 100_000],
    ] {
        let mut stream = TcpStream::connect(&address).await.expect("it listens");
        // It may be cut off before all is written.
        let _ = timeout(PATIENCE, stream.write_all(&garbage)).await.expect("it is read or cut off");
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it is cut off");
    }
    assert_mesh_works().await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_cut_off_within_seconds() {
    let address = shared::up().await.server.trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).await.expect("it listens");
    let mut answer = Vec::new();
    // 5 s for the preface, and some for a busy machine.
    let end = timeout(Duration::from_secs(15), stream.read_to_end(&mut answer)).await;
    end.expect("it is cut off").map_or_else(|_| (), drop);
}

/// A client on a runtime of its own, which is stopped at once: nothing is said any more, the connection just closes.
async fn vanish(act: impl AsyncFnOnce(Gateway) + Send + 'static) {
    let server = shared::up().await.server.clone();
    let vanishing = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async { act(Gateway::connect(&server).await).await });
        runtime.shutdown_background();
    });
    tokio::task::spawn_blocking(move || vanishing.join()).await.expect("no panic").expect("no panic");
}

#[tokio::test]
async fn a_client_may_vanish_in_every_state_and_what_was_acknowledged_stays() {
    let mut gateway = shared::gateway().await;
    // Before it has said anything.
    vanish(async |gateway| drop(gateway.stream())).await;
    // With `open` on its way.
    vanish(async |gateway| {
        gateway.stream().send(submit_tasks_request::Frame::Open(OpenSubmission::default())).await;
    })
    .await;
    // Opened; with a batch on its way; acknowledged; sealed; half-closed and waiting.
    for state in 0..5 {
        let (told, id) = std::sync::mpsc::channel();
        vanish(async move |gateway| {
            let open = OpenSubmission { results: state % 2 == 1, ..OpenSubmission::default() };
            let (mut stream, opened) = gateway.open(open).await.expect("it opens");
            told.send(opened.submission_id).expect("it is waited for");
            if state >= 1 {
                stream.batch(0, packed(["a"])).await;
            }
            if state >= 2 {
                stream.accepted(0).await;
            }
            if state >= 3 {
                stream.seal(1).await;
            }
            if state >= 4 {
                stream.finish();
                let _ = stream.next().await;
            }
        })
        .await;
        let id = id.recv().expect("it opened");
        // Whoever comes next finds it where it stands, and can go on.
        let open = OpenSubmission { submission_id: id.clone(), ..OpenSubmission::default() };
        let (mut stream, opened) = gateway.open(open).await.expect("it opens again");
        assert!(state < 2 || opened.next_sequence == 1, "{opened:?}");
        if opened.state() == SubmissionState::Open {
            stream.batch(0, packed(["a"])).await;
            stream.seal(1).await;
        }
        stream.finish();
        stream.end().await.1.expect("it ends well");
        assert_eq!(gateway.reaches(&id, SubmissionState::Completed).await.recorded_tasks, 1);
    }
}

#[tokio::test]
async fn readers_watchers_and_waiting_callers_may_vanish() {
    let gateway = shared::gateway().await;
    let (mut stream, opened) = gateway.open_new().await;
    stream.batch(0, packed(["a"])).await;
    stream.accepted(0).await;
    let id = opened.submission_id.clone();
    vanish(async move |mut gateway| {
        let request = StreamResultsRequest { submission_id: id, follow: true, ..StreamResultsRequest::default() };
        let mut results = gateway.stream_results(request).await.expect("it streams").into_inner();
        results.message().await.expect("a frame");
    })
    .await;
    let id = opened.submission_id.clone();
    vanish(async move |mut gateway| {
        let watching = gateway.watch_submission(WatchSubmissionRequest { submission_id: id }).await;
        watching.expect("it is watched").into_inner().message().await.expect("a frame");
    })
    .await;
    vanish(async |mut gateway| {
        let outside = crate::support::raw::file("outside", std::path::Path::new("/outside/of/every/root"));
        let request = SubmitBatchRequest { wait: true, ..whole(crate::support::raw::rows(vec![outside])) };
        // Nobody can do it, so nobody answers.
        let _ = timeout(Duration::from_millis(300), gateway.submit_batch(request)).await;
    })
    .await;
    drop(stream);
    // Nothing of them stays.
    let mut stats = gateway.clone();
    let streams = async || {
        let answer = stats.get_stats(hashmesh::gateway::v1::GetStatsRequest {}).await.expect("an answer");
        answer.into_inner().gateway_streams
    };
    // Other tests have streams of their own at times.
    until_value("the streams of those who are gone to end", PATIENCE, streams, |streams| *streams <= 40).await;
    assert_mesh_works().await;
}
