//! Reading columns task by task: each view is a few slices of the frame, nothing is copied.

use bytes::Bytes;

use super::columns::{self, Malformed, OBJECT};
use crate::v1::{Algorithm, ByteRange, PackedTasks};

/// Where the bytes to hash come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The bytes themselves, a slice of the columns' `data`.
    Inline(Bytes),
    /// An object that a worker reads.
    Object {
        /// Its URI, a slice of the columns' `data`. Valid (see [`file_path`](super::file_path)) if the columns were validated.
        uri: Bytes,
        /// The part of the object to hash. None: all of it.
        range: Option<ByteRange>,
    },
}

/// One task of columns.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskView {
    /// Where the bytes to hash come from.
    pub input: Input,
    /// The digests that the input ought to have, as stored, each algorithm once.
    pub expected: Vec<(Algorithm, Bytes)>,
}

impl PackedTasks {
    /// Number of tasks.
    #[must_use]
    pub fn task_count(&self) -> usize {
        self.lengths.len()
    }

    /// The tasks, in order, as slices of the columns.
    ///
    /// # Errors
    /// If the columns disagree with one another.
    pub fn views(&self) -> Result<impl ExactSizeIterator<Item = TaskView>, Malformed> {
        let mut expected = columns::check(self)?.cursor();
        let mut start = 0;
        Ok(self.lengths.iter().enumerate().map(move |(task, length)| {
            let end = start + *length as usize;
            let input = self.data.slice(start..end);
            start = end;
            let mut digests = Vec::new();
            expected.next_task(|algorithm, place| digests.push((algorithm, self.expected.slice(place))));
            TaskView { input: self.input(task, input), expected: digests }
        }))
    }

    fn input(&self, task: usize, bytes: Bytes) -> Input {
        if self.kinds.get(task) != Some(&OBJECT) {
            return Input::Inline(bytes);
        }
        let number = |column: &[u64]| column.get(task).copied().unwrap_or(0);
        let range = ByteRange { offset: number(&self.range_offsets), length: number(&self.range_lengths) };
        Input::Object { uri: bytes, range: (range != ByteRange::default()).then_some(range) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tasks::{from_rows, samples};

    proptest! {
        #[test]
        fn views_of_packed_rows_are_the_rows(rows in samples::rows(1..20)) {
            let wanted: Vec<_> = rows.tasks.iter().map(samples::view_of).collect();
            let columns = from_rows(rows).unwrap();
            let views = columns.views().unwrap();
            prop_assert_eq!(views.len(), wanted.len());
            prop_assert_eq!(views.collect::<Vec<_>>(), wanted);
        }
    }

    #[test]
    fn a_view_is_a_slice_of_the_columns_and_not_a_copy() {
        let columns = PackedTasks { data: Bytes::from(vec![7; 10]), lengths: vec![4, 6], ..Default::default() };
        let views: Vec<_> = columns.views().unwrap().collect();
        let Input::Inline(second) = &views[1].input else { panic!("inline") };
        assert_eq!(second.as_ptr(), columns.data[4..].as_ptr());
    }
}
