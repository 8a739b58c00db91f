//! Streams that take long, say little, or bring much.

use std::time::{Duration, SystemTime};

use hashmesh::{
    gateway::v1::{
        ComputeDigestRequest, ComputeDigestStreamRequest, OpenSubmission, StreamResultsRequest, WatchSubmissionRequest,
    },
    v1::SubmissionOptions,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::support::{
    Gateway,
    edge::Edge,
    heavy, oracle,
    raw::{Frame, packed},
    wait::{PATIENCE, soon},
};

/// Longer than Envoy's default timeout of a route, which begins when the client has sent all.
fn long() -> Duration {
    Duration::from_secs(if heavy::long() { 61 } else { 17 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_has_sent_all_gets_outcomes_that_take_longer_than_envoys_default_timeout() {
    let edge = Edge::shared().await;
    let not_before = SystemTime::now() + long();
    let options = SubmissionOptions { not_before: Some(not_before.into()), ..Default::default() };
    let open = OpenSubmission { options: Some(options), results: true, ..Default::default() };
    let (mut stream, _) = edge.connect().await.open(open).await.expect("it opens");
    stream.batch(0, packed(["a", "b"])).await;
    stream.seal(1).await;
    stream.finish();
    let (frames, end) = tokio::time::timeout(long() + PATIENCE, stream.end()).await.expect("it ends");
    end.expect("in order");
    assert!(SystemTime::now() >= not_before, "they came early");
    assert!(frames.iter().any(|frame| matches!(frame, Frame::Completed(_))), "{frames:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_only_ping_outlive_envoys_idle_time_and_one_that_says_nothing_does_not() {
    // More than the 20 s between two pings, less than the test takes. Default of the product: 75 s.
    const IDLE: Duration = Duration::from_secs(23);
    let edge = Edge::start("edge-idle", &[], &[("&stream_idle 75s", "&stream_idle 23s")]).await;
    let mut gateway = edge.connect().await;
    let (mut stream, opened) = gateway.open_new().await;
    let submission_id = opened.submission_id;
    let watch = WatchSubmissionRequest { submission_id: submission_id.clone() };
    let mut watch = gateway.watch_submission(watch).await.expect("it opens").into_inner();
    let results = StreamResultsRequest { submission_id: submission_id.clone(), follow: true, ..Default::default() };
    let mut results = gateway.stream_results(results).await.expect("it opens").into_inner();
    let silent = tokio::spawn(silence(gateway.clone()));

    let began = tokio::time::Instant::now();
    let mut pings = (0, 0);
    while began.elapsed() < 2 * IDLE {
        tokio::select! {
            frame = watch.message() => {
                frame.expect("the watch lives").expect("a frame");
                pings.0 += 1;
            }
            frame = results.message() => {
                frame.expect("the results live").expect("a frame");
                pings.1 += 1;
            }
            frame = stream.next() => panic!("{frame:?}"),
            () = tokio::time::sleep_until(began + 2 * IDLE) => break,
        }
    }
    assert!(pings.0 >= 2 && pings.1 >= 2, "{pings:?}");
    stream.batch(0, packed(["a"])).await;
    stream.accepted(0).await;

    let ended = soon("the silent stream to have ended", silent).await.expect("no panic");
    // Not by the Gateway, which would name a reason.
    assert!(ended.message().contains("stream timeout"), "{ended:?}");
}

/// Opens a stream that nobody pings and says nothing; how it ends.
async fn silence(mut gateway: Gateway) -> tonic::Status {
    let (sender, frames) = mpsc::channel(1);
    sender.send(ComputeDigestStreamRequest::default()).await.expect("it is open");
    let ended = gateway.compute_digest_stream(ReceiverStream::new(frames)).await;
    drop(sender);
    ended.expect_err("it was cut")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_frame_passes_and_one_byte_more_is_refused_by_name() {
    let edge = Edge::shared().await;
    let mut gateway = edge.connect().await;
    let (mut stream, opened) = gateway.open_new().await;
    let limit = opened.limits.expect("it says them").max_batch_bytes as usize;
    assert_eq!(limit, 4 * 1024 * 1024 - 64 * 1024);
    let data = vec![7_u8; limit];
    stream.batch(0, packed([&data])).await;
    stream.accepted(0).await;
    stream.seal(1).await;
    let outcome = gateway.outcomes_after(&opened.submission_id, 0).await.remove(0);
    assert_eq!(outcome.digests[0].hex, oracle::sha256_hex(&data));

    let answer = gateway.compute_digest(ComputeDigestRequest { data: data.clone().into(), ..Default::default() }).await;
    assert_eq!(answer.expect("it fits").into_inner().digests[0].hex, oracle::sha256_hex(&data));
    let more = [data.as_slice(), b"!"].concat();
    let refused = gateway.compute_digest(ComputeDigestRequest { data: more.into(), ..Default::default() }).await;
    let refused = refused.expect_err("it does not");
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
}
