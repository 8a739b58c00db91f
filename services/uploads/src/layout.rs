//! Which parts hold which bytes of an upload.

use std::ops::Range;

use hashmesh::queue::v1::UploadLayout;

/// Bytes of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartRange {
    /// Who stored it.
    pub writer: u32,
    /// Its number among what that writer stored, from 0.
    pub number: u32,
    /// The wanted bytes of it.
    pub bytes: Range<u64>,
    /// All that it has.
    pub length: u64,
}

/// True for a layout whose runs are the whole: anything else was not written by us.
#[must_use]
pub fn valid(layout: &UploadLayout) -> bool {
    let total = layout.runs.iter().try_fold(0_u64, |sum, run| sum.checked_add(run.bytes));
    let numbered = layout.runs.iter().all(|run| run.bytes / u64::from(layout.part_bytes.max(1)) < u64::from(u32::MAX));
    layout.part_bytes > 0 && numbered && total == Some(layout.total_bytes)
}

/// The parts that hold `wanted`, in order, of a valid layout. Made one by one: there may be a million.
pub fn parts(layout: &UploadLayout, wanted: Range<u64>) -> impl Iterator<Item = PartRange> + Send + '_ {
    let part_bytes = u64::from(layout.part_bytes.max(1));
    let starts = layout.runs.iter().scan(0_u64, |next, run| {
        let start = *next;
        *next += run.bytes;
        Some((start, run))
    });
    starts.flat_map(move |(start, run)| {
        // Within the run.
        let from = wanted.start.clamp(start, start + run.bytes) - start;
        let to = wanted.end.clamp(start, start + run.bytes) - start;
        let numbers = if from < to { from / part_bytes..to.div_ceil(part_bytes) } else { 0..0 };
        numbers.map(move |number| {
            let first = number * part_bytes;
            let length = part_bytes.min(run.bytes - first);
            let bytes = from.max(first) - first..to.min(first + length) - first;
            PartRange { writer: run.writer, number: u32::try_from(number).unwrap_or(u32::MAX), bytes, length }
        })
    })
}

#[cfg(test)]
mod tests {
    use hashmesh::queue::v1::UploadRun;

    use super::*;

    /// Runs of 7, 4 and 1 bytes in parts of 3, each byte known by its place in the whole.
    fn layout() -> UploadLayout {
        let runs = [(1, 7), (4, 4), (5, 1)].map(|(writer, bytes)| UploadRun { writer, bytes });
        UploadLayout { total_bytes: 12, part_bytes: 3, runs: runs.into() }
    }

    #[test]
    fn every_range_is_the_right_bytes_of_the_right_parts() {
        let layout = layout();
        assert!(valid(&layout));
        let start_of = |writer| match writer {
            1 => 0,
            4 => 7,
            _ => 11,
        };
        for start in 0..=12_u64 {
            for end in start..=12 {
                let found: Vec<u64> = parts(&layout, start..end)
                    .flat_map(|part| {
                        assert!(part.bytes.start < part.bytes.end && part.bytes.end <= part.length && part.length <= 3);
                        let first = start_of(part.writer) + u64::from(part.number) * 3;
                        first + part.bytes.start..first + part.bytes.end
                    })
                    .collect();
                assert_eq!(found, (start..end).collect::<Vec<_>>(), "{start}..{end}");
            }
        }
    }

    #[test]
    fn the_last_part_of_a_run_is_as_long_as_what_is_left() {
        let layout = layout();
        let lengths: Vec<u64> = parts(&layout, 0..12).map(|part| part.length).collect();
        assert_eq!(lengths, [3, 3, 1, 3, 1, 1]);
    }

    #[test]
    fn a_layout_that_does_not_add_up_is_none() {
        assert!(valid(&UploadLayout { part_bytes: 1, ..UploadLayout::default() }));
        assert!(!valid(&UploadLayout { total_bytes: 11, ..layout() }));
        assert!(!valid(&UploadLayout { part_bytes: 0, ..layout() }));
        let mut huge = layout();
        huge.runs[0].bytes = u64::MAX;
        assert!(!valid(&huge));
    }
}
