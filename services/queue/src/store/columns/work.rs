//! The work itself: batches and their outcomes.

use hashmesh::v1::PackedNames;
use hashmesh_runtime::trace::TraceContext;
use uuid::Uuid;

use super::{Parameters, Unfit, append, big, integer, small};
use crate::store::model::{NewBatch, NewResults};

/// Rows of `batches`.
#[derive(Debug, Default)]
pub(in crate::store) struct Batches<'a> {
    submissions: Vec<Uuid>,
    sequences: Vec<i32>,
    task_counts: Vec<i32>,
    byte_counts: Vec<i32>,
    accepted_through: Vec<i64>,
    fingerprints: Vec<&'a [u8]>,
    tasks: Vec<&'a [u8]>,
    names: Vec<Option<&'a [u8]>>,
    /// Each row's slice of `name_ends`, counted from 1, both ends included.
    ends_from: Vec<i32>,
    ends_to: Vec<i32>,
    name_ends: Vec<i32>,
    reference_prefixes: Vec<Option<&'a str>>,
    listed_to: Vec<Option<&'a [u8]>>,
    trace_contexts: Vec<Option<Vec<u8>>>,
}

/// Rows of `results`.
#[derive(Debug, Default)]
pub(in crate::store) struct Results<'a> {
    submissions: Vec<Uuid>,
    positions: Vec<i64>,
    sequences: Vec<i32>,
    first_tasks: Vec<i32>,
    task_counts: Vec<i32>,
    attempts: Vec<i16>,
    statuses: Vec<Option<&'a [u8]>>,
    outcomes: Vec<&'a [u8]>,
    kernels: Vec<&'a str>,
    succeeded: Vec<i64>,
    mismatched: Vec<i64>,
    failed: Vec<i64>,
    hashed_bytes: Vec<i64>,
    trace_contexts: Vec<Option<Vec<u8>>>,
}

impl<'a> Batches<'a> {
    pub(super) fn push(&mut self, id: Uuid, batch: &'a NewBatch, tasks: &'a [u8]) -> Result<(), Unfit> {
        let (from, to) = match &batch.names {
            Some(names) => append(&mut self.name_ends, ends(names, batch.task_count)?.into_iter().map(Ok))?,
            None => (1, 0),
        };
        self.submissions.push(id);
        self.sequences.push(integer("sequence", batch.sequence)?);
        self.task_counts.push(integer("task_count", batch.task_count)?);
        self.byte_counts.push(integer("byte_count", batch.byte_count)?);
        self.accepted_through.push(big("accepted_through", batch.accepted_through)?);
        self.fingerprints.push(&batch.fingerprint);
        self.tasks.push(tasks);
        self.names.push(batch.names.as_ref().map(|names| names.data.as_ref()));
        self.ends_from.push(from);
        self.ends_to.push(to);
        self.reference_prefixes.push(batch.reference_prefix.as_deref());
        self.listed_to.push(batch.listed_to.as_deref());
        self.trace_contexts.push(stored_context(batch.trace_context));
        Ok(())
    }

    pub(in crate::store) fn parameters(&self) -> Option<Parameters<'_>> {
        if self.submissions.is_empty() {
            return None;
        }
        let parameters: Parameters<'_> = vec![
            &self.submissions,
            &self.sequences,
            &self.task_counts,
            &self.byte_counts,
            &self.accepted_through,
            &self.fingerprints,
            &self.tasks,
            &self.names,
            &self.ends_from,
            &self.ends_to,
            &self.name_ends,
            &self.reference_prefixes,
            &self.listed_to,
            &self.trace_contexts,
        ];
        Some(parameters)
    }
}

impl<'a> Results<'a> {
    pub(super) fn push(&mut self, id: Uuid, results: &'a NewResults) -> Result<(), Unfit> {
        self.submissions.push(id);
        self.positions.push(big("position", results.position)?);
        self.sequences.push(integer("sequence", results.sequence)?);
        self.first_tasks.push(integer("first_task", results.first_task)?);
        self.task_counts.push(integer("task_count", results.task_count)?);
        self.attempts.push(small("attempt", results.attempt)?);
        self.statuses.push(results.statuses.as_deref());
        self.outcomes.push(&results.outcomes);
        self.kernels.push(&results.kernel);
        self.succeeded.push(big("succeeded", results.totals.succeeded)?);
        self.mismatched.push(big("mismatched", results.totals.mismatched)?);
        self.failed.push(big("failed", results.totals.failed)?);
        self.hashed_bytes.push(big("hashed_bytes", results.totals.hashed_bytes)?);
        self.trace_contexts.push(stored_context(results.trace_context));
        Ok(())
    }

    pub(in crate::store) fn parameters(&self) -> Option<Parameters<'_>> {
        if self.submissions.is_empty() {
            return None;
        }
        let parameters: Parameters<'_> = vec![
            &self.submissions,
            &self.positions,
            &self.sequences,
            &self.first_tasks,
            &self.task_counts,
            &self.attempts,
            &self.statuses,
            &self.outcomes,
            &self.kernels,
            &self.succeeded,
            &self.mismatched,
            &self.failed,
            &self.hashed_bytes,
            &self.trace_contexts,
        ];
        Some(parameters)
    }
}

/// Where each name ends in their concatenation.
fn ends(names: &PackedNames, task_count: u32) -> Result<Vec<i32>, Unfit> {
    let mut end = 0_u32;
    let ends = names
        .lengths
        .iter()
        .map(|length| {
            end = end.saturating_add(*length);
            integer("end of a name", end)
        })
        .collect::<Result<Vec<_>, _>>()?;
    if ends.len() != task_count as usize || end as usize != names.data.len() {
        let (count, bytes) = (ends.len(), names.data.len());
        return Err(Unfit(format!("{count} names that end at {end} of {bytes} bytes for {task_count} tasks")));
    }
    Ok(ends)
}

fn stored_context(context: Option<TraceContext>) -> Option<Vec<u8>> {
    context.map(|context| context.to_bytes().to_vec())
}
