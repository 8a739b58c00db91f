//! Batches in and out of turn, repeated and changed (promise 4).

use hashmesh::{
    error::Reason,
    gateway::v1::{AppendBatchRequest, OpenSubmission, SubmitBatchRequest, batch},
    v1::{Algorithm, PackedNames, PackedTasks, SubmissionOptions, SubmissionState},
};

use super::{batch_of, submit, whole};
use crate::support::{
    raw::{assert_refused, columns, inline, packed, rows},
    shared,
};

#[tokio::test]
async fn a_gap_is_refused_on_a_stream_that_lives_on_and_the_sequence_stays_free() {
    let mut gateway = shared::gateway().await;
    let (mut stream, opened) = gateway.open_new().await;
    stream.batch(1, packed(["second"])).await;
    let (sequence, status) = stream.rejected().await;
    assert_eq!(sequence, 1);
    assert_refused(&status, Reason::SequenceGap);
    stream.batch(0, packed(["first"])).await;
    stream.batch(1, packed(["second"])).await;
    stream.accepted(1).await;

    let append = |sequence| AppendBatchRequest {
        submission_id: opened.submission_id.clone(),
        batch: batch_of(sequence, packed(["third"])),
    };
    assert_refused(&gateway.append_batch(append(3)).await.expect_err("2 is next"), Reason::SequenceGap);
    assert_eq!(gateway.append_batch(append(2)).await.expect("its turn").into_inner().through_sequence, 2);
}

#[tokio::test]
async fn a_batch_that_the_gateway_refuses_leaves_its_sequence_free_too() {
    let gateway = shared::gateway().await;
    let (mut stream, _) = gateway.open_new().await;
    stream.batch(0, packed(Vec::<&str>::new())).await;
    let (sequence, status) = stream.rejected().await;
    assert_eq!(sequence, 0);
    assert_refused(&status, Reason::InvalidArgument);
    stream.batch(0, packed(["not empty"])).await;
    stream.accepted(0).await;
}

#[tokio::test]
async fn promise_4_a_repeated_batch_changes_nothing_and_another_under_its_number_is_refused() {
    let mut gateway = shared::gateway().await;
    let (mut stream, opened) = gateway.open_new().await;
    stream.batch(0, packed(["a", "b"])).await;
    stream.accepted(0).await;
    stream.batch(1, packed(["c"])).await;
    stream.accepted(1).await;
    // In both ways of sending, in both shapes.
    stream.batch(0, packed(["a", "b"])).await;
    stream.accepted(0).await;
    stream.batch(0, rows(vec![inline("", "a"), inline("", "b")])).await;
    stream.accepted(0).await;
    let append = |tasks: batch::Tasks| AppendBatchRequest {
        submission_id: opened.submission_id.clone(),
        batch: batch_of(0, tasks),
    };
    let again = gateway.append_batch(append(packed(["a", "b"]))).await.expect("the same tasks").into_inner();
    assert_eq!(again.through_sequence, 1);

    let named =
        PackedTasks { names: Some(PackedNames { data: "xy".into(), lengths: vec![1, 1] }), ..columns(["a", "b"]) };
    for other in
        [packed(["a", "B"]), packed(["ab", ""]), packed(["a"]), packed(["a", "b", ""]), batch::Tasks::Columns(named)]
    {
        stream.batch(0, other.clone()).await;
        let (sequence, status) = stream.rejected().await;
        assert_eq!(sequence, 0);
        assert_refused(&status, Reason::SequenceConflict);
        assert_refused(&gateway.append_batch(append(other)).await.expect_err("other tasks"), Reason::SequenceConflict);
    }
    stream.seal(2).await;
    stream.finish();
    stream.end().await.1.expect("it ends well");
    let end = gateway.reaches(&opened.submission_id, SubmissionState::Completed).await;
    assert_eq!((end.accepted_tasks, end.recorded_tasks), (3, 3));

    // Of a submission that has ended, the tables still know.
    let again = gateway.append_batch(append(packed(["a", "b"]))).await.expect("the same tasks").into_inner();
    assert_eq!(again.through_sequence, 1);
    let status = gateway.append_batch(append(packed(["z", "b"]))).await.expect_err("other tasks");
    assert_refused(&status, Reason::SequenceConflict);
}

#[tokio::test]
async fn a_batch_behind_the_seal_is_refused() {
    let mut gateway = shared::gateway().await;
    let (mut stream, opened) = gateway.open_new().await;
    stream.batch(0, packed(["a"])).await;
    stream.accepted(0).await;
    stream.seal(1).await;
    gateway.reaches(&opened.submission_id, SubmissionState::Completed).await;
    stream.batch(1, packed(["b"])).await;
    let status = loop {
        match stream.next().await {
            Ok(Some(hashmesh::gateway::v1::submit_tasks_response::Frame::Rejected(rejected))) => {
                break hashmesh::error::from_message(&rejected.status.expect("it says why"));
            }
            Ok(Some(_)) => {}
            other => panic!("wanted rejected, got {other:?}"),
        }
    };
    assert_refused(&status, Reason::SubmissionSealed);
    let append = AppendBatchRequest { submission_id: opened.submission_id, batch: batch_of(1, packed(["b"])) };
    assert_refused(&gateway.append_batch(append).await.expect_err("it is sealed"), Reason::SubmissionSealed);
}

#[tokio::test]
async fn a_batch_that_expects_a_digest_of_another_algorithm_is_refused_by_every_door() {
    let mut gateway = shared::gateway().await;
    let expecting_md5 = || {
        batch::Tasks::Columns(PackedTasks {
            expected: vec![0; 16].into(),
            expected_algorithms: vec![Algorithm::Md5 as i32],
            ..columns(["a"])
        })
    };
    let (mut stream, opened) = gateway.open_new().await;
    stream.batch(0, expecting_md5()).await;
    assert_refused(&stream.rejected().await.1, Reason::InvalidArgument);
    let append = AppendBatchRequest { submission_id: opened.submission_id, batch: batch_of(0, expecting_md5()) };
    assert_refused(&gateway.append_batch(append).await.expect_err("no MD5"), Reason::InvalidArgument);
    assert_refused(&submit(&mut gateway, whole(expecting_md5())).await.expect_err("no MD5"), Reason::InvalidArgument);

    let options = SubmissionOptions { algorithms: vec![Algorithm::Md5 as i32], ..SubmissionOptions::default() };
    let request = SubmitBatchRequest { options: Some(options), wait: true, ..whole(expecting_md5()) };
    let answer = submit(&mut gateway, request).await.expect("MD5 is computed");
    assert_eq!(answer.outcomes[0].status(), hashmesh::v1::OutcomeStatus::Mismatched);
}

#[tokio::test]
async fn a_client_that_ignores_the_window_is_slowed_and_not_cut() {
    let gateway = shared::gateway().await;
    let (mut stream, opened) = gateway.open(OpenSubmission::default()).await.expect("it opens");
    let count = opened.limits.expect("they are announced").window_batches * 4;
    for sequence in 0..count {
        stream.batch(sequence, packed([format!("{sequence}")])).await;
    }
    stream.accepted(count - 1).await;
    stream.finish();
    stream.end().await.1.expect("it ends well");
}
