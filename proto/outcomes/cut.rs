//! Cutting columns of outcomes: by range, by status, by position. Digests and names are shared, never copied.

use bytes::Bytes;

use super::identities::IdentitiesCutter;
use crate::{
    algorithm::stride,
    tasks::names_bytes,
    v1::{OutcomeStatus, PackedFailure, PackedNames, PackedOutcomes},
};

impl PackedOutcomes {
    /// The `count` outcomes from `first` on (counted from `first_task`); fewer if there are fewer.
    #[must_use]
    pub fn slice(&self, first: usize, count: usize) -> Self {
        Cutter::new(self).cut(first, count)
    }

    /// The outcomes whose status is among `statuses`, as runs of neighbours. No statuses at all keep everything.
    #[must_use]
    pub fn retain(self, statuses: &[OutcomeStatus]) -> Vec<Self> {
        if self.task_count == 0 {
            return Vec::new();
        }
        let kept = |index: usize| statuses.is_empty() || statuses.contains(&self.status_at(index));
        let count = self.task_count as usize;
        let all_alike = self.statuses.is_empty() || statuses.is_empty();
        if all_alike || (0..count).all(kept) {
            return if kept(0) { vec![self] } else { Vec::new() };
        }
        let mut cutter = Cutter::new(&self);
        let mut runs = Vec::new();
        let mut next = 0;
        while next < count {
            let first = (next..count).find(|index| kept(*index)).unwrap_or(count);
            next = (first..count).find(|index| !kept(*index)).unwrap_or(count);
            if next > first {
                runs.push(cutter.cut(first, next - first));
            }
        }
        runs
    }

    /// The outcomes behind a position. None if there are none.
    #[must_use]
    pub fn after_position(self, after: u64) -> Option<Self> {
        if self.task_count == 0 || self.through_position() <= after {
            return None;
        }
        if self.first_position > after {
            return Some(self);
        }
        // Below the task count, by the first check.
        let skipped = (after - self.first_position + 1) as usize;
        Some(self.slice(skipped, self.task_count as usize - skipped))
    }

    /// The outcomes in pieces of at most about `max_bytes` when encoded, as rows or as columns; one outcome alone may be
    /// larger.
    #[must_use]
    pub fn into_pieces(self, max_bytes: usize, as_rows: bool) -> Vec<Self> {
        let digest_bytes = stride(&self.known_algorithms());
        // Rows: hexadecimal digits with their framing. Columns: the bytes, the status and the name's length.
        let fixed = if as_rows { 40 + digest_bytes * 2 + self.algorithms.len() * 8 } else { 4 + digest_bytes };
        // Sizes and times have 24 bytes together, a text with its framing 4 more than its length.
        let fixed = if self.identities.is_some() { fixed + 32 } else { fixed };
        let texts = self.identities.iter().flat_map(|identities| [&identities.etags, &identities.versions]).flatten();
        let texts: Vec<&[u32]> = texts.map(|texts| texts.lengths.as_slice()).collect();
        let mut name_lengths = self.names.iter().flat_map(|names| names.lengths.iter().copied());
        let mut failures = self.failures.iter().peekable();
        let mut pieces = Vec::new();
        let mut cutter = Cutter::new(&self);
        let (mut first, mut bytes) = (0, 0);
        for index in 0..self.task_count as usize {
            let mut size = fixed + name_lengths.next().unwrap_or(0) as usize;
            size +=
                texts.iter().filter_map(|lengths| lengths.get(index)).map(|length| *length as usize + 4).sum::<usize>();
            while let Some(failure) = failures.next_if(|failure| failure.offset as usize <= index) {
                size += 24 + failure.error.as_ref().map_or(0, |error| error.reason.len() + error.message.len());
            }
            if bytes + size > max_bytes && index > first {
                pieces.push(cutter.cut(first, index - first));
                (first, bytes) = (index, 0);
            }
            bytes += size;
        }
        if first == 0 {
            return if self.task_count == 0 { Vec::new() } else { vec![self] };
        }
        pieces.push(cutter.cut(first, self.task_count as usize - first));
        pieces
    }
}

/// Cuts ranges out of outcomes in ascending order, so that lengths are added up once.
struct Cutter<'a> {
    outcomes: &'a PackedOutcomes,
    stride: usize,
    names: Passed,
    identities: IdentitiesCutter,
}

/// How far a column of texts has been passed.
#[derive(Debug, Default)]
pub(super) struct Passed {
    texts: usize,
    /// What they take up.
    bytes: usize,
}

impl Passed {
    /// The `count` texts from `first` on, which is not before the first of the last cut.
    pub(super) fn cut(&mut self, texts: &PackedNames, first: usize, count: usize) -> PackedNames {
        let passed = texts.lengths.get(self.texts..first.min(texts.lengths.len())).unwrap_or_default();
        self.bytes += names_bytes(passed);
        self.texts = first.max(self.texts);
        texts.slice_at(first, count, self.bytes)
    }
}

