//! Cutting a range of tasks out of columns, as leases do.

use super::{
    columns::{self, Malformed},
    names::sum,
};
use crate::v1::{ListedObjects, PackedTasks};

impl PackedTasks {
    /// The `count` tasks from `first` on. `data`, names and expected digests are shared, never copied.
    ///
    /// # Errors
    /// If the columns disagree with one another, or have no such range.
    pub fn slice(&self, first: usize, count: usize) -> Result<Self, Malformed> {
        let expected = columns::check(self)?;
        let end = first.checked_add(count).filter(|end| *end <= self.lengths.len()).ok_or_else(|| {
            let found = self.lengths.len();
            Malformed::new("lengths", format!("tasks {first} to {first} + {count} were wanted, there are {found}"))
        })?;

        let start_byte = sum(&self.lengths[..first]);
        let lengths = self.lengths[first..end].to_vec();
        let end_byte = start_byte + sum(&lengths);

        let mut cursor = expected.cursor();
        (0..first).for_each(|_| cursor.next_task(|_, _| ()));
        let (digest_from, byte_from) = (cursor.digest, cursor.byte);
        (first..end).for_each(|_| cursor.next_task(|_, _| ()));
        let digests = digest_from..cursor.digest;
        // Without digests the other two columns would mean nothing, and their absence is the canonical way to say so.
        let (expected_counts, expected_algorithms) = match (digests.is_empty(), self.expected_algorithms.as_slice()) {
            (true, _) => Default::default(),
            (false, [only]) => (self.counts_between(first, end), vec![*only]),
            (false, each) => (self.counts_between(first, end), each[digests].to_vec()),
        };

        Ok(Self {
            data: self.data.slice(start_byte..end_byte),
            lengths,
            names: self.names.as_ref().map(|names| names.slice(first, count)),
            kinds: if self.kinds.is_empty() { self.kinds.clone() } else { self.kinds.slice(first..end) },
            range_offsets: between(&self.range_offsets, first, end),
            range_lengths: between(&self.range_lengths, first, end),
            expected: self.expected.slice(byte_from..cursor.byte),
            expected_algorithms,
            expected_counts,
            listed: self.listed.as_ref().map(|listed| ListedObjects {
                identities: listed.identities.as_ref().map(|identities| identities.slice(first, count)),
                listed_at_ms: listed.listed_at_ms,
                domain: listed.domain.clone(),
            }),
        })
    }

    fn counts_between(&self, first: usize, end: usize) -> bytes::Bytes {
        if self.expected_counts.is_empty() {
            return self.expected_counts.clone();
        }
        self.expected_counts.slice(first..end)
    }
}

/// The part of a column that may be absent.
fn between(column: &[u64], first: usize, end: usize) -> Vec<u64> {
    column.get(first..end).map(<[u64]>::to_vec).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::tasks::{from_rows, samples};

    proptest! {
        #[test]
        fn a_slice_has_the_views_and_names_of_its_range(
            (rows, first, end) in samples::rows(1..20).prop_flat_map(|rows| {
                let count = rows.tasks.len();
                (Just(rows), 0..=count, 0..=count)
            })
        ) {
            let (first, end) = (first.min(end), first.max(end));
            let columns = from_rows(rows).unwrap();
            let part = columns.slice(first, end - first).unwrap();
            let wanted: Vec<_> = columns.views().unwrap().skip(first).take(end - first).collect();
            prop_assert_eq!(part.views().unwrap().collect::<Vec<_>>(), wanted);
            let names = |columns: &PackedTasks| columns.names.clone().unwrap_or_default().iter().collect::<Vec<_>>();
            let wanted: Vec<_> = names(&columns).into_iter().skip(first).take(end - first).collect();
            prop_assert_eq!(names(&part), wanted);
        }
    }

    #[test]
    fn a_slice_shares_the_data() {
        let columns = PackedTasks { data: Bytes::from(vec![7; 10]), lengths: vec![4, 6], ..Default::default() };
        assert_eq!(columns.slice(1, 1).unwrap().data.as_ptr(), columns.data[4..].as_ptr());
    }

    #[test]
    fn a_range_outside_the_columns_is_refused() {
        let columns = PackedTasks { data: Bytes::from(vec![7; 10]), lengths: vec![4, 6], ..Default::default() };
        assert!(columns.slice(2, 0).is_ok());
        assert!(columns.slice(1, 2).is_err());
        assert!(columns.slice(3, 0).is_err());
        assert!(columns.slice(1, usize::MAX).is_err());
    }
}
