use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::time::Instant;
use tonic::{Code, Status, body::Body};
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::{Deadline, DeadlineLayer, Limits};

const LONGEST: Duration = Duration::from_secs(60);

fn longest(path: &str) -> Option<Duration> {
    (path != "/stream").then_some(LONGEST)
}

fn layer() -> DeadlineLayer {
    DeadlineLayer::new(Limits { longest: Arc::new(longest), exceeded: || Status::deadline_exceeded("too late") })
}

fn request(path: &str, timeout: Option<&str>) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path.parse().unwrap();
    if let Some(timeout) = timeout {
        request.headers_mut().insert("grpc-timeout", timeout.parse().unwrap());
    }
    request
}

/// The code that a call of something that never answers ends with, and when.
async fn never_answers(path: &str, timeout: Option<&str>) -> (Code, Duration) {
    let began = Instant::now();
    let never = service_fn(async |_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>().await);
    let response = layer().layer(never).oneshot(request(path, timeout)).await.unwrap();
    (Status::from_header_map(response.headers()).unwrap().code(), began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_when_its_client_said_or_its_method_must() {
    for (path, timeout, wanted) in [
        ("/unary", Some("100m"), Duration::from_millis(100)),
        ("/unary", None, LONGEST),
        ("/unary", Some("2H"), LONGEST),
        ("/unary", Some("nonsense"), LONGEST),
        ("/stream", Some("2H"), Duration::from_secs(7_200)),
    ] {
        let (code, after) = never_answers(path, timeout).await;
        assert_eq!(code, Code::DeadlineExceeded, "{path} {timeout:?}");
        assert!(after >= wanted && after < wanted + Duration::from_millis(10), "{path} {timeout:?}: {after:?}");
    }
    let stream = tokio::time::timeout(Duration::from_secs(1_000_000), never_answers("/stream", None)).await;
    assert!(stream.is_err(), "a stream that asked for nothing ended: {stream:?}");
}

#[tokio::test]
async fn what_is_too_late_already_is_not_begun() {
    let handler =
        service_fn(async |_: Request<Body>| -> Result<Response<Body>, Infallible> { panic!("it was called") });
    for timeout in ["1n", "0S"] {
        let response = layer().layer(handler).oneshot(request("/unary", Some(timeout))).await.unwrap();
        assert_eq!(Status::from_header_map(response.headers()).unwrap().code(), Code::DeadlineExceeded);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_keeps_its_deadline_has_the_last_word() {
    let handler = service_fn(async |request: Request<Body>| {
        let deadline = *request.extensions().get::<Deadline>().unwrap();
        tokio::time::sleep_until(deadline.at()).await;
        Ok::<_, Infallible>(Status::aborted("its own word").into_http())
    });
    let response = layer().layer(handler).oneshot(request("/unary", Some("1S"))).await.unwrap();
    assert_eq!(Status::from_header_map(response.headers()).unwrap().code(), Code::Aborted);
}

/// A response of these frames; the token is dropped with it.
fn answering(
    frames: impl IntoIterator<Item = Bytes, IntoIter: Send + 'static>,
    goes_on: bool,
    token: Arc<()>,
) -> Response<Body> {
    let data = stream::iter(frames).map(move |data| {
        let _held = &token;
        Ok::<_, Status>(Frame::data(data))
    });
    let rest = match goes_on {
        true => stream::pending().left_stream(),
        false => stream::iter([Ok(Frame::trailers(HeaderMap::new()))]).right_stream(),
    };
    Response::new(Body::new(StreamBody::new(data.chain(rest))))
}

#[tokio::test(start_paused = true)]
async fn a_response_that_goes_on_ends_with_the_status_in_its_trailers() {
    let handler =
        service_fn(async |_: Request<Body>| Ok::<_, Infallible>(answering([Bytes::from("a")], true, Arc::default())));
    let response = layer().layer(handler).oneshot(request("/stream", Some("1S"))).await.unwrap();
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "a");
    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(Status::from_header_map(&trailers).unwrap().code(), Code::DeadlineExceeded);
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_response_that_nobody_reads_is_given_up() {
    let token = Arc::new(());
    let handler = service_fn(|_: Request<Body>| {
        let token = Arc::clone(&token);
        async move {
            let mut response = answering([Bytes::from(vec![0; 3 << 20])], false, Arc::clone(&token));
            response.extensions_mut().insert(token);
            Ok::<_, Infallible>(response)
        }
    });
    let response = layer().layer(handler).oneshot(request("/unary", None)).await.unwrap();
    // As the connection does once the headers are sent.
    let response = response.into_body();
    assert_eq!(Arc::strong_count(&token), 3);
    tokio::time::sleep(LONGEST * 2).await;
    assert_eq!(Arc::strong_count(&token), 1);
    let mut response = response;
    let trailers = response.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(Status::from_header_map(&trailers).unwrap().code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_response_arrives_whole_and_in_small_parts() {
    let sent: Vec<Bytes> = [0, 1, 16 * 1024, 16 * 1024 + 1, 3 << 20]
        .into_iter()
        .map(|length| (0..length).map(|place| (place % 251) as u8).collect())
        .collect();
    let handler = service_fn(|_: Request<Body>| {
        let sent = sent.clone();
        async move { Ok::<_, Infallible>(answering(sent, false, Arc::default())) }
    });
    let response = layer().layer(handler).oneshot(request("/unary", None)).await.unwrap();
    let mut body = response.into_body();
    let (mut received, mut trailers) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        match frame.unwrap().into_data() {
            Ok(data) => {
                assert!(data.len() <= 16 * 1024);
                received.extend_from_slice(&data);
            }
            Err(_) => trailers += 1,
        }
    }
    assert_eq!((received, trailers), (sent.concat(), 1));
}
