//! The layers around services that answer as they are told, and what is counted of it.
//!
//! Counters are the process': each test has a method of its own.

use std::convert::Infallible;

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, future, stream};
use hashmesh::error::{Reason, StatusBuilder};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tonic::{Code, Status, body::Body};
use tower::{Layer as _, Service, service_fn};

use super::{answered::Answered, made::Made};
use crate::{
    metrics::{self, Section},
    tls::Role,
    trace::{self, TraceContext},
};

const GATEWAY: &str = "hashmesh.gateway.v1.GatewayService";
const CAUSE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn request(path: &str) -> Request<Body> {
    Request::builder().uri(path).body(Body::default()).unwrap()
}

/// The value of a series as it is scraped; 0 if there is none.
fn scraped(series: &str) -> u64 {
    let text = metrics::scrape();
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or(0)
}

fn answered_as(method: &str, code: &str) -> u64 {
    scraped(&format!("hashmesh_rpc_server_calls_total{{code=\"{code}\",method=\"{method}\"}}"))
}

fn measured(method: &str) -> u64 {
    scraped(&format!("hashmesh_rpc_server_seconds_count{{method=\"{method}\"}}"))
}

fn made_as(service: &str, code: &str) -> u64 {
    scraped(&format!("hashmesh_rpc_client_calls_total{{code=\"{code}\",service=\"{service}\"}}"))
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers).unwrap();
    trailers
}

/// A message, then these trailers.
fn message_and(status: &Status) -> Response<Body> {
    let frames = [Frame::data(Bytes::from_static(b"message")), Frame::trailers(trailers(status))];
    Response::new(Body::new(StreamBody::new(stream::iter(frames).map(Ok::<_, Status>))))
}

/// A message, and then nothing for ever.
fn endless() -> Response<Body> {
    let message = stream::iter([Ok::<_, Status>(Frame::data(Bytes::from_static(b"message")))]);
    Response::new(Body::new(StreamBody::new(message.chain(stream::pending()))))
}

/// Has a call answered so, and its answer read to the end.
async fn answer(path: &str, answer: impl Fn() -> Response<Body> + Clone + Send + 'static) {
    metrics::start(&[Section::Rpc]);
    let inner = service_fn(move |_: Request<Body>| future::ready(Ok::<_, Infallible>(answer())));
    let mut service = Answered::new(&[GATEWAY].into()).layer(inner);
    let response = service.call(request(path)).await.unwrap();
    let mut body = response.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    // Asking again, or dropping it, counts nothing more.
    assert!(body.frame().now_or_never().is_none_or(|frame| frame.is_none()));
}

#[tokio::test]
async fn a_call_counts_once_by_its_trailers() {
    let method = format!("{GATEWAY}/PauseWork");
    answer(&format!("/{method}"), || message_and(&Status::new(Code::Ok, ""))).await;
    answer(&format!("/{method}"), || message_and(&Status::not_found("no"))).await;
    assert_eq!([answered_as(&method, "OK"), answered_as(&method, "NOT_FOUND")], [1, 1]);
    assert_eq!(answered_as(&method, "CANCELLED"), 0);
    assert_eq!(measured(&method), 2);
}

