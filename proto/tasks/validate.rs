//! Holding columns to every limit.

use super::{
    columns::{self, Expected, Malformed, OBJECT},
    fingerprint::fingerprint,
    uri,
};
use crate::{
    limits::{MAX_ALGORITHMS, MAX_BATCH_BYTES, MAX_BATCH_TASKS, MAX_NAME_BYTES, MAX_URI_BYTES},
    v1::{Algorithm, PackedTasks},
};

/// A field that is at fault, as `google.rpc.BadRequest` names it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {description}")]
pub struct Violation {
    /// The field's path below the message that holds the tasks: starts with `rows` or `columns`.
    pub field: String,
    /// What was wanted and what was found.
    pub description: String,
}

impl Violation {
    pub(super) fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into() }
    }
}

impl From<Malformed> for Violation {
    fn from(malformed: Malformed) -> Self {
        Self { field: format!("columns.{}", malformed.field), description: malformed.description }
    }
}

/// What is known of a batch once it is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Number of tasks, 1 to [`MAX_BATCH_TASKS`].
    pub task_count: u32,
    /// Bytes of inline data, URIs, names and expected digests together, at most [`MAX_BATCH_BYTES`].
    pub byte_count: u32,
    /// BLAKE3 over the tasks in canonical form: the same for rows and columns with the same meaning.
    pub fingerprint: [u8; 32],
    /// What all URIs have in common, written as workers announce what they read: a directory, the beginning of a bucket's
    /// keys, a host, a scheme, or [`ANY_SOURCE`](super::ANY_SOURCE). Empty: all tasks are inline.
    pub reference_prefix: String,
    /// The algorithms that occur among the expected digests, each once, ascending.
    pub expected_algorithms: Vec<Algorithm>,
}

/// Checks columns against one another and against every limit, and makes the batch's fingerprint. Allocates nothing per
/// task; the time goes into the fingerprint, which reads every byte once.
///
/// # Errors
/// If a limit is exceeded or the columns disagree. Paths start with `columns`.
pub fn validate(tasks: &PackedTasks) -> Result<Summary, Violation> {
    let count = tasks.lengths.len();
    if count == 0 || count > MAX_BATCH_TASKS as usize {
        return Err(Violation::new(
            "columns.lengths",
            format!("a batch must have 1 to {MAX_BATCH_TASKS} tasks, this one has {count}"),
        ));
    }
    if tasks.listed.is_some() {
        return Err(Violation::new(
            "columns.listed",
            "must not be set: only the mesh's own listings say what objects were",
        ));
    }
    let names_bytes = tasks.names.as_ref().map_or(0, |names| names.data.len());
    let byte_count = tasks.data.len() + names_bytes + tasks.expected.len();
    if byte_count > MAX_BATCH_BYTES as usize {
        return Err(Violation::new(
            "columns",
            format!(
                "a batch's inputs, names and expected digests may have {MAX_BATCH_BYTES} bytes together, \
                 these have {byte_count}; send smaller batches"
            ),
        ));
    }
    let expected = columns::check(tasks)?;
    check_names(tasks)?;
    let reference_prefix = check_objects(tasks)?;
    let expected_algorithms = check_expected(tasks, expected)?;
    Ok(Summary {
        task_count: count as u32,
        byte_count: byte_count as u32,
        fingerprint: fingerprint(tasks, expected),
        reference_prefix,
        expected_algorithms,
    })
}

/// What [`range_fits`] wants.
pub(super) const RANGE_WANTED: &str = "offset and length together may not exceed 2^63 - 1, as no object is longer";

/// True if a range may exist in some object: sizes of files and objects are signed 64-bit numbers.
pub(super) fn range_fits(offset: u64, length: u64) -> bool {
    offset.checked_add(length).is_some_and(|end| i64::try_from(end).is_ok())
}

fn check_names(tasks: &PackedTasks) -> Result<(), Violation> {
    let Some(names) = &tasks.names else { return Ok(()) };
    let Some(task) = names.lengths.iter().position(|length| *length as usize > MAX_NAME_BYTES) else { return Ok(()) };
    let found = names.lengths[task];
    Err(Violation::new(
        format!("columns.names.lengths[{task}]"),
        format!("a name may have {MAX_NAME_BYTES} bytes, this one has {found}"),
    ))
}

/// Checks every URI and range; the result is the URIs' common prefix.
fn check_objects(tasks: &PackedTasks) -> Result<String, Violation> {
    if !columns::any_object(tasks) {
        return Ok(String::new());
    }
    let mut common: Option<&[u8]> = None;
    let mut start = 0;
    for (task, length) in tasks.lengths.iter().enumerate() {
        let end = start + *length as usize;
        let input = &tasks.data[start..end];
        start = end;
        if tasks.kinds[task] != OBJECT {
            continue;
        }
        if input.len() > MAX_URI_BYTES {
            return Err(Violation::new(
                format!("columns.lengths[{task}]"),
                format!("a URI may have {MAX_URI_BYTES} bytes, this one has {length}"),
            ));
        }
        uri::check_uri(input)
            .map_err(|wanted| Violation::new("columns.data", format!("the URI of task {task} {wanted}")))?;
        common = Some(common.map_or(input, |common| common_prefix(common, input)));
    }
    for (task, (offset, length)) in tasks.range_offsets.iter().zip(&tasks.range_lengths).enumerate() {
        if !range_fits(*offset, *length) {
            return Err(Violation::new(format!("columns.range_lengths[{task}]"), RANGE_WANTED));
        }
    }
    Ok(uri::directory(common.unwrap_or_default()))
}

fn common_prefix<'a>(one: &'a [u8], other: &[u8]) -> &'a [u8] {
    // Neighbours mostly share almost everything, so whole slices are compared first.
    if other.starts_with(one) {
        return one;
    }
    let length = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    &one[..length]
}

/// Checks that no task has two digests of one algorithm; the result is the algorithms that occur.
fn check_expected(tasks: &PackedTasks, expected: Expected<'_>) -> Result<Vec<Algorithm>, Violation> {
    if expected.none() {
        return Ok(Vec::new());
    }
    let mut cursor = expected.cursor();
    let mut seen_anywhere = 0_u64;
    for task in 0..tasks.lengths.len() {
        let count = expected.count(task);
        if count > MAX_ALGORITHMS {
            return Err(Violation::new(
                format!("columns.expected_counts[{task}]"),
                format!("a task may have {MAX_ALGORITHMS} expected digests, this one has {count}"),
            ));
        }
        let mut seen = 0_u64;
        let mut repeated = None;
        cursor.next_task(|algorithm, _| {
            let bit = 1 << (algorithm as i32);
            if seen & bit != 0 {
                repeated = Some(algorithm);
            }
            seen |= bit;
        });
        if let Some(algorithm) = repeated {
            return Err(Violation::new(
                format!("columns.expected_counts[{task}]"),
                format!("a task may have one expected digest per algorithm, this one has two of {}", algorithm.name()),
            ));
        }
        seen_anywhere |= seen;
    }
    Ok(Algorithm::ALL.into_iter().filter(|algorithm| seen_anywhere & 1 << (*algorithm as i32) != 0).collect())
}

#[cfg(test)]
mod tests;
