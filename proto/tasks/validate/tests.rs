use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    tasks::{from_rows, samples},
    v1::{ByteRange, Digest, ObjectReference, PackedNames, Task, TaskRows, task::Source},
};

fn inline(count: usize, bytes_each: usize) -> PackedTasks {
    PackedTasks {
        data: vec![7; count * bytes_each].into(),
        lengths: vec![bytes_each as u32; count],
        ..Default::default()
    }
}

fn rows_of(count: usize, task: &Task) -> TaskRows {
    TaskRows { tasks: vec![task.clone(); count] }
}

fn data_task(bytes: usize) -> Task {
    Task { source: Some(Source::Data(vec![7; bytes].into())), ..Default::default() }
}

fn uri_of_length(length: usize) -> String {
    format!("file:///{}", "x".repeat(length - "file:///".len()))
}

fn object(uri: &str) -> Task {
    let object = ObjectReference { uri: uri.to_owned(), range: None };
    Task { source: Some(Source::Object(object)), ..Default::default() }
}

/// Both ways in: what holds for rows must hold for columns.
fn fields_at_fault(task: Task) -> (String, String) {
    let rows = TaskRows { tasks: vec![data_task(1), task] };
    let columns = samples::full_columns(&rows);
    (from_rows(rows).unwrap_err().field, validate(&columns).unwrap_err().field)
}

#[test]
fn the_number_of_tasks_is_1_to_10_000() {
    for (count, valid) in [(0, false), (1, true), (10_000, true), (10_001, false), (100_000, false)] {
        assert_eq!(validate(&inline(count, 3)).is_ok(), valid, "{count} columns");
        assert_eq!(from_rows(rows_of(count, &data_task(3))).is_ok(), valid, "{count} rows");
    }
}

#[test]
fn a_batch_has_at_most_4_mib_less_64_kib_with_names_and_expected_digests() {
    let limit = MAX_BATCH_BYTES as usize;
    assert_eq!(validate(&inline(1, limit)).unwrap().byte_count, MAX_BATCH_BYTES);
    assert_eq!(validate(&inline(1, limit + 1)).unwrap_err().field, "columns");
    assert!(from_rows(rows_of(1, &data_task(limit))).is_ok());
    assert_eq!(from_rows(rows_of(1, &data_task(limit + 1))).unwrap_err().field, "rows");

    let digest = Digest { algorithm: Algorithm::Md5 as i32, hex: "00".repeat(16) };
    for (bytes, valid) in [(limit - 20, true), (limit - 19, false)] {
        let task = Task { name: "name".to_owned(), expected: vec![digest.clone()], ..data_task(bytes) };
        let rows = rows_of(1, &task);
        let columns = samples::full_columns(&rows);
        assert_eq!(validate(&columns).map(|summary| summary.byte_count == MAX_BATCH_BYTES).is_ok(), valid);
        assert_eq!(from_rows(rows).is_ok(), valid);
    }
}

#[test]
fn a_name_has_at_most_4_096_bytes() {
    let named = |bytes: usize| Task { name: "x".repeat(bytes), ..data_task(0) };
    let raw = |bytes: usize| Task { raw_name: vec![0xff; bytes].into(), ..data_task(0) };
    for task in [named(4_096), raw(4_096)] {
        assert!(validate(&from_rows(rows_of(2, &task)).unwrap()).is_ok());
    }
    assert_eq!(fields_at_fault(named(4_097)), ("rows.tasks[1].name".into(), "columns.names.lengths[1]".into()));
    assert_eq!(fields_at_fault(raw(4_097)), ("rows.tasks[1].raw_name".into(), "columns.names.lengths[1]".into()));
}

#[test]
fn a_uri_has_at_most_8_192_bytes_and_names_an_object() {
    assert!(validate(&from_rows(rows_of(2, &object(&uri_of_length(8_192)))).unwrap()).is_ok());
    let at_fault = fields_at_fault(object(&uri_of_length(8_193)));
    assert_eq!(at_fault, ("rows.tasks[1].object.uri".into(), "columns.lengths[1]".into()));
    let at_fault = fields_at_fault(object("ftp://host/file"));
    assert_eq!(at_fault, ("rows.tasks[1].object.uri".into(), "columns.data".into()));
}

#[test]
fn a_range_ends_where_objects_may_end() {
    let ranged = |offset, length| {
        let object = ObjectReference { uri: "file:///x".to_owned(), range: Some(ByteRange { offset, length }) };
        Task { source: Some(Source::Object(object)), ..Default::default() }
    };
    let last = i64::MAX as u64;
    assert!(validate(&from_rows(rows_of(2, &ranged(last - 1, 1))).unwrap()).is_ok());
    for (offset, length) in [(last, 1), (u64::MAX, 1), (1, u64::MAX)] {
        let at_fault = fields_at_fault(ranged(offset, length));
        assert_eq!(at_fault, ("rows.tasks[1].object.range".into(), "columns.range_lengths[1]".into()));
    }
}

