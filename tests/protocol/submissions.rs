//! Cancels, seals, resumes, and what becomes of a submission.

use base64::Engine as _;
use hashmesh::{
    error::Reason,
    gateway::v1::{
        AppendBatchRequest, CancelSubmissionRequest, CreateSubmissionRequest, OpenSubmission, SealSubmissionRequest,
        WatchSubmissionRequest, watch_submission_response,
    },
    v1::{Submission, SubmissionState, WaitReason},
};
use prost::Message as _;
use tonic::Status;

use super::{batch_of, completed};
use crate::support::{
    Gateway,
    cli::program,
    raw::{Frame, assert_refused, file, inline, packed, rows},
    shared,
    wait::{PATIENCE, soon, until},
};

const UNKNOWN: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

async fn create(gateway: &mut Gateway) -> String {
    let created = gateway.create_submission(CreateSubmissionRequest::default()).await.expect("it is created");
    created.into_inner().opened.expect("the answer has it").submission_id
}

async fn append(gateway: &mut Gateway, submission_id: &str, sequence: u32, inputs: &[&str]) -> Result<u32, Status> {
    let batch = batch_of(sequence, packed(inputs));
    let request = AppendBatchRequest { submission_id: submission_id.to_owned(), batch };
    Ok(gateway.append_batch(request).await?.into_inner().through_sequence)
}

async fn seal(gateway: &mut Gateway, submission_id: &str, batch_count: u32) -> Result<Submission, Status> {
    let request = SealSubmissionRequest { submission_id: submission_id.to_owned(), batch_count };
    Ok(gateway.seal_submission(request).await?.into_inner().submission.expect("the answer has it"))
}

async fn cancel(gateway: &mut Gateway, submission_id: &str) -> Result<Submission, Status> {
    let request = CancelSubmissionRequest { submission_id: submission_id.to_owned() };
    Ok(gateway.cancel_submission(request).await?.into_inner().submission.expect("the answer has it"))
}

#[tokio::test]
async fn the_unary_twins_do_what_the_stream_does() {
    let mut gateway = shared::gateway().await;
    let id = create(&mut gateway).await;
    assert_eq!(append(&mut gateway, &id, 0, &["a", "b"]).await.expect("in turn"), 0);
    assert_eq!(append(&mut gateway, &id, 1, &["c"]).await.expect("in turn"), 1);
    let open = gateway.submission(&id).await;
    assert_eq!((open.state(), open.next_sequence, open.accepted_tasks), (SubmissionState::Open, 2, 3));
    assert!(open.create_time.is_some() && open.end_time.is_none());
    seal(&mut gateway, &id, 2).await.expect("two are stored");
    let end = gateway.reaches(&id, SubmissionState::Completed).await;
    assert_eq!((end.recorded_tasks, end.succeeded_tasks, end.hashed_bytes), (3, 3, 3));
    assert!(end.end_time.is_some());
    assert_eq!(gateway.outcomes_after(&id, 0).await.len(), 3);
}

#[tokio::test]
async fn a_seal_must_count_right_and_its_repeat_changes_nothing() {
    let mut gateway = shared::gateway().await;
    let id = create(&mut gateway).await;
    append(&mut gateway, &id, 0, &["a"]).await.expect("in turn");
    for wrong in [0, 2] {
        let status = seal(&mut gateway, &id, wrong).await.expect_err("one is stored");
        assert_refused(&status, Reason::SealCountMismatch);
    }
    assert_eq!(gateway.submission(&id).await.state(), SubmissionState::Open);
    seal(&mut gateway, &id, 1).await.expect("one is stored");
    seal(&mut gateway, &id, 1).await.expect("a double seal");
    gateway.reaches(&id, SubmissionState::Completed).await;
    seal(&mut gateway, &id, 1).await.expect("a double seal, late");
    assert_refused(&seal(&mut gateway, &id, 2).await.expect_err("one is stored"), Reason::SealCountMismatch);
}

#[tokio::test]
async fn an_empty_seal_completes_at_once() {
    let mut gateway = shared::gateway().await;
    let id = create(&mut gateway).await;
    assert_eq!(seal(&mut gateway, &id, 0).await.expect("none is stored").state(), SubmissionState::Completed);
    assert_eq!(gateway.outcomes_after(&id, 0).await.len(), 0);

    let (mut stream, _) =
        gateway.open(OpenSubmission { results: true, ..OpenSubmission::default() }).await.expect("opens");
    stream.seal(0).await;
    stream.finish();
    let (frames, end) = stream.end().await;
    end.expect("it ends well");
    assert!(matches!(frames.last(), Some(Frame::Completed(_))), "{frames:?}");
}

#[tokio::test]
async fn a_wrong_seal_ends_its_stream_and_a_right_one_twice_does_not() {
    let mut gateway = shared::gateway().await;
    let (mut stream, opened) = gateway.open_new().await;
    stream.batch(0, packed(["a"])).await;
    stream.accepted(0).await;
    stream.seal(5).await;
    assert_refused(&stream.fails().await, Reason::SealCountMismatch);

    let id = opened.submission_id;
    let open = OpenSubmission { submission_id: id.clone(), ..OpenSubmission::default() };
    let (mut stream, _) = gateway.open(open).await.expect("it opens again");
    stream.seal(1).await;
    stream.seal(1).await;
    stream.finish();
    stream.end().await.1.expect("it ends well");
    gateway.reaches(&id, SubmissionState::Completed).await;
}

