//! Outcomes: pages, streams, filters, resumption at every position (promise 5).

use hashmesh::{
    gateway::v1::{
        ListResultsRequest, OpenSubmission, StreamResultsRequest, SubmitBatchRequest, stream_results_response,
    },
    v1::{Algorithm, Digest, Outcome, OutcomeStatus, PackedOutcomes, ResultShape, SubmissionState, Task},
};

use super::{submit, whole};
use crate::support::{
    Gateway,
    oracle::sha256_hex,
    raw::{Frame, file, inline, packed, rows},
    shared,
};

/// A completed submission with outcomes of every kind, twelve of them in three batches, and its id.
async fn mixed(gateway: &mut Gateway) -> String {
    let (mut stream, opened) = gateway.open_new().await;
    let expecting = |name: &str, digest: String| Task {
        expected: vec![Digest { algorithm: Algorithm::Sha256 as i32, hex: digest }],
        ..inline(name, name.to_owned())
    };
    for sequence in 0..3 {
        let name = |what: &str| format!("{what}-{sequence}");
        let missing = shared::source_root().join("no-such-file");
        let tasks = vec![
            inline(&name("plain"), "plain"),
            expecting(&name("right"), sha256_hex(name("right").as_bytes()).to_uppercase()),
            expecting(&name("wrong"), "0".repeat(64)),
            file(&name("missing"), &missing),
        ];
        stream.batch(sequence, rows(tasks)).await;
    }
    stream.seal(3).await;
    stream.finish();
    stream.end().await.1.expect("it ends well");
    let end = gateway.reaches(&opened.submission_id, SubmissionState::Completed).await;
    assert_eq!((end.succeeded_tasks, end.mismatched_tasks, end.failed_tasks), (6, 3, 3));
    opened.submission_id
}

fn positions(outcomes: &[Outcome]) -> Vec<u64> {
    outcomes.iter().map(|outcome| outcome.position).collect()
}

#[tokio::test]
async fn every_task_has_the_outcome_that_its_input_deserves() {
    let mut gateway = shared::gateway().await;
    let id = mixed(&mut gateway).await;
    let outcomes = gateway.outcomes_after(&id, 0).await;
    assert_eq!(positions(&outcomes), (1..=12).collect::<Vec<_>>());
    for outcome in &outcomes {
        let (what, sequence) = outcome.name.rsplit_once('-').expect("named so");
        assert_eq!(outcome.sequence.to_string(), sequence);
        let digest = outcome.digests.first().map(|digest| digest.hex.clone());
        match what {
            "plain" => {
                assert_eq!((outcome.status(), outcome.task), (OutcomeStatus::Succeeded, 0));
                assert_eq!(digest, Some(sha256_hex(b"plain")));
            }
            "right" => assert_eq!((outcome.status(), outcome.task), (OutcomeStatus::Succeeded, 1)),
            "wrong" => {
                assert_eq!((outcome.status(), outcome.task), (OutcomeStatus::Mismatched, 2));
                assert_eq!(digest, Some(sha256_hex(outcome.name.as_bytes())));
            }
            _ => {
                assert_eq!((outcome.status(), outcome.task), (OutcomeStatus::Failed, 3));
                assert_eq!(outcome.error.as_ref().expect("it says why").reason, "SOURCE_NOT_FOUND");
                assert!(outcome.digests.is_empty());
            }
        }
        assert_eq!(outcome.attempt, 1);
    }
}

#[tokio::test]
async fn promise_5_a_stream_resumes_behind_every_position_in_both_shapes() {
    let mut gateway = shared::gateway().await;
    let id = mixed(&mut gateway).await;
    let all = gateway.outcomes_after(&id, 0).await;
    for after_position in 0..=14 {
        let wanted: Vec<Outcome> = all.iter().filter(|outcome| outcome.position > after_position).cloned().collect();
        assert_eq!(gateway.outcomes_after(&id, after_position).await, wanted, "after {after_position}");

        for follow in [false, true] {
            let request = StreamResultsRequest {
                submission_id: id.clone(),
                after_position,
                follow,
                result_shape: ResultShape::Columns as i32,
                ..StreamResultsRequest::default()
            };
            let (frames, _) = gateway.results(request).await.expect("it streams");
            let columns = frames.iter().filter_map(|frame| match frame {
                stream_results_response::Frame::Results(results) => Some(results.columns.clone()),
                _ => None,
            });
            let rows: Vec<Outcome> = columns.flatten().flat_map(PackedOutcomes::into_rows).collect();
            assert_eq!(rows, wanted, "columns after {after_position}");
        }
    }
}