#[test]
fn rows_that_contradict_themselves_are_refused() {
    let both = Task { name: "a".to_owned(), raw_name: Bytes::from_static(b"b"), ..data_task(1) };
    assert_eq!(from_rows(rows_of(1, &both)).unwrap_err().field, "rows.tasks[0].raw_name");
    assert_eq!(from_rows(rows_of(1, &Task::default())).unwrap_err().field, "rows.tasks[0]");
}

#[test]
fn expected_digests_must_be_of_known_algorithms_and_their_lengths_and_each_once() {
    let with = |digests: &[(i32, String)]| {
        let expected = digests.iter().map(|(algorithm, hex)| Digest { algorithm: *algorithm, hex: hex.clone() });
        from_rows(rows_of(1, &Task { expected: expected.collect(), ..data_task(1) }))
    };
    let sha256 = Algorithm::Sha256 as i32;
    assert!(with(&[(sha256, "aF".repeat(32))]).is_ok());
    let at_fault = |digests: &[(i32, String)]| with(digests).unwrap_err().field;
    let path = "rows.tasks[0].expected";
    assert_eq!(at_fault(&[(0, "00".repeat(32))]), format!("{path}[0].algorithm"));
    assert_eq!(at_fault(&[(99, "00".repeat(32))]), format!("{path}[0].algorithm"));
    assert_eq!(at_fault(&[(sha256, "00".repeat(31))]), format!("{path}[0].hex"));
    assert_eq!(at_fault(&[(sha256, "00".repeat(33))]), format!("{path}[0].hex"));
    assert_eq!(at_fault(&[(sha256, "0g".repeat(32))]), format!("{path}[0].hex"));
    assert_eq!(at_fault(&[(sha256, "0".repeat(63))]), format!("{path}[0].hex"));
    let two = vec![(sha256, "00".repeat(32)); 2];
    assert_eq!(at_fault(&two), format!("{path}[1].algorithm"));
    let all: Vec<_> = Algorithm::ALL.map(|each| (each as i32, "00".repeat(each.digest_bytes()))).to_vec();
    assert_eq!(at_fault(&all[..9]), path);
    for eight in all.windows(8) {
        assert!(with(eight).is_ok());
    }
}

#[test]
fn columns_that_disagree_are_refused_by_every_reader() {
    let names =
        |data: &'static str, lengths: &[u32]| Some(PackedNames { data: data.into(), lengths: lengths.to_vec() });
    let base = || PackedTasks { data: "abc".into(), lengths: vec![1, 2], ..Default::default() };
    let md5 = Algorithm::Md5 as i32;
    let sha1 = Algorithm::Sha1 as i32;
    let digests = |bytes: usize| Bytes::from(vec![0; bytes]);
    let cases = [
        ("lengths", PackedTasks { lengths: vec![1, 1], ..base() }),
        ("lengths", PackedTasks { lengths: vec![1, 3], ..base() }),
        ("lengths", PackedTasks { lengths: vec![u32::MAX, 4], ..base() }),
        ("names.lengths", PackedTasks { names: names("a", &[1]), ..base() }),
        ("names.lengths", PackedTasks { names: names("a", &[1, 0, 0]), ..base() }),
        ("names.lengths", PackedTasks { names: names("", &[]), ..base() }),
        ("names.lengths", PackedTasks { names: names("ab", &[1, 0]), ..base() }),
        ("kinds", PackedTasks { kinds: vec![0].into(), ..base() }),
        ("kinds[1]", PackedTasks { kinds: vec![0, 2].into(), ..base() }),
        ("range_offsets", PackedTasks { range_offsets: vec![0], range_lengths: vec![0, 0], ..base() }),
        ("range_lengths", PackedTasks { range_offsets: vec![0, 0], ..base() }),
        ("range_offsets", PackedTasks { range_lengths: vec![0, 0], ..base() }),
        ("range_offsets[1]", PackedTasks { range_offsets: vec![0, 1], range_lengths: vec![0, 0], ..base() }),
        ("range_lengths[0]", PackedTasks { range_offsets: vec![0, 0], range_lengths: vec![1, 0], ..base() }),
        ("expected_counts", PackedTasks { expected_counts: vec![0].into(), ..base() }),
        ("expected_algorithms", PackedTasks { expected: digests(32), ..base() }),
        (
            "expected_algorithms",
            PackedTasks { expected: digests(32), expected_algorithms: vec![md5, md5, md5], ..base() },
        ),
        ("expected_algorithms", PackedTasks { expected_algorithms: vec![md5, md5], ..base() }),
        ("expected_algorithms[0]", PackedTasks { expected: digests(32), expected_algorithms: vec![77], ..base() }),
        ("expected_algorithms[1]", PackedTasks { expected: digests(32), expected_algorithms: vec![md5, 0], ..base() }),
        ("expected", PackedTasks { expected: digests(31), expected_algorithms: vec![md5], ..base() }),
        ("expected", PackedTasks { expected: digests(32), expected_algorithms: vec![md5, sha1], ..base() }),
        (
            "expected",
            PackedTasks {
                expected: digests(16),
                expected_algorithms: vec![md5],
                expected_counts: vec![0, 0].into(),
                ..base()
            },
        ),
    ];
    for (field, tasks) in cases {
        assert_eq!(validate(&tasks).unwrap_err().field, format!("columns.{field}"), "{tasks:?}");
        assert_eq!(tasks.views().err().unwrap().field, field);
        assert_eq!(tasks.slice(0, 1).unwrap_err().field, field);
    }
}

