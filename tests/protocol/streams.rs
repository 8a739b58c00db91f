//! Streams and frames in and out of turn.

use std::time::Duration;

use hashmesh::{
    error::Reason,
    gateway::v1::{OpenSubmission, SubmitTasksRequest, submit_tasks_request},
    v1::{Pong, SubmissionState},
};

use crate::support::{
    raw::{Frame, assert_refused, packed},
    shared,
    wait::stays_pending,
};

#[tokio::test]
async fn the_first_frame_must_be_open() {
    let gateway = shared::gateway().await;
    let seal = submit_tasks_request::Frame::Seal(hashmesh::v1::Seal { batch_count: 0 });
    for frame in [seal, submit_tasks_request::Frame::Pong(Pong { number: 1 })] {
        let mut stream = gateway.stream();
        stream.send(frame).await;
        assert_refused(&stream.fails().await, Reason::ProtocolViolation);
    }
    let mut stream = gateway.stream();
    stream.batch(0, packed(["a"])).await;
    assert_refused(&stream.fails().await, Reason::ProtocolViolation);
    let mut stream = gateway.stream();
    stream.finish();
    assert_refused(&stream.fails().await, Reason::ProtocolViolation);
}

#[tokio::test]
async fn a_second_open_and_an_empty_frame_are_refused() {
    let gateway = shared::gateway().await;
    let (mut stream, opened) = gateway.open_new().await;
    let again = OpenSubmission { submission_id: opened.submission_id, ..OpenSubmission::default() };
    stream.send(submit_tasks_request::Frame::Open(again)).await;
    assert_refused(&stream.fails().await, Reason::ProtocolViolation);

    let mut frames = gateway.clone();
    let open = submit_tasks_request::Frame::Open(OpenSubmission::default());
    let frames = frames
        .submit_tasks(futures::stream::iter([
            SubmitTasksRequest { frame: Some(open) },
            SubmitTasksRequest { frame: None },
        ]))
        .await
        .expect("headers");
    let mut frames = frames.into_inner();
    let status = loop {
        match frames.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("an empty frame is no frame"),
            Err(status) => break status,
        }
    };
    assert_refused(&status, Reason::ProtocolViolation);
}

#[tokio::test]
async fn an_id_beside_options_or_a_key_is_refused() {
    let mut gateway = shared::gateway().await;
    let submission_id = super::completed(&mut gateway, &["a"]).await;
    let existing = || OpenSubmission { submission_id: submission_id.clone(), ..OpenSubmission::default() };
    let with_options = OpenSubmission { options: Some(hashmesh::v1::SubmissionOptions::default()), ..existing() };
    let with_key = OpenSubmission { idempotency_key: "key".to_owned(), ..existing() };
    for open in [with_options, with_key] {
        assert_refused(&gateway.open(open).await.expect_err("contradictory"), Reason::InvalidArgument);
    }
}

#[tokio::test]
async fn a_second_writer_takes_over_and_the_first_is_told() {
    let gateway = shared::gateway().await;
    let (mut first, opened) = gateway.open_new().await;
    first.batch(0, packed(["a"])).await;
    first.accepted(0).await;
    let open = OpenSubmission { submission_id: opened.submission_id, ..OpenSubmission::default() };
    let (mut second, again) = gateway.open(open.clone()).await.expect("it opens");
    assert_eq!(again.next_sequence, 1);
    assert_refused(&first.fails().await, Reason::WriterReplaced);
    second.batch(1, packed(["b"])).await;
    second.accepted(1).await;
    // Unary calls neither claim the writer nor need it.
    let mut unary = gateway.clone();
    let append = hashmesh::gateway::v1::AppendBatchRequest {
        submission_id: open.submission_id.clone(),
        batch: super::batch_of(2, packed(["c"])),
    };
    unary.append_batch(append).await.expect("in turn");
    second.batch(3, packed(["d"])).await;
    second.accepted(3).await;
    let (_third, _) = gateway.open(open).await.expect("it opens");
    assert_refused(&second.fails().await, Reason::WriterReplaced);
}