impl<'a> Cutter<'a> {
    fn new(outcomes: &'a PackedOutcomes) -> Self {
        let stride = stride(&outcomes.known_algorithms());
        Self { outcomes, stride, names: Passed::default(), identities: IdentitiesCutter::default() }
    }

    /// The `count` outcomes from `first` on, which is not before the first of the last cut.
    fn cut(&mut self, first: usize, count: usize) -> PackedOutcomes {
        let whole = self.outcomes;
        let first = first.min(whole.task_count as usize);
        let end = first.saturating_add(count).min(whole.task_count as usize);
        let names = whole.names.as_ref().map(|names| self.names.cut(names, first, end - first));
        let identities =
            whole.identities.as_ref().map(|identities| self.identities.cut(identities, first, end - first));
        let statuses = part(&whole.statuses, first, end);
        let succeeded = OutcomeStatus::Succeeded as i32 as u8;
        // By ascending offset, so that those of the range are neighbours.
        let failed_from = whole.failures.partition_point(|failure| (failure.offset as usize) < first);
        let failed_to = whole.failures.partition_point(|failure| (failure.offset as usize) < end);
        let failures = whole.failures[failed_from..failed_to.max(failed_from)]
            .iter()
            .map(|failure| PackedFailure { offset: failure.offset - first as u32, error: failure.error.clone() })
            .collect();
        PackedOutcomes {
            first_position: whole.first_position.saturating_add(first as u64),
            sequence: whole.sequence,
            first_task: whole.first_task.saturating_add(first as u32),
            task_count: (end - first) as u32,
            algorithms: whole.algorithms.clone(),
            digests: part(&whole.digests, first * self.stride, end * self.stride),
            statuses: if statuses.iter().all(|status| *status == succeeded) { Bytes::new() } else { statuses },
            failures,
            names,
            attempt: whole.attempt,
            kernel: whole.kernel.clone(),
            identities,
        }
    }
}

/// The part of a column that may be absent or too short.
fn part(column: &Bytes, first: usize, end: usize) -> Bytes {
    column.slice(first.min(column.len())..end.min(column.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::{
        outcomes::samples,
        v1::{Outcome, Results},
    };

    const STATUSES: [OutcomeStatus; 3] = [OutcomeStatus::Succeeded, OutcomeStatus::Mismatched, OutcomeStatus::Failed];

    fn rows_of(pieces: Vec<PackedOutcomes>) -> Vec<Outcome> {
        pieces.into_iter().flat_map(PackedOutcomes::into_rows).collect()
    }

    proptest! {
        #[test]
        fn a_slice_has_the_rows_of_its_range(outcomes in samples::outcomes(0..12), first in 0..14_usize, count in 0..14_usize) {
            let wanted: Vec<_> = outcomes.clone().into_rows().into_iter().skip(first).take(count).collect();
            prop_assert_eq!(outcomes.slice(first, count).into_rows(), wanted);
        }

        #[test]
        fn retaining_keeps_exactly_the_wanted_rows(
            outcomes in samples::outcomes(0..12),
            statuses in prop::sample::subsequence(STATUSES.to_vec(), 0..=3),
        ) {
            let mut wanted = outcomes.clone().into_rows();
            wanted.retain(|row| statuses.is_empty() || statuses.contains(&row.status()));
            prop_assert_eq!(rows_of(outcomes.retain(&statuses)), wanted);
        }

        #[test]
        fn a_reader_that_resumes_anywhere_gets_exactly_the_rest(outcomes in samples::outcomes(0..12), after in 0..120_u64) {
            let mut wanted = outcomes.clone().into_rows();
            wanted.retain(|row| row.position > after);
            let rest = outcomes.after_position(after);
            prop_assert_eq!(rest.is_none(), wanted.is_empty());
            prop_assert_eq!(rows_of(rest.into_iter().collect()), wanted);
        }

        #[test]
        fn pieces_are_small_and_together_the_whole(
            outcomes in samples::outcomes(0..60),
            max_bytes in 200..2000_usize,
            as_rows in any::<bool>(),
        ) {
            let wanted = outcomes.clone().into_rows();
            let pieces = outcomes.into_pieces(max_bytes, as_rows);
            for piece in &pieces {
                let mut frame = Results::default();
                if as_rows { frame.rows = piece.clone().into_rows() } else { frame.columns = vec![piece.clone()] }
                // A piece's own header is not counted: it is small, and the same for every size.
                prop_assert!(frame.encoded_len() <= max_bytes + 64);
            }
            prop_assert_eq!(rows_of(pieces), wanted);
        }
    }

    #[test]
    fn the_last_position_counts_from_the_first() {
        let outcomes = PackedOutcomes { first_position: 7, task_count: 3, ..Default::default() };
        assert_eq!(outcomes.through_position(), 9);
        assert_eq!(PackedOutcomes::default().through_position(), 0);
    }
}
