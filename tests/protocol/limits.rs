//! Every limit: what reaches it is taken, what exceeds it by one is refused, with the field that is at fault.

use bytes::Bytes;
use hashmesh::{
    error::{Reason, reason},
    gateway::v1::{
        AppendBatchRequest, ComputeDigestRequest, ListResultsRequest, ListSubmissionsRequest, OpenSubmission,
        RetryTasksRequest, SealSubmissionRequest, StreamResultsRequest, SubmitBatchRequest, batch,
    },
    limits::{
        MAX_BATCH_BYTES, MAX_BATCH_TASKS, MAX_IDEMPOTENCY_KEY_BYTES, MAX_LABEL_KEY_BYTES, MAX_LABEL_VALUE_BYTES,
        MAX_LABELS, MAX_MAX_ATTEMPTS, MAX_NAME_BYTES, MAX_RESULTS_PAGE, MAX_SUBMISSIONS_PAGE, MAX_URI_BYTES,
        MAX_WAIT_TASKS,
    },
    v1::{Algorithm, ByteRange, Digest, ObjectReference, PackedNames, PackedTasks, SubmissionOptions, Task, task},
};
use tonic::Status;

use super::{assert_mesh_works, batch_of, completed, no_rows, submit, whole};
use crate::support::{
    Gateway,
    raw::{assert_refused, columns, inline, packed, rows, violated_fields},
    shared,
};

/// The refusal names the field.
#[track_caller]
pub(super) fn assert_bad_field<T: std::fmt::Debug>(answer: Result<T, Status>, field: &str) {
    let status = answer.expect_err(field);
    assert_refused(&status, Reason::InvalidArgument);
    assert!(violated_fields(&status).iter().any(|found| found == field), "{field} is not named: {status:?}");
}

/// Appends a batch to a new submission, which is cancelled then: what it names need not exist.
async fn append(gateway: &mut Gateway, tasks: batch::Tasks) -> Result<(), Status> {
    let id = gateway.create_submission(hashmesh::gateway::v1::CreateSubmissionRequest::default()).await?;
    let submission_id = id.into_inner().opened.expect("the answer has it").submission_id;
    let request = AppendBatchRequest { submission_id: submission_id.clone(), batch: batch_of(0, tasks) };
    let appended = gateway.append_batch(request).await.map(drop);
    let cancel = hashmesh::gateway::v1::CancelSubmissionRequest { submission_id };
    match gateway.cancel_submission(cancel).await {
        Ok(_) => {}
        // Nobody's concern: its only task may have been done, but it is not sealed.
        Err(status) => panic!("{status:?}"),
    }
    appended
}

#[tokio::test]
async fn a_batch_may_have_10_000_tasks_in_either_shape_and_not_one_more() {
    let mut gateway = shared::gateway().await;
    let most = MAX_BATCH_TASKS as usize;
    let empty = |count: usize| packed(vec![b""; count]);
    submit(&mut gateway, whole(empty(most))).await.expect("10,000 tasks");
    for count in [most + 1, 100_000] {
        assert_bad_field(submit(&mut gateway, whole(empty(count))).await, "columns.lengths");
    }
    let small = |count: usize| rows(vec![inline("", ""); count]);
    submit(&mut gateway, whole(small(most))).await.expect("10,000 tasks");
    for count in [most + 1, 100_000] {
        assert_bad_field(submit(&mut gateway, whole(small(count))).await, "rows.tasks");
    }
}

#[tokio::test]
async fn a_batch_must_have_a_task() {
    let mut gateway = shared::gateway().await;
    assert_bad_field(submit(&mut gateway, SubmitBatchRequest::default()).await, "rows");
    assert_bad_field(submit(&mut gateway, whole(no_rows())).await, "rows.tasks");
    assert_bad_field(
        submit(&mut gateway, whole(batch::Tasks::Columns(PackedTasks::default()))).await,
        "columns.lengths",
    );
    assert_bad_field(append(&mut gateway, no_rows()).await, "batch.rows.tasks");
}