#[tokio::test]
async fn a_call_without_a_message_counts_once_by_its_headers_with_its_reason() {
    let method = format!("{GATEWAY}/ResumeWork");
    let refused = || StatusBuilder::new(Reason::SequenceConflict, "no").build().into_http();
    let errors = || scraped("hashmesh_rpc_server_errors_total{reason=\"SEQUENCE_CONFLICT\"}");
    let (before, code) = (errors(), StatusBuilder::new(Reason::SequenceConflict, "").build().code());
    answer(&format!("/{method}"), refused).await;
    assert_eq!(answered_as(&method, super::end::code_name(code)), 1);
    assert_eq!((errors() - before, measured(&method)), (1, 1));
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_ends_without_trailers_is_no_success() {
    let method = format!("{GATEWAY}/GetControls");
    answer(&format!("/{method}"), || {
        let broken = stream::iter([Err::<Frame<Bytes>, _>(Status::data_loss("broken"))]);
        Response::new(Body::new(StreamBody::new(broken)))
    })
    .await;
    answer(&format!("/{method}"), || {
        let message = stream::iter([Ok::<_, Status>(Frame::data(Bytes::from_static(b"message")))]);
        Response::new(Body::new(StreamBody::new(message)))
    })
    .await;
    assert_eq!([answered_as(&method, "DATA_LOSS"), answered_as(&method, "UNKNOWN")], [1, 1]);
    assert_eq!(answered_as(&method, "OK"), 0);
}

#[tokio::test]
async fn whoever_goes_away_ends_a_call_as_cancelled_before_its_answer_and_within() {
    metrics::start(&[Section::Rpc]);
    let method = format!("{GATEWAY}/WatchSubmission");
    let never = service_fn(|_: Request<Body>| future::pending::<Result<Response<Body>, Infallible>>());
    let mut service = Answered::new(&[GATEWAY].into()).layer(never);
    let mut waiting = service.call(request(&format!("/{method}")));
    assert!(futures::poll!(&mut waiting).is_pending());
    assert_eq!(answered_as(&method, "CANCELLED"), 0);
    drop(waiting);
    assert_eq!(answered_as(&method, "CANCELLED"), 1);

    let streaming = service_fn(|_: Request<Body>| future::ready(Ok::<_, Infallible>(endless())));
    let mut service = Answered::new(&[GATEWAY].into()).layer(streaming);
    let mut body = service.call(request(&format!("/{method}"))).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(answered_as(&method, "CANCELLED"), 2);
    assert_eq!(measured(&method), 0, "how long a stream lives is up to its client");
}

#[tokio::test]
async fn what_a_peer_makes_up_and_what_is_not_mounted_is_unknown() {
    let before = answered_as("unknown", "UNIMPLEMENTED");
    let unimplemented = || Status::unimplemented("").into_http();
    answer(&format!("/{GATEWAY}/MadeUp"), unimplemented).await;
    answer("/made.up/Too", unimplemented).await;
    answer("/hashmesh.queue.v1.QueueService/GetQueueStats", unimplemented).await;
    assert_eq!(answered_as("unknown", "UNIMPLEMENTED") - before, 3);
    assert!(!metrics::scrape().contains("MadeUp"));
}

#[tokio::test]
async fn a_handler_finds_what_caused_its_call() {
    for method in ["PauseWork", "StreamResults"] {
        let inner = service_fn(|_: Request<Body>| async {
            let mut response = Status::new(Code::Ok, "").into_http();
            trace::outgoing(trace::current(), response.headers_mut());
            Ok::<_, Infallible>(response)
        });
        let mut service = Answered::new(&[GATEWAY].into()).layer(inner);
        let mut request = request(&format!("/{GATEWAY}/{method}"));
        trace::outgoing(TraceContext::parse(CAUSE), request.headers_mut());
        let response = service.call(request).await.unwrap();
        // No test of this crate exports spans.
        assert_eq!(response.headers().get(trace::HEADER).unwrap(), CAUSE);
    }
}

#[tokio::test]
async fn a_call_that_is_made_counts_once_and_tells_what_caused_it() {
    metrics::start(&[Section::Rpc]);
    let path = "/hashmesh.hash.v1.HashService/ComputeDigest";
    let before = ["OK", "NOT_FOUND", "CANCELLED", "UNAVAILABLE"].map(|code| made_as("hash", code));
    let channel = service_fn(|request: Request<Body>| async move {
        match request.headers().get("wanted").map(http::HeaderValue::as_bytes) {
            Some(b"error") => return Err("not connected"),
            Some(b"refusal") => return Ok(Status::not_found("").into_http()),
            Some(b"endless") => return Ok(endless()),
            _ => {}
        }
        assert_eq!(request.headers().get(trace::HEADER).unwrap(), CAUSE);
        Ok(message_and(&Status::new(Code::Ok, "")))
    });
    let mut made = Made::new(Role::Hash, channel);
    let call = trace::within(TraceContext::parse(CAUSE), async { made.call(request(path)).await });
    let body = call.await.unwrap().into_body();
    body.collect().await.unwrap();
    for wanted in ["error", "refusal", "endless"] {
        let mut request = request(path);
        request.headers_mut().insert("wanted", wanted.parse().unwrap());
        drop(made.call(request).await);
    }
    let after = ["OK", "NOT_FOUND", "CANCELLED", "UNAVAILABLE"].map(|code| made_as("hash", code));
    assert_eq!(after, before.map(|count| count + 1));
}
