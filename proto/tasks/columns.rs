//! Whether columns agree with one another: the check that every reader of columns builds on.

use bytes::Bytes;

use crate::v1::{Algorithm, PackedTasks};

/// Of `PackedTasks.kinds`: the task's input is inline.
pub const INLINE: u8 = 0;
/// Of `PackedTasks.kinds`: the task's input is a URI.
pub const OBJECT: u8 = 1;

/// Columns that disagree with one another: counts that differ, lengths that do not add up, numbers without a meaning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("columns.{field}: {description}")]
pub struct Malformed {
    /// The field of `PackedTasks` at fault, for example `lengths` or `kinds[3]`.
    pub field: String,
    /// What was wanted and what was found.
    pub description: String,
}

impl Malformed {
    pub(super) fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into() }
    }
}

/// How many expected digests each task has.
#[derive(Clone, Copy, Debug)]
enum Counts<'a> {
    None,
    One,
    Each(&'a [u8]),
}

/// The columns of expected digests, checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    digests: &'a Bytes,
    algorithms: &'a [i32],
    counts: Counts<'a>,
}

impl<'a> Expected<'a> {
    /// True if no task has an expected digest.
    pub(super) fn none(&self) -> bool {
        self.digests.is_empty()
    }

    /// Number of expected digests of a task.
    pub(super) fn count(&self, task: usize) -> usize {
        match self.counts {
            Counts::None => 0,
            Counts::One => 1,
            Counts::Each(counts) => counts.get(task).copied().map_or(0, usize::from),
        }
    }

    /// A reader at the first task.
    pub(super) fn cursor(self) -> ExpectedCursor<'a> {
        ExpectedCursor { expected: self, task: 0, digest: 0, byte: 0 }
    }

    /// The algorithm of the digest with this index. The check found every number known.
    fn algorithm(&self, digest: usize) -> Algorithm {
        let number = match self.algorithms {
            [only] => *only,
            each => each.get(digest).copied().unwrap_or_default(),
        };
        Algorithm::known(number).unwrap_or_default()
    }
}

/// Walks over the expected digests, task by task.
#[derive(Clone, Debug)]
pub(super) struct ExpectedCursor<'a> {
    expected: Expected<'a>,
    task: usize,
    /// Index of the next digest.
    pub(super) digest: usize,
    /// Offset of the next digest's first byte.
    pub(super) byte: usize,
}

impl ExpectedCursor<'_> {
    /// Hands each expected digest of the next task to `visit`, in stored order: its algorithm, and where its bytes are.
    pub(super) fn next_task(&mut self, mut visit: impl FnMut(Algorithm, std::ops::Range<usize>)) {
        for _ in 0..self.expected.count(self.task) {
            let algorithm = self.expected.algorithm(self.digest);
            let end = self.byte + algorithm.digest_bytes();
            visit(algorithm, self.byte..end);
            self.digest += 1;
            self.byte = end;
        }
        self.task += 1;
    }
}

/// Checks that all columns agree and that every number in them has a meaning. Limits are not looked at.
pub(super) fn check(tasks: &PackedTasks) -> Result<Expected<'_>, Malformed> {
    let count = tasks.lengths.len();
    check_sum("lengths", &tasks.lengths, "data", tasks.data.len())?;
    if let Some(names) = &tasks.names {
        check_count("names.lengths", names.lengths.len(), count)?;
        check_sum("names.lengths", &names.lengths, "names.data", names.data.len())?;
    }
    if !tasks.kinds.is_empty() {
        check_count("kinds", tasks.kinds.len(), count)?;
        if let Some(task) = tasks.kinds.iter().position(|kind| *kind > OBJECT) {
            let found = tasks.kinds[task];
            return Err(Malformed::new(
                format!("kinds[{task}]"),
                format!("must be {INLINE} (inline) or {OBJECT} (a URI), is {found}"),
            ));
        }
    }
    check_ranges(tasks)?;
    check_expected(tasks)
}

/// True if the columns have URIs at all; then `kinds` is set.
pub(super) fn any_object(tasks: &PackedTasks) -> bool {
    tasks.kinds.contains(&OBJECT)
}

fn check_count(field: &str, found: usize, tasks: usize) -> Result<(), Malformed> {
    if found == tasks {
        return Ok(());
    }
    Err(Malformed::new(field, format!("must have one entry per task ({tasks}, by `lengths`), has {found}")))
}

fn check_sum(field: &str, lengths: &[u32], data_field: &str, data_bytes: usize) -> Result<(), Malformed> {
    // 64 bits: the lengths of a frame that fits memory cannot overflow them.
    let sum: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
    if sum == data_bytes as u64 {
        return Ok(());
    }
    Err(Malformed::new(field, format!("must add up to the length of `{data_field}` ({data_bytes}), add up to {sum}")))
}

fn check_ranges(tasks: &PackedTasks) -> Result<(), Malformed> {
    let (offsets, lengths) = (&tasks.range_offsets, &tasks.range_lengths);
    if offsets.is_empty() && lengths.is_empty() {
        return Ok(());
    }
    check_count("range_offsets", offsets.len(), tasks.lengths.len())?;
    check_count("range_lengths", lengths.len(), tasks.lengths.len())?;
    for (task, (offset, length)) in offsets.iter().zip(lengths).enumerate() {
        if (*offset, *length) == (0, 0) {
            continue;
        }
        if tasks.kinds.get(task).copied().unwrap_or(INLINE) == INLINE {
            let field = if *offset == 0 { "range_lengths" } else { "range_offsets" };
            return Err(Malformed::new(format!("{field}[{task}]"), "must be 0: only objects have ranges"));
        }
    }
    Ok(())
}

fn check_expected(tasks: &PackedTasks) -> Result<Expected<'_>, Malformed> {
    let tasks_count = tasks.lengths.len();
    let counts = match (tasks.expected_counts.is_empty(), tasks.expected.is_empty()) {
        (true, true) => Counts::None,
        (true, false) => Counts::One,
        (false, _) => {
            check_count("expected_counts", tasks.expected_counts.len(), tasks_count)?;
            Counts::Each(&tasks.expected_counts)
        }
    };
    let total: usize = match counts {
        Counts::None => 0,
        Counts::One => tasks_count,
        Counts::Each(counts) => counts.iter().map(|count| usize::from(*count)).sum(),
    };
    let algorithms = &tasks.expected_algorithms;
    if let Some(digest) = algorithms.iter().position(|number| Algorithm::known(*number).is_none()) {
        let number = algorithms[digest];
        return Err(Malformed::new(
            format!("expected_algorithms[{digest}]"),
            format!("{number} is the number of no algorithm; `GetCapabilities` lists them"),
        ));
    }
    // One algorithm holds for all digests, of which there may be none.
    let bytes = match algorithms.as_slice() {
        [only] => Algorithm::known(*only).map_or(0, Algorithm::digest_bytes) * total,
        each if each.len() == total => {
            each.iter().filter_map(|number| Algorithm::known(*number)).map(Algorithm::digest_bytes).sum()
        }
        other => {
            let found = other.len();
            return Err(Malformed::new(
                "expected_algorithms",
                format!("must have one entry per expected digest ({total}), or a single one for all; has {found}"),
            ));
        }
    };
    if bytes != tasks.expected.len() {
        let found = tasks.expected.len();
        return Err(Malformed::new(
            "expected",
            format!("must be {bytes} bytes long by its algorithms and counts, is {found}"),
        ));
    }
    Ok(Expected { digests: &tasks.expected, algorithms, counts })
}