#[tokio::test]
async fn inputs_names_and_expected_digests_count_towards_a_batchs_bytes() {
    let mut gateway = shared::gateway().await;
    let most = MAX_BATCH_BYTES as usize;
    submit(&mut gateway, whole(packed([vec![7; most]]))).await.expect("a full batch");
    assert_bad_field(submit(&mut gateway, whole(packed([vec![7; most + 1]]))).await, "columns");

    let named = |extra: usize| {
        let names = PackedNames { data: vec![b'n'; 100].into(), lengths: vec![100] };
        let tasks = PackedTasks { names: Some(names), ..columns([vec![7; most - 100 + extra]]) };
        whole(batch::Tasks::Columns(tasks))
    };
    submit(&mut gateway, named(0)).await.expect("a full batch");
    assert_bad_field(submit(&mut gateway, named(1)).await, "columns");

    let expecting = |extra: usize| {
        let tasks = PackedTasks {
            expected: vec![0; 32].into(),
            expected_algorithms: vec![Algorithm::Sha256 as i32],
            ..columns([vec![7; most - 32 + extra]])
        };
        whole(batch::Tasks::Columns(tasks))
    };
    submit(&mut gateway, expecting(0)).await.expect("a full batch");
    assert_bad_field(submit(&mut gateway, expecting(1)).await, "columns");

    let row = |bytes: usize| whole(rows(vec![inline("n", vec![7; bytes - 1])]));
    submit(&mut gateway, row(most)).await.expect("a full batch");
    submit(&mut gateway, row(most + 1)).await.expect_err("one byte too many");
    assert_mesh_works().await;
}

#[tokio::test]
async fn a_name_may_have_4_096_bytes_and_a_uri_8_192() {
    let mut gateway = shared::gateway().await;
    for bytes in [MAX_NAME_BYTES, MAX_NAME_BYTES + 1] {
        let by_name = submit(&mut gateway, whole(rows(vec![inline(&"n".repeat(bytes), "")]))).await;
        let raw_name = Task { raw_name: vec![0xff; bytes].into(), ..inline("", "") };
        let by_raw_name = submit(&mut gateway, whole(rows(vec![raw_name]))).await;
        let names = Some(PackedNames { data: vec![b'n'; bytes].into(), lengths: vec![u32::try_from(bytes).unwrap()] });
        let columns = PackedTasks { names, ..columns([""]) };
        let by_columns = submit(&mut gateway, whole(batch::Tasks::Columns(columns))).await;
        if bytes == MAX_NAME_BYTES {
            by_name.and(by_raw_name).and(by_columns).expect("the longest names");
        } else {
            assert_bad_field(by_name, "rows.tasks[0].name");
            assert_bad_field(by_raw_name, "rows.tasks[0].raw_name");
            assert_bad_field(by_columns, "columns.names.lengths[0]");
        }
    }
    let uri = |bytes: usize| {
        let uri = format!("file:///{}", "u".repeat(bytes - 8));
        let source = task::Source::Object(ObjectReference { uri, range: None });
        rows(vec![Task { source: Some(source), ..Task::default() }])
    };
    append(&mut gateway, uri(MAX_URI_BYTES)).await.expect("the longest URI");
    assert_bad_field(append(&mut gateway, uri(MAX_URI_BYTES + 1)).await, "batch.rows.tasks[0].object.uri");
}

