//! Small inputs, of which the index is enough to make them again.

use std::ops::Range;

use hashmesh::{
    client::BatchBuilder,
    v1::{Limits, PackedTasks},
};

use super::Digest;
use crate::support::oracle;

/// Batches of at most 100 tasks.
pub(crate) fn builder() -> BatchBuilder {
    BatchBuilder::new(Limits { max_batch_tasks: 100, max_batch_bytes: 64 * 1024, ..Limits::default() })
}

fn input(task: usize) -> Vec<u8> {
    format!("input of task {task}").into_bytes()
}

/// These tasks, with their inputs.
pub(crate) fn tasks(tasks: Range<usize>) -> PackedTasks {
    let mut batch = builder();
    tasks.for_each(|task| batch.push_inline(task.to_string().as_bytes(), &input(task)));
    batch.take()
}

/// The digests of the first tasks, by another implementation.
pub(crate) fn digests(tasks: usize) -> Vec<Digest> {
    let inputs: Vec<_> = (0..tasks).map(input).collect();
    let digests = oracle::digests("sha256", inputs.iter().map(Vec::as_slice));
    digests.into_iter().map(|digest| digest.try_into().expect("32 bytes")).collect()
}