#[test]
fn two_expected_digests_of_one_algorithm_are_refused_in_columns_too() {
    let tasks = PackedTasks {
        expected: vec![0; 48].into(),
        expected_algorithms: vec![Algorithm::Md5 as i32],
        expected_counts: vec![1, 2].into(),
        ..inline(2, 1)
    };
    assert_eq!(validate(&tasks).unwrap_err().field, "columns.expected_counts[1]");
}

#[test]
fn the_summary_names_the_expected_algorithms_once_and_counts_all_bytes() {
    let tasks = PackedTasks {
        expected: vec![0; 16 + 20 + 16].into(),
        expected_algorithms: vec![Algorithm::Sha1 as i32, Algorithm::Md5 as i32, Algorithm::Md5 as i32],
        expected_counts: vec![2, 1].into(),
        names: Some(PackedNames { data: "abc".into(), lengths: vec![1, 2] }),
        ..inline(2, 5)
    };
    let summary = validate(&tasks).unwrap();
    assert_eq!(summary.expected_algorithms, [Algorithm::Md5, Algorithm::Sha1]);
    assert_eq!((summary.task_count, summary.byte_count), (2, 10 + 3 + 52));
    assert_eq!(summary.reference_prefix, "");
}

#[test]
fn the_reference_prefix_is_the_deepest_common_directory_in_canonical_escaping() {
    let prefix = |uris: &[&str]| {
        let mut tasks = vec![data_task(2)];
        tasks.extend(uris.iter().map(|uri| object(uri)));
        validate(&from_rows(TaskRows { tasks }).unwrap()).unwrap().reference_prefix
    };
    assert_eq!(prefix(&["file:///srv/data/one"]), "file:///srv/data/");
    assert_eq!(prefix(&["file:///srv/data/one", "file:///srv/data/only"]), "file:///srv/data/");
    assert_eq!(prefix(&["file:///srv/data/x", "file:///srv/database"]), "file:///srv/");
    assert_eq!(prefix(&["file:///a", "file:///b"]), "file:///");
    assert_eq!(prefix(&["file:///a%2b+/%7Eb"]), "file:///a%2B%2B/");
}

proptest! {
    #[test]
    fn any_columns_are_judged_without_a_panic(
        data in prop::collection::vec(any::<u8>(), 0..12),
        lengths in prop::collection::vec(0..5_u32, 0..5),
        names in prop::option::of((prop::collection::vec(any::<u8>(), 0..4), prop::collection::vec(0..3_u32, 0..5))),
        kinds in prop::collection::vec(0..3_u8, 0..5),
        (offsets, range_lengths) in (prop::collection::vec(0..2_u64, 0..5), prop::collection::vec(0..2_u64, 0..5)),
        (bytes, counts, algorithms) in
            (0..5_usize, prop::collection::vec(0..3_u8, 0..5), prop::collection::vec(-1..11_i32, 0..5)),
    ) {
        let tasks = PackedTasks {
            listed: None,
            data: data.into(),
            lengths,
            names: names.map(|(data, lengths)| PackedNames { data: data.into(), lengths }),
            kinds: kinds.into(),
            range_offsets: offsets,
            range_lengths,
            expected: vec![0; bytes * 16].into(),
            expected_algorithms: algorithms,
            expected_counts: counts.into(),
        };
        let valid = validate(&tasks).is_ok();
        let read = tasks.views().map(Iterator::count);
        let _ = tasks.slice(1, 1);
        // What is valid can be read.
        prop_assert!(!valid || read == Ok(tasks.lengths.len()));
    }
}