#[tokio::test]
async fn what_is_no_task_is_refused_with_the_field_at_fault() {
    let mut gateway = shared::gateway().await;
    let object = |uri: &str, range| {
        let source = task::Source::Object(ObjectReference { uri: uri.to_owned(), range });
        Task { source: Some(source), ..Task::default() }
    };
    let expecting = |expected: &[(Algorithm, &str)]| {
        let digest =
            |(algorithm, hex): &(Algorithm, &str)| Digest { algorithm: *algorithm as i32, hex: (*hex).to_owned() };
        Task { expected: expected.iter().map(digest).collect(), ..inline("", "") }
    };
    let sha256 = "0".repeat(64);
    let beyond = ByteRange { offset: i64::MAX as u64, length: 1 };
    for (task, field) in [
        (Task::default(), "rows.tasks[1].source"),
        (Task { raw_name: Bytes::from_static(b"n"), ..inline("n", "") }, "rows.tasks[1].raw_name"),
        (object("", None), "rows.tasks[1].object.uri"),
        (object("relative/path", None), "rows.tasks[1].object.uri"),
        (object("ftp://host/file", None), "rows.tasks[1].object.uri"),
        (object("file:///a%2", None), "rows.tasks[1].object.uri"),
        (object("file:///a%00b", None), "rows.tasks[1].object.uri"),
        (object("file:///a", Some(beyond)), "rows.tasks[1].object.range"),
        (expecting(&[(Algorithm::Sha256, &sha256[1..])]), "rows.tasks[1].expected[0].hex"),
        (expecting(&[(Algorithm::Sha256, &sha256.replace('0', "x"))]), "rows.tasks[1].expected[0].hex"),
        (expecting(&[(Algorithm::Unspecified, &sha256)]), "rows.tasks[1].expected[0].algorithm"),
        (
            expecting(&[(Algorithm::Sha256, &sha256), (Algorithm::Sha256, &sha256)]),
            "rows.tasks[1].expected[1].algorithm",
        ),
    ] {
        let answer = submit(&mut gateway, whole(rows(vec![inline("", ""), task.clone()]))).await;
        let status = answer.expect_err(&format!("{task:?} is refused"));
        assert_refused(&status, Reason::InvalidArgument);
        // Which of two fields that disagree is at fault is a matter of taste; the task is not.
        let fields = violated_fields(&status);
        let parent = field.rsplit_once('.').map_or(field, |(parent, _)| parent);
        assert!(fields.iter().any(|found| found.starts_with(parent)), "{task:?}: wanted {field}, found {fields:?}");
    }
    // Known to the mesh, but not an algorithm of this submission: no digest to compare with.
    let other = expecting(&[(Algorithm::Md5, &"0".repeat(32))]);
    submit(&mut gateway, whole(rows(vec![other])))
        .await
        .map_err(|status| {
            assert_refused(&status, Reason::InvalidArgument);
        })
        .expect_err("an expected digest that is not computed");
}

#[tokio::test]
async fn columns_that_disagree_are_refused_with_the_column_at_fault() {
    let mut gateway = shared::gateway().await;
    let good = || columns(["a", "bc"]);
    let uris = || PackedTasks { kinds: vec![1, 1].into(), ..columns(["file:///a", "file:///b"]) };
    for (tasks, field) in [
        (PackedTasks { lengths: vec![1, 1], ..good() }, "columns."),
        (PackedTasks { lengths: vec![1, u32::MAX], ..good() }, "columns."),
        (PackedTasks { lengths: vec![1, 2, 1], ..good() }, "columns."),
        (PackedTasks { kinds: vec![0].into(), ..good() }, "columns.kinds"),
        (PackedTasks { kinds: vec![0, 2].into(), ..good() }, "columns.kinds"),
        (PackedTasks { names: Some(PackedNames { data: "x".into(), lengths: vec![1] }), ..good() }, "columns.names"),
        (PackedTasks { names: Some(PackedNames { data: "x".into(), lengths: vec![1, 1] }), ..good() }, "columns.names"),
        (PackedTasks { range_offsets: vec![0], range_lengths: vec![0], ..uris() }, "columns.range_"),
        (PackedTasks { range_offsets: vec![0, 0], range_lengths: vec![0], ..uris() }, "columns.range_"),
        (PackedTasks { range_offsets: vec![1, 0], range_lengths: vec![0, 0], ..good() }, "columns.range_"),
        (PackedTasks { expected: vec![0; 64].into(), ..good() }, "columns.expected"),
        (PackedTasks { expected: vec![0; 63].into(), expected_algorithms: vec![2], ..good() }, "columns.expected"),
        (PackedTasks { expected: vec![0; 64].into(), expected_algorithms: vec![77], ..good() }, "columns.expected"),
        (PackedTasks { expected_counts: vec![1, 1].into(), ..good() }, "columns.expected"),
    ] {
        let status =
            submit(&mut gateway, whole(batch::Tasks::Columns(tasks.clone()))).await.expect_err("it is refused");
        assert_refused(&status, Reason::InvalidArgument);
        let fields = violated_fields(&status);
        assert!(fields.iter().any(|found| found.starts_with(field)), "{tasks:?}: wanted {field}, found {fields:?}");
    }
}

