//! What caused a piece of work reaches whoever does it, and what was done is counted.

use hashmesh::{
    gateway::v1::{
        AppendBatchRequest, Batch, OpenSubmission, StreamResultsRequest, SubmitTasksRequest,
        stream_results_response::Frame as Out, submit_tasks_request::Frame as In,
        submit_tasks_response::Frame as Submitted,
    },
    queue::v1::{StreamResultsResponse, stream_results_response::Frame, write_submission_response::Frame as QueueOut},
    v1::{PackedOutcomes, Results},
};
use hashmesh_runtime::{
    metrics::{self, Section},
    trace::HEADER,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;

use super::mesh::{ClientStream, ID, Mesh, batch};

const CAUSE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const ANOTHER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn caused<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(HEADER, CAUSE.parse().unwrap());
    request
}

fn traced_results() -> Results {
    let columns = PackedOutcomes {
        first_position: 1,
        task_count: 3,
        algorithms: vec![4],
        digests: vec![1; 64 * 3].into(),
        ..Default::default()
    };
    Results {
        columns: vec![columns],
        through_position: 3,
        traceparents: vec![ANOTHER.to_owned()],
        ..Default::default()
    }
}

/// The value of a series that this process exports.
fn scraped(series: &str) -> f64 {
    let text = metrics::scrape();
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("{series} is not exported"))
}

#[tokio::test]
async fn a_batch_belongs_to_what_it_says_or_else_to_what_its_stream_said_which_the_queue_is_told_too() {
    let mut mesh = Mesh::start().await;
    let (outbound, frames) = mpsc::channel(1);
    let request = caused(ReceiverStream::<SubmitTasksRequest>::new(frames));
    let inbound = mesh.client().submit_tasks(request).await.unwrap().into_inner();
    let mut client = ClientStream { outbound: Some(outbound), inbound };
    client.send(In::Open(OpenSubmission::default())).await;
    let mut queue = mesh.queue.accept().await;
    assert!(matches!(client.receive().await, Submitted::Opened(_)));
    assert_eq!(queue.metadata.get(HEADER).unwrap(), CAUSE);
    for (sequence, said, wanted) in [(0, "", CAUSE), (1, ANOTHER, ANOTHER), (2, "malformed", CAUSE)] {
        client.send(In::Batch(Batch { traceparent: said.to_owned(), ..batch(sequence, b"x") })).await;
        assert_eq!(queue.receive_batch().await.traceparent, wanted);
    }
    queue.send(QueueOut::Results(traced_results())).await;
    let Submitted::Results(results) = client.receive().await else { panic!("wanted results") };
    assert_eq!((results.traceparents, results.rows.len()), (vec![ANOTHER.to_owned()], 3));
}

#[tokio::test]
async fn what_is_not_traced_is_passed_on_without_a_cause() {
    let mut mesh = Mesh::start().await;
    let (client, mut queue) = mesh.open(OpenSubmission::default()).await;
    client.send_batch(0, b"x").await;
    assert_eq!(queue.receive_batch().await.traceparent, "");
    assert!(queue.metadata.get(HEADER).is_none());
}

#[tokio::test]
async fn a_batch_of_a_unary_call_belongs_to_the_call() {
    let mesh = Mesh::start().await;
    let request = AppendBatchRequest { submission_id: ID.to_owned(), batch: Some(batch(0, b"x")) };
    mesh.client().append_batch(caused(request)).await.unwrap();
    assert_eq!(mesh.queue.script.lock().unwrap().batch.take().unwrap().traceparent, CAUSE);
}

#[tokio::test]
async fn every_metric_is_there_from_the_start_and_counts() {
    metrics::start(&[Section::Rpc, Section::Gateway]);
    for (name, values) in [
        ("hashmesh_gateway_limit_decisions_total", "{decision=\"refused\",limit=\"key\"}"),
        ("hashmesh_gateway_limit_counts_total", "{place=\"shared\"}"),
        ("hashmesh_gateway_shed_calls_total", "{kind=\"stream\"}"),
        ("hashmesh_gateway_refused_callers_total", "{reason=\"unauthenticated\"}"),
        ("hashmesh_gateway_ended_streams_total", "{reason=\"age\"}"),
        ("hashmesh_gateway_uploaded_bytes_total", ""),
        ("hashmesh_gateway_coalesced_digests_total", ""),
        ("hashmesh_rpc_client_retries_total", "{service=\"cache\"}"),
    ] {
        assert!(scraped(&format!("{name}{values}")) >= 0.0, "{name}");
    }
    let passed = "hashmesh_gateway_batches_total{result=\"passed\"}";
    let refused = "hashmesh_gateway_batches_total{result=\"refused\"}";
    let (tasks, bytes) = ("hashmesh_gateway_tasks_total", "hashmesh_gateway_task_bytes_total");
    let outcomes = "hashmesh_gateway_outcomes_total";
    let counted = [passed, refused, tasks, bytes, outcomes];
    let before = counted.map(scraped);

    let mut mesh = Mesh::start().await;
    let (mut client, mut queue) = mesh.open(OpenSubmission::default()).await;
    assert!(scraped("hashmesh_gateway_streams{kind=\"submit\"}") >= 1.0);
    assert!(scraped("hashmesh_gateway_call_places{state=\"all\"}") >= 1.0);
    assert!(scraped("hashmesh_rpc_server_connections") >= 1.0);
    assert!(scraped(&format!("hashmesh_breaker_state{{breaker=\"{}\"}}", mesh.queue.url)).abs() < f64::EPSILON);
    client.send_batch(0, b"four").await;
    queue.receive_batch().await;
    client.send(In::Batch(Batch { sequence: 1, ..Batch::default() })).await;
    assert!(matches!(client.receive().await, Submitted::Rejected(_)));
    mesh.queue.script.lock().unwrap().results =
        vec![Ok(StreamResultsResponse { frame: Some(Frame::Results(traced_results())) })];
    let request = StreamResultsRequest { submission_id: ID.to_owned(), ..Default::default() };
    let mut stream = mesh.client().stream_results(request).await.unwrap().into_inner();
    assert!(matches!(stream.message().await.unwrap().unwrap().frame, Some(Out::Results(_))));
    assert!(stream.message().await.unwrap().is_none());
    // Other tests of the process count too.
    for ((series, before), more) in counted.into_iter().zip(before).zip([1.0, 1.0, 1.0, 4.0, 3.0]) {
        assert!(scraped(series) >= before + more, "{series}");
    }
}
