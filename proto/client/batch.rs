//! Gathering tasks into a batch, in columns.

use bytes::{Bytes, BytesMut};

use crate::{
    tasks::{KIND_INLINE, KIND_OBJECT},
    v1::{Algorithm, Limits, PackedNames, PackedTasks},
};

/// Collects tasks until a batch is full. Allocates per batch, never per task.
///
/// A batch is full by count and bytes alone, never by time, so the same tasks are always cut into the same batches.
#[derive(Debug)]
pub struct BatchBuilder {
    max_tasks: usize,
    max_bytes: usize,
    data: BytesMut,
    lengths: Vec<u32>,
    name_data: BytesMut,
    name_lengths: Vec<u32>,
    kinds: Vec<u8>,
    expected: BytesMut,
    expected_algorithms: Vec<i32>,
    expected_counts: Vec<u8>,
    any_name: bool,
    any_object: bool,
}

impl BatchBuilder {
    /// A builder for batches within the server's limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            max_tasks: limits.max_batch_tasks as usize,
            max_bytes: limits.max_batch_bytes as usize,
            data: BytesMut::new(),
            lengths: Vec::new(),
            name_data: BytesMut::new(),
            name_lengths: Vec::new(),
            kinds: Vec::new(),
            expected: BytesMut::new(),
            expected_algorithms: Vec::new(),
            expected_counts: Vec::new(),
            any_name: false,
            any_object: false,
        }
    }

    /// Cuts batches at this many tasks, if the server takes that many.
    #[must_use]
    pub fn at_most(mut self, tasks: u32) -> Self {
        self.max_tasks = self.max_tasks.min(tasks as usize).max(1);
        self
    }

    /// Bytes that a batch can hold: inputs, names and expected digests together.
    #[must_use]
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Number of tasks so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// True if there is no task.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Bytes so far, as `Limits.max_batch_bytes` counts them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.data.len() + self.name_data.len() + self.expected.len()
    }

    /// True if a further task of this many bytes (input, name and expected digests together) fits. If not, [`take`] the
    /// batch first; a task that does not fit an empty batch fits none.
    ///
    /// [`take`]: Self::take
    #[must_use]
    pub fn fits(&self, task_bytes: usize) -> bool {
        self.len() < self.max_tasks && self.bytes().saturating_add(task_bytes) <= self.max_bytes
    }

    /// Adds a task whose input is given here. An empty name is none.
    pub fn push_inline(&mut self, name: &[u8], input: &[u8]) {
        self.push(name, input, KIND_INLINE);
    }

    /// Adds a task whose input is an object that workers read.
    pub fn push_object(&mut self, name: &[u8], uri: &str) {
        self.any_object = true;
        self.push(name, uri.as_bytes(), KIND_OBJECT);
    }

    /// Says which digest the task that was added last ought to have. At most once per algorithm.
    pub fn expect(&mut self, algorithm: Algorithm, digest: &[u8]) {
        let Some(count) = self.expected_counts.last_mut() else { return };
        *count = count.saturating_add(1);
        self.expected.extend_from_slice(digest);
        self.expected_algorithms.push(algorithm as i32);
    }

    /// The batch so far. The builder is empty afterwards.
    #[must_use]
    pub fn take(&mut self) -> PackedTasks {
        let name_data = self.name_data.split().freeze();
        let name_lengths = take_column(&mut self.name_lengths);
        let names =
            std::mem::take(&mut self.any_name).then_some(PackedNames { data: name_data, lengths: name_lengths });
        let kinds = take_column(&mut self.kinds);
        let kinds = if std::mem::take(&mut self.any_object) { Bytes::from(kinds) } else { Bytes::new() };
        let expected = self.expected.split().freeze();
        let counts = take_column(&mut self.expected_counts);
        let counts = if expected.is_empty() { Bytes::new() } else { Bytes::from(counts) };
        let data = self.data.split().freeze();
        PackedTasks {
            data,
            lengths: take_column(&mut self.lengths),
            names,
            kinds,
            expected,
            expected_algorithms: take_column(&mut self.expected_algorithms),
            expected_counts: counts,
            ..PackedTasks::default()
        }
    }

    fn push(&mut self, name: &[u8], input: &[u8], kind: u8) {
        self.data.extend_from_slice(input);
        self.lengths.push(length(input));
        self.any_name |= !name.is_empty();
        self.name_data.extend_from_slice(name);
        self.name_lengths.push(length(name));
        self.kinds.push(kind);
        self.expected_counts.push(0);
    }
}

/// The column, and in its place an empty one that has room for as many.
fn take_column<T>(column: &mut Vec<T>) -> Vec<T> {
    let capacity = column.len();
    std::mem::replace(column, Vec::with_capacity(capacity))
}

/// A batch is far below 4 GiB; a longer input is refused by the server's own check of lengths against data.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;

    #[test]
    fn a_batch_has_only_the_columns_that_its_tasks_need() {
        let mut builder = BatchBuilder::new(limits::announced());
        builder.push_inline(b"", b"abc");
        builder.push_inline(b"", b"");
        let tasks = builder.take();
        assert_eq!((tasks.data.as_ref(), tasks.lengths.as_slice()), (&b"abc"[..], &[3, 0][..]));
        assert!(tasks.names.is_none() && tasks.kinds.is_empty() && tasks.expected_counts.is_empty());
        assert!(builder.is_empty());

        builder.push_inline(b"a", b"x");
        builder.push_object(b"", "file:///y");
        builder.expect(Algorithm::Md5, &[1; 16]);
        let tasks = builder.take();
        assert_eq!(tasks.kinds.as_ref(), [0, 1]);
        assert_eq!(tasks.names.map(|names| names.lengths), Some(vec![1, 0]));
        assert_eq!(tasks.expected_counts.as_ref(), [0, 1]);
        assert_eq!(tasks.expected_algorithms, [Algorithm::Md5 as i32]);
    }

    #[test]
    fn a_batch_is_full_by_count_or_by_bytes() {
        let limits = Limits { max_batch_tasks: 3, max_batch_bytes: 10, ..Limits::default() };
        let mut builder = BatchBuilder::new(limits).at_most(2);
        assert!(builder.fits(10) && !builder.fits(11));
        builder.push_inline(b"n", b"12345678");
        assert!(builder.fits(1) && !builder.fits(2));
        builder.push_inline(b"", b"");
        assert!(!builder.fits(0));
    }

    #[test]
    fn what_is_built_is_valid() {
        let mut builder = BatchBuilder::new(limits::announced());
        builder.push_inline(b"a", b"x");
        builder.expect(Algorithm::Sha256, &[2; 32]);
        builder.push_object(b"b", "file:///y");
        builder.expect(Algorithm::Sha1, &[3; 20]);
        builder.expect(Algorithm::Md5, &[4; 16]);
        builder.push_inline(b"c", b"");
        let summary = crate::tasks::validate(&builder.take()).expect("valid");
        assert_eq!(summary.task_count, 3);
    }
}
