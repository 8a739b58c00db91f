use std::time::Duration;

use hashmesh::{
    error::{Reason, StatusBuilder, reason},
    gateway::v1::{
        AppendBatchRequest, ComputeDigestRequest, CreateSubmissionRequest, GetSubmissionRequest, ListResultsRequest,
        SubmitBatchRequest, submit_batch_request::Tasks,
    },
    limits::MAX_RESULTS_FRAME_BYTES,
    queue::v1::{self as queue, ListResultsResponse, StreamResultsResponse, stream_results_response::Frame},
    v1::{Completed, PackedOutcomes, PackedTasks, Results, Submission, SubmissionState},
};
use prost::Message as _;
use tonic::{Code, Request, Status};

use super::mesh::{ID, Mesh, batch};

fn outcomes(first_position: u64, count: u32) -> PackedOutcomes {
    PackedOutcomes {
        first_position,
        task_count: count,
        algorithms: vec![4],
        digests: vec![1; 64 * count as usize].into(),
        ..Default::default()
    }
}

fn frame(frame: Frame) -> Result<StreamResultsResponse, Status> {
    Ok(StreamResultsResponse { frame: Some(frame) })
}

fn submit(count: usize, wait: bool) -> SubmitBatchRequest {
    let columns = PackedTasks { data: vec![0; count].into(), lengths: vec![1; count], ..Default::default() };
    SubmitBatchRequest { tasks: Some(Tasks::Columns(columns)), wait, ..Default::default() }
}

#[tokio::test]
async fn the_gateway_is_ready_once_the_queue_answers() {
    let mesh = Mesh::start().await;
    tokio::time::timeout(Duration::from_secs(10), mesh.health.wait_serving()).await.unwrap();
}

#[tokio::test]
async fn waiting_outlives_a_lost_queue_and_gets_every_outcome_once() {
    let mesh = Mesh::start().await;
    let summary = Submission { submission_id: ID.to_owned(), ..Default::default() };
    {
        let mut script = mesh.queue.script.lock().unwrap();
        let recovering = || StatusBuilder::new(Reason::Recovering, "the queue is rebuilding its state").build();
        script.refusals = vec![("stream_results", recovering()), ("stream_results", recovering())];
        script.results = vec![
            frame(Frame::Results(Results { columns: vec![outcomes(1, 2)], through_position: 2, ..Default::default() })),
            frame(Frame::Completed(Completed {
                summary: Some(Submission { state: SubmissionState::Completed.into(), ..summary }),
            })),
        ];
    }
    let answer = mesh.client().submit_batch(submit(2, true)).await.unwrap().into_inner();
    assert_eq!(answer.submission.unwrap().state(), SubmissionState::Completed);
    assert_eq!(answer.outcomes.iter().map(|row| row.position).collect::<Vec<_>>(), [1, 2]);

    // Now the Queue has nothing scripted: each follow ends at once, until the deadline.
    let mut request = Request::new(submit(2, true));
    request.metadata_mut().insert("grpc-timeout", "600m".parse().unwrap());
    // The client has the same deadline, and may notice it first.
    let status = mesh.client().submit_batch(request).await.unwrap_err();
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status}");
    assert!(mesh.queue.script.lock().unwrap().calls.iter().filter(|call| **call == "stream_results").count() > 1);
}

#[tokio::test]
async fn outcomes_that_the_queue_has_at_once_are_not_asked_for_again() {
    let mesh = Mesh::start().await;
    let results = Results { columns: vec![outcomes(1, 2)], through_position: 2, ..Default::default() };
    let submission = Submission { state: SubmissionState::Completed.into(), ..Default::default() };
    let stored = queue::SubmitBatchResponse { submission: Some(submission), results: Some(results) };
    mesh.queue.script.lock().unwrap().stored = Some(stored);
    let answer = mesh.client().submit_batch(submit(2, true)).await.unwrap().into_inner();
    assert_eq!(answer.submission.unwrap().state(), SubmissionState::Completed);
    assert_eq!(answer.outcomes.iter().map(|row| row.position).collect::<Vec<_>>(), [1, 2]);
    assert!(!mesh.queue.script.lock().unwrap().calls.contains(&"stream_results"));
}