#[tokio::test]
async fn options_are_held_to_each_of_their_limits() {
    let mut gateway = shared::gateway().await;
    let with = |options: SubmissionOptions| SubmitBatchRequest { options: Some(options), ..whole(packed(["x"])) };
    let algorithms = |algorithms: Vec<i32>| with(SubmissionOptions { algorithms, ..SubmissionOptions::default() });
    let all: Vec<i32> = Algorithm::ALL.iter().map(|algorithm| *algorithm as i32).collect();
    submit(&mut gateway, algorithms(all[..8].to_vec())).await.expect("eight algorithms");
    assert_bad_field(submit(&mut gateway, algorithms(all[..9].to_vec())).await, "options.algorithms");
    for unknown in [0, Algorithm::ALL.len() as i32 + 1, 99, -1, i32::MAX] {
        assert_bad_field(submit(&mut gateway, algorithms(vec![2, unknown])).await, "options.algorithms[1]");
    }
    assert_bad_field(submit(&mut gateway, algorithms(vec![2, 2])).await, "options.algorithms[1]");

    let attempts = |max_attempts: u32| with(SubmissionOptions { max_attempts, ..SubmissionOptions::default() });
    submit(&mut gateway, attempts(MAX_MAX_ATTEMPTS)).await.expect("20 attempts");
    assert_bad_field(submit(&mut gateway, attempts(MAX_MAX_ATTEMPTS + 1)).await, "options.max_attempts");

    let labels = |labels: Vec<(String, String)>| {
        with(SubmissionOptions { labels: labels.into_iter().collect(), ..SubmissionOptions::default() })
    };
    let many = |count: usize| (0..count).map(|index| (format!("label-{index}"), String::new())).collect();
    submit(&mut gateway, labels(many(MAX_LABELS))).await.expect("32 labels");
    assert_bad_field(submit(&mut gateway, labels(many(MAX_LABELS + 1))).await, "options.labels");
    let longest = ("k".repeat(MAX_LABEL_KEY_BYTES), "v".repeat(MAX_LABEL_VALUE_BYTES));
    submit(&mut gateway, labels(vec![longest.clone()])).await.expect("the longest label");
    let long_key = (format!("{}k", longest.0), String::new());
    let long_value = ("k".to_owned(), format!("{}v", longest.1));
    for label in [long_key, long_value, (String::new(), String::new()), ("a b".to_owned(), String::new())] {
        let status = submit(&mut gateway, labels(vec![label])).await.expect_err("a label out of bounds");
        assert_refused(&status, Reason::InvalidArgument);
        assert!(violated_fields(&status)[0].starts_with("options.labels"), "{status:?}");
    }
}

#[tokio::test]
async fn keys_ids_counts_and_positions_are_held_to_their_limits() {
    let mut gateway = shared::gateway().await;
    let key = |bytes: usize| SubmitBatchRequest {
        idempotency_key: format!("{:x}{}", rand::random::<u128>(), "k".repeat(bytes))[..bytes].to_owned(),
        ..whole(packed(["x"]))
    };
    submit(&mut gateway, key(MAX_IDEMPOTENCY_KEY_BYTES)).await.expect("the longest key");
    assert_bad_field(submit(&mut gateway, key(MAX_IDEMPOTENCY_KEY_BYTES + 1)).await, "idempotency_key");
    let control = SubmitBatchRequest { idempotency_key: "a\nb".to_owned(), ..whole(packed(["x"])) };
    assert_bad_field(submit(&mut gateway, control).await, "idempotency_key");

    for id in ["", "garbage", "01890a5dac96774bbcceb302099a8057"] {
        let request = hashmesh::gateway::v1::GetSubmissionRequest { submission_id: id.to_owned() };
        assert_bad_field(gateway.get_submission(request).await, "submission_id");
        let request = RetryTasksRequest { submission_id: id.to_owned(), ..RetryTasksRequest::default() };
        assert_bad_field(gateway.retry_tasks(request).await, "submission_id");
    }
    let submission_id = completed(&mut gateway, &["x"]).await;
    let seal = SealSubmissionRequest { submission_id: submission_id.clone(), batch_count: 1 << 31 };
    assert_bad_field(gateway.seal_submission(seal).await, "batch_count");

    let stream = |after_position| StreamResultsRequest {
        submission_id: submission_id.clone(),
        after_position,
        ..StreamResultsRequest::default()
    };
    gateway.results(stream(i64::MAX as u64)).await.expect("behind everything");
    assert_bad_field(gateway.results(stream(i64::MAX as u64 + 1)).await, "after_position");
    let open = OpenSubmission { submission_id, after_position: u64::MAX, ..OpenSubmission::default() };
    assert_bad_field(gateway.open(open).await, "open.after_position");
}

