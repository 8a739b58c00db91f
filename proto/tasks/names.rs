//! Names, one after another.

use bytes::Bytes;

use crate::v1::PackedNames;

impl PackedNames {
    /// The names, in order, as slices of `data`. Ends early where the lengths exceed `data`.
    pub fn iter(&self) -> impl Iterator<Item = Bytes> {
        let mut start = 0_usize;
        self.lengths.iter().map_while(move |length| {
            let end = start.checked_add(*length as usize).filter(|end| *end <= self.data.len())?;
            let name = self.data.slice(start..end);
            start = end;
            Some(name)
        })
    }

    /// The `count` names from `first` on, without copying their bytes; fewer if there are fewer.
    #[must_use]
    pub fn slice(&self, first: usize, count: usize) -> Self {
        let skipped = first.min(self.lengths.len());
        let start = sum(&self.lengths[..skipped]);
        self.slice_at(first, count, start)
    }

    /// As [`slice`](Self::slice), where `start` is known to be the first name's first byte.
    pub(crate) fn slice_at(&self, first: usize, count: usize, start: usize) -> Self {
        let first = first.min(self.lengths.len());
        let end_index = first.saturating_add(count).min(self.lengths.len());
        let lengths = self.lengths[first..end_index].to_vec();
        let start = start.min(self.data.len());
        let end = start.saturating_add(sum(&lengths)).min(self.data.len());
        Self { data: self.data.slice(start..end), lengths }
    }
}

/// The bytes of names with these lengths.
pub(crate) fn sum(lengths: &[u32]) -> usize {
    lengths.iter().map(|length| *length as usize).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_sliced_without_copying() {
        let names = PackedNames { data: Bytes::from_static(b"abbccc"), lengths: vec![1, 2, 0, 3] };
        assert_eq!(names.iter().collect::<Vec<_>>(), ["a", "bb", "", "ccc"]);
        let tail = names.slice(1, 99);
        assert_eq!(tail.iter().collect::<Vec<_>>(), ["bb", "", "ccc"]);
        assert_eq!(tail.data.as_ptr(), names.data[1..].as_ptr());
        assert_eq!(names.slice(9, 1), PackedNames::default());
    }

    #[test]
    fn lengths_that_exceed_the_data_end_the_names_early() {
        let names = PackedNames { data: Bytes::from_static(b"abc"), lengths: vec![2, u32::MAX, 1] };
        assert_eq!(names.iter().collect::<Vec<_>>(), ["ab"]);
        assert_eq!(names.slice(1, 2).data, "c");
    }
}