#[tokio::test]
async fn bad_requests_never_reach_the_queue() {
    let mesh = Mesh::start().await;
    let mut client = mesh.client();
    let refused = [
        client.submit_batch(SubmitBatchRequest::default()).await.map(drop),
        client.submit_batch(submit(0, false)).await.map(drop),
        client.submit_batch(submit(10_001, false)).await.map(drop),
        client.submit_batch(submit(1_001, true)).await.map(drop),
        client.append_batch(AppendBatchRequest { submission_id: ID.to_owned(), batch: None }).await.map(drop),
        client
            .append_batch(AppendBatchRequest { submission_id: "x".to_owned(), batch: Some(batch(0, b"a")) })
            .await
            .map(drop),
        client.get_submission(GetSubmissionRequest { submission_id: String::new() }).await.map(drop),
        client
            .list_results(ListResultsRequest { submission_id: ID.to_owned(), page_size: 10_001, ..Default::default() })
            .await
            .map(drop),
        client
            .compute_digest(ComputeDigestRequest {
                data: vec![0; (4 << 20) - (64 << 10) + 1].into(),
                ..Default::default()
            })
            .await
            .map(drop),
        // Above what is decoded at all: tonic's own error, with our details.
        client
            .compute_digest(ComputeDigestRequest { data: vec![0; 6 << 20].into(), ..Default::default() })
            .await
            .map(drop),
    ];
    for (index, result) in refused.into_iter().enumerate() {
        let status = result.unwrap_err();
        assert_eq!(reason(&status), Some(Reason::InvalidArgument), "{index}: {status}");
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    assert!(mesh.queue.script.lock().unwrap().calls.is_empty());
}

#[tokio::test]
async fn the_largest_batch_passes() {
    let mesh = Mesh::start().await;
    let bytes = (4 << 20) - (64 << 10);
    let columns = PackedTasks { data: vec![7; bytes].into(), lengths: vec![bytes as u32], ..Default::default() };
    let request = SubmitBatchRequest { tasks: Some(Tasks::Columns(columns.clone())), ..Default::default() };
    mesh.client().submit_batch(request).await.unwrap();
    let batch = mesh.queue.script.lock().unwrap().batch.take().unwrap();
    assert_eq!(PackedTasks::decode(batch.tasks).unwrap(), columns);
}

#[tokio::test]
async fn reads_are_repeated_once_and_creations_without_a_key_are_not() {
    let mesh = Mesh::start().await;
    let lost = || Status::unknown("connection reset");
    mesh.queue.script.lock().unwrap().refusals = vec![("get", lost())];
    mesh.client().get_submission(GetSubmissionRequest { submission_id: ID.to_owned() }).await.unwrap();

    mesh.queue.script.lock().unwrap().refusals = vec![("create", lost())];
    let create = |key: &str| CreateSubmissionRequest { idempotency_key: key.to_owned(), ..Default::default() };
    let status = mesh.client().create_submission(create("")).await.unwrap_err();
    assert_eq!(reason(&status), Some(Reason::UpstreamUnavailable));

    mesh.queue.script.lock().unwrap().refusals = vec![("create", lost())];
    mesh.client().create_submission(create("key")).await.unwrap();
    assert_eq!(mesh.queue.script.lock().unwrap().calls, ["get", "get", "create", "create", "create"]);
}

#[tokio::test]
async fn an_error_of_the_queue_is_not_asked_for_twice() {
    let mesh = Mesh::start().await;
    let not_found = StatusBuilder::new(Reason::SubmissionNotFound, "no such submission").build();
    mesh.queue.script.lock().unwrap().refusals = vec![("get", not_found)];
    let request = GetSubmissionRequest { submission_id: ID.to_owned() };
    let status = mesh.client().get_submission(request).await.unwrap_err();
    assert_eq!(reason(&status), Some(Reason::SubmissionNotFound));
    assert_eq!(mesh.queue.script.lock().unwrap().calls, ["get"]);
}

#[tokio::test]
async fn a_page_of_rows_is_cut_at_a_mebibyte_and_says_where_to_go_on() {
    let mesh = Mesh::start().await;
    mesh.queue.script.lock().unwrap().page =
        ListResultsResponse { outcomes: vec![outcomes(1, 10_000)], next_after_position: 10_000, end: true };
    let request = ListResultsRequest { submission_id: ID.to_owned(), page_size: 10_000, ..Default::default() };
    let page = mesh.client().list_results(request).await.unwrap().into_inner();
    assert!(page.encoded_len() <= MAX_RESULTS_FRAME_BYTES);
    assert!(!page.end);
    assert_eq!(page.next_after_position, page.outcomes.last().unwrap().position);
    assert_eq!(page.outcomes.len() as u64, page.next_after_position);
}