#[tokio::test]
async fn pages_have_a_largest_size() {
    let mut gateway = shared::gateway().await;
    let page = |page_size| ListSubmissionsRequest { page_size, ..ListSubmissionsRequest::default() };
    gateway.list_submissions(page(MAX_SUBMISSIONS_PAGE)).await.expect("the largest page");
    assert_bad_field(gateway.list_submissions(page(MAX_SUBMISSIONS_PAGE + 1)).await, "page_size");
    let token = ListSubmissionsRequest { page_token: "garbage".to_owned(), ..ListSubmissionsRequest::default() };
    assert_bad_field(gateway.list_submissions(token).await, "page_token");

    let submission_id = completed(&mut gateway, &["x"]).await;
    let page = |page_size| ListResultsRequest {
        submission_id: submission_id.clone(),
        page_size,
        ..ListResultsRequest::default()
    };
    gateway.list_results(page(MAX_RESULTS_PAGE)).await.expect("the largest page");
    assert_bad_field(gateway.list_results(page(MAX_RESULTS_PAGE + 1)).await, "page_size");
    for status in [0, 4, -1] {
        let filtered = ListResultsRequest { statuses: vec![1, status], ..page(1) };
        assert_bad_field(gateway.list_results(filtered).await, "statuses[1]");
    }
}

#[tokio::test]
async fn a_call_that_waits_may_have_1_000_tasks_and_one_that_computes_a_full_batchs_bytes() {
    let mut gateway = shared::gateway().await;
    let waiting = |count: u32| SubmitBatchRequest { wait: true, ..whole(packed(vec![b"x"; count as usize])) };
    let answer = submit(&mut gateway, waiting(MAX_WAIT_TASKS)).await.expect("1,000 tasks");
    assert_eq!(answer.outcomes.len(), MAX_WAIT_TASKS as usize);
    assert_bad_field(submit(&mut gateway, waiting(MAX_WAIT_TASKS + 1)).await, "columns.lengths");

    let compute = |bytes: usize| ComputeDigestRequest {
        data: vec![1; bytes].into(),
        algorithms: Vec::new(),
        ..Default::default()
    };
    gateway.compute_digest(compute(MAX_BATCH_BYTES as usize)).await.expect("a full batch's bytes");
    assert_bad_field(gateway.compute_digest(compute(MAX_BATCH_BYTES as usize + 1)).await, "data");
}

#[tokio::test]
async fn a_frame_that_is_too_large_is_refused_with_a_reason_and_the_mesh_goes_on() {
    let mut gateway = shared::gateway().await;
    let (mut stream, _) = gateway.open_new().await;
    stream.batch(0, packed([vec![0; 8 * 1024 * 1024]])).await;
    let status = stream.fails().await;
    assert!(reason(&status).is_some(), "an error of ours says why: {status:?}");

    let status = submit(&mut gateway, whole(packed([vec![0; 8 * 1024 * 1024]]))).await.expect_err("too large");
    assert!(reason(&status).is_some(), "an error of ours says why: {status:?}");
    assert_mesh_works().await;
}
