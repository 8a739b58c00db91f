//! Generators of valid tasks, for tests.

use std::ops::Range;

use bytes::Bytes;
use proptest::{collection::vec, prelude::*, sample::subsequence};

use super::{Input, TaskView, file_uri};
use crate::v1::{
    Algorithm, ByteRange, Digest, ObjectReference, PackedNames, PackedTasks, Task, TaskRows, task::Source,
};

/// Valid rows; few distinct values, so that equal batches and shared prefixes occur.
pub(super) fn rows(count: Range<usize>) -> impl Strategy<Value = TaskRows> {
    vec(task(), count).prop_map(|tasks| TaskRows { tasks })
}

fn task() -> impl Strategy<Value = Task> {
    (name(), source(), expected()).prop_map(|((name, raw_name), source, expected)| Task {
        name,
        raw_name,
        source: Some(source),
        expected,
    })
}

fn name() -> impl Strategy<Value = (String, Bytes)> {
    prop_oneof![
        3 => Just((String::new(), Bytes::new())),
        2 => "[a-c]{1,3}".prop_map(|name| (name, Bytes::new())),
        1 => vec(0xf0_u8.., 1..3).prop_map(|name| (String::new(), name.into())),
    ]
}

fn source() -> impl Strategy<Value = Source> {
    let object = (vec(prop_oneof![Just(b'/'), any::<u8>().prop_filter("no NUL", |b| *b != 0)], 0..6), range())
        .prop_map(|(tail, range)| {
            let uri = file_uri(&[b"/srv/".as_slice(), &tail].concat());
            Source::Object(ObjectReference { uri, range })
        });
    prop_oneof![3 => vec(0..3_u8, 0..4).prop_map(|data| Source::Data(data.into())), 1 => object]
}

fn range() -> impl Strategy<Value = Option<ByteRange>> {
    prop_oneof![Just(None), (0..2_u64, 0..2_u64).prop_map(|(offset, length)| Some(ByteRange { offset, length })),]
}

fn expected() -> impl Strategy<Value = Vec<Digest>> {
    let some = vec![Algorithm::Blake3, Algorithm::Sha256, Algorithm::Md5, Algorithm::Sha512];
    prop_oneof![2 => Just(Vec::new()), 1 => (subsequence(some, 0..=3), 0..2_u8).prop_map(|(algorithms, byte)| {
        let digest = |algorithm: &Algorithm| Digest {
            algorithm: *algorithm as i32,
            hex: hex::encode(vec![byte; algorithm.digest_bytes()]),
        };
        algorithms.iter().map(digest).collect()
    })]
}

/// What `views` must say of a row.
pub(super) fn view_of(task: &Task) -> TaskView {
    let input = match task.source.clone() {
        Some(Source::Object(object)) => {
            Input::Object { uri: object.uri.into(), range: object.range.filter(|range| *range != ByteRange::default()) }
        }
        Some(Source::Data(data)) => Input::Inline(data),
        None => Input::Inline(Bytes::new()),
    };
    let digest =
        |digest: &Digest| (Algorithm::known(digest.algorithm).unwrap(), hex::decode(&digest.hex).unwrap().into());
    TaskView { input, expected: task.expected.iter().map(digest).collect() }
}

/// What the rows mean: equal exactly for batches that must have the same fingerprint.
pub(super) fn meaning(rows: &TaskRows) -> Vec<(Bytes, TaskView)> {
    let one = |task: &Task| {
        let mut view = view_of(task);
        view.expected.sort();
        (if task.name.is_empty() { task.raw_name.clone() } else { task.name.clone().into() }, view)
    };
    rows.tasks.iter().map(one).collect()
}

/// The rows as columns in which nothing is left out and every expected digest names its algorithm.
pub(super) fn full_columns(rows: &TaskRows) -> PackedTasks {
    let meaning = meaning(rows);
    let mut columns = PackedTasks::default();
    let (mut names, mut data, mut kinds, mut counts, mut digests) =
        (Vec::new(), Vec::new(), vec![], vec![], Vec::new());
    let mut name_lengths = Vec::new();
    for (name, view) in meaning {
        names.extend_from_slice(&name);
        name_lengths.push(name.len() as u32);
        let (kind, input, range) = match view.input {
            Input::Inline(data) => (0, data, ByteRange::default()),
            Input::Object { uri, range } => (1, uri, range.unwrap_or_default()),
        };
        data.extend_from_slice(&input);
        kinds.push(kind);
        columns.lengths.push(input.len() as u32);
        columns.range_offsets.push(range.offset);
        columns.range_lengths.push(range.length);
        counts.push(view.expected.len() as u8);
        for (algorithm, digest) in view.expected {
            columns.expected_algorithms.push(algorithm as i32);
            digests.extend_from_slice(&digest);
        }
    }
    columns.names = Some(PackedNames { data: names.into(), lengths: name_lengths });
    columns.data = data.into();
    columns.kinds = kinds.into();
    columns.expected = digests.into();
    columns.expected_counts = counts.into();
    columns
}
