//! Putting single tasks together into new columns, as a retry does.

use bytes::{Bytes, BytesMut};

use super::{
    columns::OBJECT,
    views::{Input, TaskView},
};
use crate::{
    limits::{MAX_BATCH_BYTES, MAX_BATCH_TASKS},
    v1::{ByteRange, PackedNames, PackedTasks},
};

/// Columns that grow task by task up to the limits of a batch.
#[derive(Debug, Default)]
pub struct Joined {
    data: BytesMut,
    lengths: Vec<u32>,
    names: BytesMut,
    name_lengths: Vec<u32>,
    kinds: Vec<u8>,
    ranges: Vec<ByteRange>,
    expected: BytesMut,
    expected_algorithms: Vec<i32>,
    expected_counts: Vec<u8>,
}

impl Joined {
    /// True if it holds no task.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// True if a batch may hold this task besides those that are here. A task alone always fits if it came from a batch.
    #[must_use]
    pub fn fits(&self, task: &TaskView, name: &[u8]) -> bool {
        let expected: usize = task.expected.iter().map(|(_, digest)| digest.len()).sum();
        let bytes =
            self.data.len() + self.names.len() + self.expected.len() + input(task).len() + name.len() + expected;
        self.is_empty() || (self.lengths.len() < MAX_BATCH_TASKS as usize && bytes <= MAX_BATCH_BYTES as usize)
    }

    /// Adds a task. An empty name is no name.
    pub fn push(&mut self, task: &TaskView, name: &[u8]) {
        let input = input(task);
        self.data.extend_from_slice(input);
        self.lengths.push(length(input));
        self.names.extend_from_slice(name);
        self.name_lengths.push(length(name));
        let (kind, range) = match &task.input {
            Input::Inline(_) => (0, ByteRange::default()),
            Input::Object { range, .. } => (OBJECT, range.unwrap_or_default()),
        };
        self.kinds.push(kind);
        self.ranges.push(range);
        for (algorithm, digest) in &task.expected {
            self.expected.extend_from_slice(digest);
            self.expected_algorithms.push(*algorithm as i32);
        }
        self.expected_counts.push(u8::try_from(task.expected.len()).unwrap_or(u8::MAX));
    }

    /// The columns; those that no task needs are absent.
    #[must_use]
    pub fn into_tasks(self) -> PackedTasks {
        let no_ranges = self.ranges.iter().all(|range| *range == ByteRange::default());
        let ranges = if no_ranges { &[] } else { self.ranges.as_slice() };
        let names =
            (!self.names.is_empty()).then(|| PackedNames { data: self.names.freeze(), lengths: self.name_lengths });
        let all_inline = self.kinds.iter().all(|kind| *kind == 0);
        PackedTasks {
            listed: None,
            data: self.data.freeze(),
            lengths: self.lengths,
            names,
            kinds: if all_inline { Bytes::new() } else { self.kinds.into() },
            range_offsets: ranges.iter().map(|range| range.offset).collect(),
            range_lengths: ranges.iter().map(|range| range.length).collect(),
            expected_counts: if self.expected.is_empty() { Bytes::new() } else { self.expected_counts.into() },
            expected: self.expected.freeze(),
            expected_algorithms: self.expected_algorithms,
        }
    }
}

fn input(task: &TaskView) -> &[u8] {
    match &task.input {
        Input::Inline(bytes) | Input::Object { uri: bytes, .. } => bytes,
    }
}

/// Inputs and names came from columns, whose lengths are `uint32`.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tasks::{from_rows, samples, validate};

    proptest! {
        #[test]
        fn tasks_taken_apart_and_joined_again_have_the_same_fingerprint(rows in samples::rows(1..40)) {
            let columns = from_rows(rows).unwrap();
            let names: Vec<Bytes> = match &columns.names {
                Some(names) => names.iter().collect(),
                None => vec![Bytes::new(); columns.task_count()],
            };
            let mut joined = Joined::default();
            for (task, name) in columns.views().unwrap().zip(&names) {
                prop_assert!(joined.fits(&task, name));
                joined.push(&task, name);
            }
            prop_assert_eq!(validate(&joined.into_tasks()).unwrap(), validate(&columns).unwrap());
        }
    }
}
