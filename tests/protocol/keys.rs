//! Idempotency keys: a rerun finds its submission, and nothing else's.

use hashmesh::{
    error::Reason,
    gateway::v1::{CreateSubmissionRequest, OpenSubmission, SubmitBatchRequest},
    v1::{Algorithm, SubmissionOptions, SubmissionState},
};

use super::{submit, whole};
use crate::support::{
    raw::{assert_refused, packed},
    shared,
};

fn new_key() -> String {
    format!("key-{:032x}", rand::random::<u128>())
}

fn other_options() -> Option<SubmissionOptions> {
    Some(SubmissionOptions { max_attempts: 7, ..SubmissionOptions::default() })
}

#[tokio::test]
async fn every_door_finds_the_submission_of_a_key_and_refuses_other_options() {
    let mut gateway = shared::gateway().await;
    let key = new_key();
    let open = |options| OpenSubmission { idempotency_key: key.clone(), options, ..OpenSubmission::default() };
    let (mut stream, first) = gateway.open(open(None)).await.expect("it opens");
    stream.batch(0, packed(["a"])).await;
    stream.accepted(0).await;
    drop(stream);

    // Defaults that are written out are the same options.
    let spelled_out = SubmissionOptions { max_attempts: 5, algorithms: vec![2], ..SubmissionOptions::default() };
    for options in [None, Some(SubmissionOptions::default()), Some(spelled_out)] {
        let (_, again) = gateway.open(open(options)).await.expect("it opens");
        assert_eq!((&again.submission_id, again.next_sequence), (&first.submission_id, 1));
    }
    let create = |options| CreateSubmissionRequest { idempotency_key: key.clone(), options };
    let parts = |part_bytes: u64| {
        let algorithms = vec![Algorithm::Md5Composite.into()];
        let options = SubmissionOptions { algorithms, part_bytes, ..SubmissionOptions::default() };
        CreateSubmissionRequest { idempotency_key: format!("{key} parts"), options: Some(options) }
    };
    let of_parts = gateway.create_submission(parts(5 << 20)).await.expect("it is new").into_inner();
    assert_eq!(gateway.create_submission(parts(5 << 20)).await.expect("it is found").into_inner(), of_parts);
    let status = gateway.create_submission(parts(8 << 20)).await.expect_err("parts of another size");
    assert_refused(&status, Reason::IdempotencyConflict);
    let created = gateway.create_submission(create(None)).await.expect("it is found").into_inner();
    assert_eq!(created.opened.expect("the answer has it").submission_id, first.submission_id);

    assert_refused(&gateway.open(open(other_options())).await.expect_err("others"), Reason::IdempotencyConflict);
    let status = gateway.create_submission(create(other_options())).await.expect_err("others");
    assert_refused(&status, Reason::IdempotencyConflict);

    // A whole batch under the key of a submission that was begun: the same first batch finishes it.
    let request =
        |input: &str| SubmitBatchRequest { idempotency_key: key.clone(), wait: true, ..whole(packed([input])) };
    assert_refused(&submit(&mut gateway, request("b")).await.expect_err("other tasks"), Reason::SequenceConflict);
    let answer = submit(&mut gateway, request("a")).await.expect("the same tasks");
    assert_eq!(answer.submission.expect("the answer has it").submission_id, first.submission_id);
}

#[tokio::test]
async fn a_whole_batch_is_submitted_once_however_often_it_is_sent() {
    let mut gateway = shared::gateway().await;
    let key = new_key();
    let request = |input: &str, options| SubmitBatchRequest {
        idempotency_key: key.clone(),
        options,
        wait: true,
        ..whole(packed([input]))
    };
    let first = submit(&mut gateway, request("a", None)).await.expect("it is accepted");
    let again = submit(&mut gateway, request("a", None)).await.expect("it is found");
    assert_eq!(first, again);
    assert_refused(&submit(&mut gateway, request("b", None)).await.expect_err("other tasks"), Reason::SequenceConflict);
    let status = submit(&mut gateway, request("a", other_options())).await.expect_err("other options");
    assert_refused(&status, Reason::IdempotencyConflict);
}

#[tokio::test]
async fn many_calls_at_once_with_one_key_make_one_submission() {
    let gateway = shared::gateway().await;
    let key = new_key();
    let calls = (0..16).map(|_| {
        let (mut gateway, key) = (gateway.clone(), key.clone());
        async move {
            let request = SubmitBatchRequest { idempotency_key: key, wait: true, ..whole(packed(["a"])) };
            // Any of them may be told to try again: it lost the race for the key.
            loop {
                match submit(&mut gateway, request.clone()).await {
                    Ok(answer) => break answer.submission.expect("the answer has it"),
                    Err(status) => assert!(hashmesh::error::retry_after(&status).is_some(), "{status:?}"),
                }
            }
        }
    });
    let submissions = futures::future::join_all(calls).await;
    for submission in &submissions {
        assert_eq!(submission.submission_id, submissions[0].submission_id);
        assert_eq!((submission.state(), submission.recorded_tasks), (SubmissionState::Completed, 1));
    }
}

#[tokio::test]
async fn without_a_key_every_call_makes_a_new_submission() {
    let mut gateway = shared::gateway().await;
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let answer = submit(&mut gateway, whole(packed(["a"]))).await.expect("it is accepted");
        ids.insert(answer.submission.expect("the answer has it").submission_id);
    }
    assert_eq!(ids.len(), 3);
}