#[tokio::test]
async fn two_cancels_are_one_and_what_was_unresolved_is_counted_as_cancelled() {
    let mut gateway = shared::gateway().await;
    let id = create(&mut gateway).await;
    // Nobody may read it: it stays unresolved.
    let outside = file("outside", std::path::Path::new("/outside/of/every/root"));
    let batch = batch_of(0, rows(vec![outside]));
    gateway.append_batch(AppendBatchRequest { submission_id: id.clone(), batch }).await.expect("in turn");
    append(&mut gateway, &id, 1, &["a", "b"]).await.expect("in turn");
    until("the inline tasks to be recorded", PATIENCE, async || {
        (gateway.submission(&id).await.recorded_tasks == 2).then_some(())
    })
    .await;
    for _ in 0..2 {
        let end = cancel(&mut gateway, &id).await.expect("a cancel");
        assert_eq!(end.state(), SubmissionState::Cancelled);
        assert_eq!((end.accepted_tasks, end.recorded_tasks, end.cancelled_tasks), (3, 2, 1));
        assert!(end.end_time.is_some());
    }
    assert_refused(&append(&mut gateway, &id, 2, &["c"]).await.expect_err("cancelled"), Reason::SubmissionCancelled);
    assert_refused(&seal(&mut gateway, &id, 2).await.expect_err("cancelled"), Reason::SubmissionCancelled);
    // Its outcomes stay, and its streams end.
    assert_eq!(gateway.outcomes_after(&id, 0).await.len(), 2);
}

#[tokio::test]
async fn two_cancels_at_once_agree() {
    let mut gateway = shared::gateway().await;
    let id = create(&mut gateway).await;
    append(&mut gateway, &id, 0, &["a"]).await.expect("in turn");
    let (mut one, mut other) = (gateway.clone(), gateway.clone());
    let (first, second) = tokio::join!(cancel(&mut one, &id), cancel(&mut other, &id));
    assert_eq!(first.expect("a cancel").state(), SubmissionState::Cancelled);
    assert_eq!(second.expect("a cancel").state(), SubmissionState::Cancelled);
}

#[tokio::test]
async fn a_completed_submission_cannot_be_cancelled() {
    let mut gateway = shared::gateway().await;
    let id = completed(&mut gateway, &["a"]).await;
    assert_refused(&cancel(&mut gateway, &id).await.expect_err("completed"), Reason::SubmissionCompleted);
    assert_eq!(gateway.submission(&id).await.state(), SubmissionState::Completed);
}

#[tokio::test]
async fn what_does_not_exist_is_not_found_by_every_call() {
    let mut gateway = shared::gateway().await;
    let id = UNKNOWN.to_owned();
    let open = OpenSubmission { submission_id: id.clone(), ..OpenSubmission::default() };
    assert_refused(&gateway.open(open).await.expect_err("unknown"), Reason::SubmissionNotFound);
    assert_refused(&append(&mut gateway, &id, 0, &["a"]).await.expect_err("unknown"), Reason::SubmissionNotFound);
    assert_refused(&seal(&mut gateway, &id, 0).await.expect_err("unknown"), Reason::SubmissionNotFound);
    assert_refused(&cancel(&mut gateway, &id).await.expect_err("unknown"), Reason::SubmissionNotFound);
    let request = hashmesh::gateway::v1::GetSubmissionRequest { submission_id: id.clone() };
    assert_refused(&gateway.get_submission(request).await.expect_err("unknown"), Reason::SubmissionNotFound);
    let request = hashmesh::gateway::v1::ListResultsRequest { submission_id: id.clone(), ..Default::default() };
    assert_refused(&gateway.list_results(request).await.expect_err("unknown"), Reason::SubmissionNotFound);
    let request = hashmesh::gateway::v1::StreamResultsRequest { submission_id: id.clone(), ..Default::default() };
    assert_refused(&gateway.results(request).await.expect_err("unknown"), Reason::SubmissionNotFound);
    let request = hashmesh::gateway::v1::RetryTasksRequest { submission_id: id.clone(), ..Default::default() };
    assert_refused(&gateway.retry_tasks(request).await.expect_err("unknown"), Reason::SubmissionNotFound);
    let mut watch = gateway.clone();
    let watching = async {
        let mut frames = watch.watch_submission(WatchSubmissionRequest { submission_id: id }).await?.into_inner();
        frames.message().await
    };
    assert_refused(&soon("WatchSubmission", watching).await.expect_err("unknown"), Reason::SubmissionNotFound);
}

