//! A batch as the Queue takes it.

use prost::Message as _;

use super::{Violation, validate};
use crate::{
    queue::v1::ValidatedBatch,
    v1::{ListedObjects, PackedTasks},
};

/// Holds tasks to every limit, and encodes what the Queue need not look into. Names that are all empty are none.
///
/// Reads, hashes and copies every byte once: above some 256 KiB too much for an async thread.
///
/// # Errors
/// The first field that is not as it must be.
pub fn validated(sequence: u32, columns: PackedTasks) -> Result<ValidatedBatch, Violation> {
    validated_listing(sequence, columns, None)
}

/// The same, of objects that the mesh has listed: these are what they were then.
///
/// # Errors
/// As [`validated`].
pub fn validated_listing(
    sequence: u32,
    mut columns: PackedTasks,
    listed: Option<ListedObjects>,
) -> Result<ValidatedBatch, Violation> {
    let summary = validate(&columns)?;
    columns.listed = listed;
    let names = columns.names.take().filter(|names| !names.data.is_empty());
    Ok(ValidatedBatch {
        sequence,
        task_count: summary.task_count,
        byte_count: summary.byte_count,
        fingerprint: summary.fingerprint.to_vec().into(),
        tasks: columns.encode_to_vec().into(),
        names: names.map(|names| names.encode_to_vec().into()).unwrap_or_default(),
        reference_prefix: summary.reference_prefix,
        expected_algorithms: summary.expected_algorithms.into_iter().map(i32::from).collect(),
        traceparent: String::new(),
    })
}