#[tokio::test]
async fn promise_5_a_writers_own_stream_brings_outcomes_from_any_position_too() {
    let mut gateway = shared::gateway().await;
    let id = mixed(&mut gateway).await;
    for after_position in [0, 1, 5, 11, 12] {
        let open =
            OpenSubmission { submission_id: id.clone(), results: true, after_position, ..OpenSubmission::default() };
        let (mut stream, _) = gateway.open(open).await.expect("it opens");
        stream.finish();
        let (frames, end) = stream.end().await;
        end.expect("it ends well");
        let outcomes = frames.iter().flat_map(|frame| match frame {
            Frame::Results(results) => positions(&results.rows),
            _ => Vec::new(),
        });
        assert_eq!(outcomes.collect::<Vec<_>>(), (after_position + 1..=12).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn pages_of_every_size_have_every_outcome_once() {
    let mut gateway = shared::gateway().await;
    let id = mixed(&mut gateway).await;
    let all = gateway.outcomes_after(&id, 0).await;
    for page_size in [1, 2, 5, 11, 12, 13, 0] {
        for (statuses, matches) in filters() {
            let mut found = Vec::new();
            let mut after_position = 0;
            loop {
                let statuses = statuses.clone();
                let request = ListResultsRequest { submission_id: id.clone(), after_position, page_size, statuses };
                let page = gateway.list_results(request).await.expect("a page").into_inner();
                assert!(page_size == 0 || page.outcomes.len() <= page_size as usize);
                assert!(page.next_after_position >= after_position);
                found.extend(page.outcomes);
                if page.end {
                    break;
                }
                assert!(page.next_after_position > after_position, "no progress behind {after_position}");
                after_position = page.next_after_position;
            }
            let wanted: Vec<Outcome> = all.iter().filter(matches).cloned().collect();
            assert_eq!(found, wanted, "pages of {page_size}, {statuses:?}");
        }
    }
}

type Filter = fn(&&Outcome) -> bool;

fn filters() -> Vec<(Vec<i32>, Filter)> {
    vec![
        (vec![], |_| true),
        (vec![1], |outcome| outcome.status() == OutcomeStatus::Succeeded),
        (vec![2], |outcome| outcome.status() == OutcomeStatus::Mismatched),
        (vec![3], |outcome| outcome.status() == OutcomeStatus::Failed),
        (vec![3, 2], |outcome| outcome.status() != OutcomeStatus::Succeeded),
    ]
}

#[tokio::test]
async fn a_filtered_stream_brings_what_matches_and_says_how_far_it_is() {
    let mut gateway = shared::gateway().await;
    let id = mixed(&mut gateway).await;
    let all = gateway.outcomes_after(&id, 0).await;
    for (statuses, matches) in filters() {
        for after_position in [0, 3, 12] {
            let request = StreamResultsRequest {
                submission_id: id.clone(),
                after_position,
                statuses: statuses.clone(),
                follow: true,
                ..StreamResultsRequest::default()
            };
            let (frames, outcomes) = gateway.results(request).await.expect("it streams");
            let wanted: Vec<Outcome> =
                all.iter().filter(|outcome| matches(outcome) && outcome.position > after_position).cloned().collect();
            assert_eq!(outcomes, wanted, "{statuses:?} after {after_position}");
            let through = frames.iter().filter_map(|frame| match frame {
                stream_results_response::Frame::Results(results) => Some(results.through_position),
                _ => None,
            });
            assert!(through.max().unwrap_or(12) == 12, "{frames:?}");
        }
    }
}

#[tokio::test]
async fn without_following_a_stream_ends_at_the_present() {
    let mut gateway = shared::gateway().await;
    let (mut stream, opened) = gateway.open_new().await;
    stream.batch(0, packed(["a", "b"])).await;
    stream.accepted(0).await;
    let id = opened.submission_id;
    crate::support::wait::until("two outcomes", crate::support::wait::PATIENCE, async || {
        (gateway.submission(&id).await.recorded_tasks == 2).then_some(())
    })
    .await;
    let request = StreamResultsRequest { submission_id: id.clone(), ..StreamResultsRequest::default() };
    let (frames, outcomes) = gateway.results(request).await.expect("it streams");
    assert_eq!(outcomes.len(), 2);
    assert!(!frames.iter().any(|frame| matches!(frame, stream_results_response::Frame::Completed(_))), "it is open");
    let page = ListResultsRequest { submission_id: id, ..ListResultsRequest::default() };
    assert!(!gateway.list_results(page).await.expect("a page").into_inner().end, "it is open");
}

#[tokio::test]
async fn promise_5_a_reader_that_follows_sees_no_gap_and_no_repeat_at_the_seam() {
    let gateway = shared::gateway().await;
    let (mut stream, opened) = gateway.open_new().await;
    // Readers join while batches come and outcomes are committed.
    let mut readers = Vec::new();
    for sequence in 0..40 {
        stream.batch(sequence, packed((0..50).map(|task| format!("{sequence}/{task}")))).await;
        if sequence % 4 == 0 {
            let (mut gateway, id) = (gateway.clone(), opened.submission_id.clone());
            readers.push(tokio::spawn(async move { gateway.outcomes_after(&id, 0).await }));
        }
    }
    stream.seal(40).await;
    stream.finish();
    stream.end().await.1.expect("it ends well");
    let mut first: Option<Vec<Outcome>> = None;
    for reader in readers {
        let outcomes = reader.await.expect("no panic");
        assert_eq!(positions(&outcomes), (1..=2000).collect::<Vec<_>>());
        assert_eq!(first.get_or_insert_with(|| outcomes.clone()), &outcomes);
    }
}

#[tokio::test]
async fn a_call_that_waits_answers_with_the_outcomes_in_readable_rows() {
    let mut gateway = shared::gateway().await;
    let raw = Task { raw_name: vec![0xff, b'\n'].into(), ..inline("", "raw") };
    let request = SubmitBatchRequest { wait: true, ..whole(rows(vec![inline("a", "hello"), raw])) };
    let answer = submit(&mut gateway, request).await.expect("it is accepted");
    let submission = answer.submission.expect("the answer has it");
    assert_eq!((submission.state(), submission.succeeded_tasks), (SubmissionState::Completed, 2));
    // It may come from the Queue's memory; the tables say the same, to the microsecond.
    let request = hashmesh::gateway::v1::GetSubmissionRequest { submission_id: submission.submission_id.clone() };
    assert_eq!(gateway.get_submission(request).await.expect("it is there").into_inner().submission, Some(submission));
    assert_eq!(positions(&answer.outcomes), [1, 2]);
    assert_eq!((answer.outcomes[0].name.as_str(), answer.outcomes[0].raw_name.len()), ("a", 0));
    assert_eq!(answer.outcomes[1].raw_name.as_ref(), [0xff, b'\n']);
    assert_eq!(answer.outcomes[0].digests[0].hex, sha256_hex(b"hello"));
}

#[tokio::test]
async fn the_size_of_an_input_comes_with_its_outcome_where_tasks_have_names() {
    let mut gateway = shared::gateway().await;
    let sizes = async |gateway: &mut Gateway, request| {
        let request = SubmitBatchRequest { wait: true, ..request };
        let outcomes = gateway.submit_batch(request).await.expect("accepted").into_inner().outcomes;
        let size = |outcome: &Outcome| outcome.identity.as_ref().map(|identity| identity.size);
        outcomes.iter().map(size).collect::<Vec<_>>()
    };
    let named = vec![inline("a", "four"), inline("b", ""), inline("c", vec![0; 100_000])];
    assert_eq!(sizes(&mut gateway, whole(rows(named))).await, [Some(4), Some(0), Some(100_000)]);
    assert_eq!(sizes(&mut gateway, whole(packed(["four", ""]))).await, [None, None]);
}