#[tokio::test]
async fn a_finished_submission_opens_again_and_says_so() {
    let mut gateway = shared::gateway().await;
    let id = completed(&mut gateway, &["a", "b"]).await;
    let open = OpenSubmission { submission_id: id.clone(), results: true, ..OpenSubmission::default() };
    let (mut stream, opened) = gateway.open(open).await.expect("it opens");
    assert_eq!((opened.state(), opened.next_sequence, opened.accepted_tasks), (SubmissionState::Completed, 1, 2));
    // A rerun that does not know sends the same again, seals again, and is answered as if it were the first.
    stream.batch(0, packed(["a", "b"])).await;
    stream.seal(1).await;
    stream.finish();
    let (frames, end) = stream.end().await;
    end.expect("it ends well");
    let accepted = frames.iter().any(|frame| matches!(frame, Frame::Accepted(_)));
    let outcomes = frames.iter().filter_map(|frame| match frame {
        Frame::Results(results) => Some(results.rows.len()),
        _ => None,
    });
    assert_eq!((accepted, outcomes.sum::<usize>()), (true, 2), "{frames:?}");
    assert!(frames.iter().any(|frame| matches!(frame, Frame::Completed(_))), "{frames:?}");
}

#[tokio::test]
async fn a_watch_shows_the_submission_now_and_ends_after_its_final_state() {
    let mut gateway = shared::gateway().await;
    let id = create(&mut gateway).await;
    let request = WatchSubmissionRequest { submission_id: id.clone() };
    let mut frames = gateway.watch_submission(request).await.expect("it can be watched").into_inner();
    let mut states = Vec::new();
    while let Some(frame) = soon("a state", frames.message()).await.expect("the stream lives") {
        let Some(watch_submission_response::Frame::Submission(submission)) = frame.frame else { continue };
        if states.is_empty() {
            append(&mut gateway, &id, 0, &["a"]).await.expect("in turn");
            seal(&mut gateway, &id, 1).await.expect("one is stored");
        }
        states.push(submission);
    }
    assert_eq!(states[0].state(), SubmissionState::Open);
    let last = states.last().expect("there was one");
    assert_eq!((last.state(), last.recorded_tasks), (SubmissionState::Completed, 1));
}

#[tokio::test]
async fn tasks_that_no_worker_may_read_wait_and_say_why() {
    let mut gateway = shared::gateway().await;
    let id = create(&mut gateway).await;
    let outside = file("outside", std::path::Path::new("/outside/of/every/root"));
    let batch = batch_of(0, rows(vec![outside, inline("inline", "a")]));
    gateway.append_batch(AppendBatchRequest { submission_id: id.clone(), batch }).await.expect("in turn");
    let waiting = until("it to wait for a worker", PATIENCE, async || {
        let submission = gateway.submission(&id).await;
        (submission.wait_reason() == WaitReason::WaitingForWorker).then_some(submission)
    })
    .await;
    assert_eq!(waiting.failed_tasks, 0);
    cancel(&mut gateway, &id).await.expect("a cancel");
}

#[tokio::test]
async fn a_deadline_ends_a_wait_as_such_and_leaves_the_submission_running() {
    let mut gateway = shared::gateway().await;
    let outside = file("outside", std::path::Path::new("/outside/of/every/root"));
    let key = format!("deadline-{:032x}", rand::random::<u128>());
    let submit = hashmesh::gateway::v1::SubmitBatchRequest {
        wait: true,
        idempotency_key: key,
        ..super::whole(rows(vec![outside]))
    };
    // By curl: every client that knows `grpc-timeout` also has a timer of its own, which would end the call first.
    let message = submit.encode_to_vec();
    let length = u32::try_from(message.len()).expect("a small message").to_be_bytes();
    let url = format!("{}/hashmesh.gateway.v1.GatewayService/SubmitBatch", shared::up().await.server);
    let headers = ["-H", "content-type: application/grpc", "-H", "te: trailers", "-H", "grpc-timeout: 400m"];
    let curl = program("curl", ["-sS", "--http2-prior-knowledge", "-D", "-", "--data-binary", "@-", &url]);
    let curl = headers.into_iter().fold(curl, crate::support::cli::Run::arg);
    let answer = curl.stdin([&[0][..], &length, &message].concat()).run().await.succeeded().text();
    let header = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let code = header("grpc-status").unwrap_or_else(|| panic!("no status in {answer}")).trim();
    assert_eq!(code, (tonic::Code::DeadlineExceeded as i32).to_string(), "{answer}");
    let details = header("grpc-status-details-bin").expect("an error of ours says why").trim();
    let details = base64::prelude::BASE64_STANDARD_NO_PAD.decode(details.trim_end_matches('=')).expect("base64");
    let status = Status::with_details(tonic::Code::DeadlineExceeded, "as sent", details.into());
    assert_refused(&status, Reason::DeadlineExceeded);
    let again = hashmesh::gateway::v1::SubmitBatchRequest { wait: false, ..submit };
    let found = gateway.submit_batch(again).await.expect("it is stored").into_inner().submission.expect("it has it");
    assert_eq!(found.state(), SubmissionState::Sealed);
    cancel(&mut gateway, &found.submission_id).await.expect("a cancel");
}