#[tokio::test]
async fn half_closing_waits_for_acknowledgements_and_leaves_the_submission_open() {
    let mut gateway = shared::gateway().await;
    let (mut stream, opened) = gateway.open_new().await;
    for sequence in 0..20 {
        stream.batch(sequence, packed([format!("{sequence}")])).await;
    }
    stream.finish();
    let (frames, end) = stream.end().await;
    end.expect("it ends well");
    let through = frames.iter().filter_map(|frame| match frame {
        Frame::Accepted(accepted) => Some(accepted.through_sequence),
        _ => None,
    });
    assert_eq!(through.max(), Some(19), "{frames:?}");
    assert_eq!(gateway.submission(&opened.submission_id).await.state(), SubmissionState::Open);
}

#[tokio::test]
async fn half_closing_with_results_waits_for_the_end_of_the_submission() {
    let mut gateway = shared::gateway().await;
    let open = OpenSubmission { results: true, ..OpenSubmission::default() };
    let (mut stream, opened) = gateway.open(open).await.expect("it opens");
    stream.batch(0, packed(["a", "b", "c"])).await;
    stream.accepted(0).await;
    stream.finish();
    let mut seen = 0;
    while seen < 3 {
        match stream.next().await.expect("the stream lives") {
            Some(Frame::Results(results)) => seen += results.rows.len(),
            other => panic!("wanted results, got {other:?}"),
        }
    }
    // Not sealed: it may still get more.
    stays_pending("a submission that is open has not ended", Duration::from_millis(300), stream.next()).await;
    let seal = hashmesh::gateway::v1::SealSubmissionRequest { submission_id: opened.submission_id, batch_count: 1 };
    gateway.seal_submission(seal).await.expect("one is stored");
    let (frames, end) = stream.end().await;
    end.expect("it ends well");
    assert!(matches!(&frames[..], [Frame::Completed(_)]), "{frames:?}");
}

#[tokio::test]
async fn a_sealed_submission_says_completed_on_its_stream_without_results_too() {
    let gateway = shared::gateway().await;
    let (mut stream, _) = gateway.open_new().await;
    stream.batch(0, packed(["a"])).await;
    stream.accepted(0).await;
    stream.seal(1).await;
    let completed = stream.next().await.expect("the stream lives");
    let Some(Frame::Completed(completed)) = completed else { panic!("wanted completed, got {completed:?}") };
    assert_eq!(completed.summary.expect("it has one").recorded_tasks, 1);
    stream.finish();
    stream.end().await.1.expect("it ends well");
}

#[tokio::test]
async fn pings_come_and_only_a_client_that_promised_to_answer_is_cut_for_its_silence() {
    let gateway = shared::gateway().await;
    let promised = OpenSubmission { answers_pings: true, ..OpenSubmission::default() };
    let (mut silent, _) = gateway.open(promised.clone()).await.expect("it opens");
    let (mut answering, _) = gateway.open(promised.clone()).await.expect("it opens");
    let (mut half_closed, _) = gateway.open(OpenSubmission { results: true, ..promised }).await.expect("it opens");
    half_closed.finish();
    let (mut unbound, _) = gateway.open_new().await;
    // 20 s to the ping and 15 s of silence, and something for a busy machine.
    let longest = Duration::from_secs(20 + 15 + 5);
    let cut = async {
        loop {
            match silent.next_unanswered().await {
                Ok(Some(_)) => {}
                other => break other,
            }
        }
    };
    let others = async {
        tokio::join!(
            stays_pending("one that answers is not cut", longest, answering.next()),
            stays_pending("one that has half-closed cannot answer", longest, half_closed.next()),
            stays_pending("one that promised nothing is not cut", longest, unbound.next_in_silence()),
        )
    };
    let (cut, _) = tokio::join!(tokio::time::timeout(longest, cut), others);
    let status = cut.expect("it is cut in time").expect_err("with an error");
    assert_refused(&status, Reason::PeerSilent);
    // The others still work.
    for stream in [&mut answering, &mut unbound] {
        stream.batch(0, packed(["a"])).await;
        stream.accepted(0).await;
    }
}
