//! A group's writes as columns: one statement per kind, one array per column. Payload is borrowed, never copied.

mod work;

use std::{collections::HashMap, time::SystemTime};

use hashmesh_database::postgres::types::ToSql;
use uuid::Uuid;

use super::{
    elision::Elision,
    long,
    model::{ControlsChange, NewSubmission, Unit, Write},
    reads::{cache_mode_text, end_reason_text},
};
use crate::{shard::Shard, wall::WallTime};
use work::{Batches, Results};

/// The most payload of one group. A parameter of Postgres holds 1 GiB.
const MAX_GROUP_BYTES: usize = 256 * 1024 * 1024;

/// The parameters of one statement, in its order.
pub(super) type Parameters<'a> = Vec<&'a (dyn ToSql + Sync)>;

/// Everything that one transaction writes.
#[derive(Debug, Default)]
pub(super) struct Columns<'a> {
    pub(super) created: Created<'a>,
    pub(super) keys: Keys<'a>,
    pub(super) batches: Batches<'a>,
    pub(super) results: Results<'a>,
    pub(super) sealed: Sealed,
    pub(super) completed: Vec<Uuid>,
    pub(super) cancelled: Cancelled<'a>,
    pub(super) controls: Controls<'a>,
    payload_bytes: usize,
}

/// Rows of `submissions`.
#[derive(Debug, Default)]
pub(super) struct Created<'a> {
    ids: Vec<Uuid>,
    tenants: Vec<&'a str>,
    shards: Vec<i16>,
    /// Each row's slice of `algorithms`, counted from 1, both ends included.
    algorithms_from: Vec<i32>,
    algorithms_to: Vec<i32>,
    algorithms: Vec<i16>,
    max_attempts: Vec<i16>,
    labels: Vec<String>,
    retry_of: Vec<Option<Uuid>>,
    priorities: Vec<i16>,
    not_before: Vec<Option<SystemTime>>,
    deadlines: Vec<Option<SystemTime>>,
    max_leased_tasks: Vec<Option<i32>>,
    /// Set where the same transaction seals the submission.
    batch_counts: Vec<Option<i32>>,
    /// True where the same transaction completes it too: one row is written instead of two, and no index twice.
    completed: Vec<bool>,
    /// Where each submission's row is.
    rows: HashMap<Uuid, usize>,
    keep_inputs: Vec<bool>,
    retention_seconds: Vec<Option<i64>>,
    part_bytes: Vec<Option<i64>>,
    expansion_uris: Vec<Option<&'a str>>,
    schedules: Vec<Option<&'a str>>,
    previous_runs: Vec<Option<Uuid>>,
    cache_modes: Vec<Option<&'static str>>,
}

/// Rows of `idempotency_keys`.
#[derive(Debug, Default)]
pub(super) struct Keys<'a> {
    shards: Vec<i16>,
    tenants: Vec<&'a str>,
    keys: Vec<&'a str>,
    submissions: Vec<Uuid>,
    fingerprints: Vec<&'a [u8]>,
}

/// Submissions that take no more batches.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    ids: Vec<Uuid>,
    batch_counts: Vec<i32>,
}

/// Submissions whose unresolved tasks will never have an outcome, and why.
#[derive(Debug, Default)]
pub(super) struct Cancelled<'a> {
    ids: Vec<Uuid>,
    reasons: Vec<Option<&'static str>>,
    error_reasons: Vec<Option<&'a str>>,
    error_messages: Vec<Option<&'a str>>,
}

/// Rows of `tenant_controls`, each tenant once.
#[derive(Debug, Default)]
pub(super) struct Controls<'a> {
    tenants: Vec<&'a str>,
    paused: Vec<Option<bool>>,
    max_leased_tasks: Vec<Option<i32>>,
    tasks_per_day: Vec<Option<i64>>,
    bytes_per_day: Vec<Option<i64>>,
    /// One text per row: arrays of arrays cannot be taken apart.
    sources: Vec<Option<String>>,
}

impl Cancelled<'_> {
    pub(super) fn parameters(&self) -> Option<Parameters<'_>> {
        let parameters: Parameters<'_> = vec![&self.ids, &self.reasons, &self.error_reasons, &self.error_messages];
        (!self.ids.is_empty()).then_some(parameters)
    }
}

impl<'a> Controls<'a> {
    fn push(&mut self, change: &'a ControlsChange) -> Result<(), Unfit> {
        let max = change.max_leased_tasks.map(|max| integer("max_leased_tasks", max)).transpose()?;
        let (tasks, bytes) = (change.tasks_per_day.map(long), change.bytes_per_day.map(long));
        let sources = change.sources.as_ref().map(|uris| uris.join("\n"));
        // No statement may write a row twice, so the later of two changes joins the earlier.
        if let Some(row) = self.tenants.iter().position(|tenant| *tenant == change.tenant) {
            self.paused[row] = change.paused.or(self.paused[row]);
            self.max_leased_tasks[row] = max.or(self.max_leased_tasks[row]);
            self.tasks_per_day[row] = tasks.or(self.tasks_per_day[row]);
            self.bytes_per_day[row] = bytes.or(self.bytes_per_day[row]);
            self.sources[row] = sources.or(self.sources[row].take());
        } else {
            self.tenants.push(&change.tenant);
            self.paused.push(change.paused);
            self.max_leased_tasks.push(max);
            self.tasks_per_day.push(tasks);
            self.bytes_per_day.push(bytes);
            self.sources.push(sources);
        }
        Ok(())
    }

    pub(super) fn parameters(&self) -> Option<Parameters<'_>> {
        let per_day: [&(dyn ToSql + Sync); 2] = [&self.tasks_per_day, &self.bytes_per_day];
        let parameters: Parameters<'_> =
            vec![&self.tenants, &self.paused, &self.max_leased_tasks, per_day[0], per_day[1], &self.sources];
        (!self.tenants.is_empty()).then_some(parameters)
    }
}

/// A value that no column can hold; the text says which.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unfit(String);

impl<'a> Columns<'a> {
    /// Takes the writes apart by kind. Their order within a submission is kept by the order of the kinds.
    pub(super) fn of(units: &[&'a Unit]) -> Result<Self, Unfit> {
        let mut columns = Self::default();
        // Of these units and no others: which bytes may be left out depends on what is committed with them.
        let mut elision = Elision::default();
        units.iter().for_each(|unit| elision.add(unit));
        for unit in units {
            for write in &unit.writes {
                columns.push(unit.submission, unit.shard, write, &elision)?;
            }
        }
        if columns.payload_bytes > MAX_GROUP_BYTES {
            return Err(Unfit(format!(
                "{} bytes of payload in one transaction, the limit is {MAX_GROUP_BYTES}",
                columns.payload_bytes
            )));
        }
        Ok(columns)
    }

    /// What is written of batches and outcomes, in bytes.
    pub(super) fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    fn push(&mut self, id: Uuid, shard: Shard, write: &'a Write, elision: &Elision) -> Result<(), Unfit> {
        match write {
            Write::Create(submission) => {
                self.created.push(id, shard, submission)?;
                self.keys.push(id, shard, submission);
            }
            Write::Batch(batch) => {
                let tasks = elision.stored(id, batch);
                self.payload_bytes += tasks.len() + batch.names.as_ref().map_or(0, |names| names.data.len());
                self.batches.push(id, batch, tasks)?;
            }
            Write::Results(results) => {
                self.payload_bytes += results.outcomes.len();
                self.results.push(id, results)?;
            }
            Write::Seal { batch_count } => {
                let batch_count = integer("batch_count", *batch_count)?;
                if !self.created.seal(id, batch_count) {
                    self.sealed.ids.push(id);
                    self.sealed.batch_counts.push(batch_count);
                }
            }
            Write::Complete => {
                if !self.created.complete(id) {
                    self.completed.push(id);
                }
            }
            Write::Cancel { reason, error } => {
                self.cancelled.ids.push(id);
                self.cancelled.reasons.push(end_reason_text(*reason));
                self.cancelled.error_reasons.push(error.as_ref().map(|error| error.reason.as_str()));
                self.cancelled.error_messages.push(error.as_ref().map(|error| error.message.as_str()));
            }
            Write::Controls(change) => self.controls.push(change)?,
        }
        Ok(())
    }
}

impl<'a> Created<'a> {
    fn push(&mut self, id: Uuid, shard: Shard, submission: &'a NewSubmission) -> Result<(), Unfit> {
        let labels = serde_json::to_string(&submission.labels).map_err(|error| Unfit(format!("labels: {error}")))?;
        let (from, to) = append(
            &mut self.algorithms,
            submission.algorithms.iter().map(|algorithm| small("algorithm", *algorithm as i32)),
        )?;
        self.rows.insert(id, self.ids.len());
        self.ids.push(id);
        self.tenants.push(&submission.tenant);
        self.shards.push(i16::from(shard.number()));
        self.algorithms_from.push(from);
        self.algorithms_to.push(to);
        self.max_attempts.push(small("max_attempts", submission.max_attempts)?);
        self.labels.push(labels);
        self.retry_of.push(submission.retry_of);
        let order = &submission.order;
        self.priorities.push(small("priority", order.priority)?);
        self.not_before.push(order.not_before.map(WallTime::to_system_time));
        self.deadlines.push(order.deadline.map(WallTime::to_system_time));
        let max_leased_tasks = order.max_leased_tasks.map(|max| integer("max_leased_tasks", max)).transpose()?;
        self.max_leased_tasks.push(max_leased_tasks);
        self.batch_counts.push(None);
        self.completed.push(false);
        self.keep_inputs.push(submission.keep_inputs);
        self.retention_seconds.push(submission.retention_seconds.map(long));
        // Checked where it came in: far below.
        let part_bytes = long(submission.part_bytes);
        self.part_bytes.push((part_bytes > 0).then_some(part_bytes));
        self.expansion_uris.push(submission.expansion_uri.as_deref());
        self.schedules.push(submission.run.as_ref().map(|run| run.schedule.as_str()));
        self.previous_runs.push(submission.run.as_ref().and_then(|run| run.previous));
        self.cache_modes.push(cache_mode_text(submission.cache));
        Ok(())
    }

    /// Creates the submission sealed, if it is created here and not sealed yet.
    fn seal(&mut self, id: Uuid, batch_count: i32) -> bool {
        match self.rows.get(&id).and_then(|row| self.batch_counts.get_mut(*row)) {
            Some(unsealed @ None) => {
                *unsealed = Some(batch_count);
                true
            }
            Some(Some(_)) | None => false,
        }
    }

    /// Creates the submission completed, if it is created and sealed here.
    fn complete(&mut self, id: Uuid) -> bool {
        let Some(row) = self.rows.get(&id).copied() else { return false };
        let sealed = self.batch_counts.get(row).is_some_and(Option::is_some);
        match self.completed.get_mut(row) {
            Some(completed @ false) if sealed => {
                *completed = true;
                true
            }
            _ => false,
        }
    }

    pub(super) fn parameters(&self) -> Option<Parameters<'_>> {
        if self.ids.is_empty() {
            return None;
        }
        let parameters: Parameters<'_> = vec![
            &self.ids,
            &self.tenants,
            &self.shards,
            &self.algorithms_from,
            &self.algorithms_to,
            &self.algorithms,
            &self.max_attempts,
            &self.labels,
            &self.retry_of,
            &self.batch_counts,
            &self.keep_inputs,
            &self.retention_seconds,
            &self.priorities,
            &self.not_before,
            &self.deadlines,
            &self.max_leased_tasks,
            &self.completed,
            &self.part_bytes,
            &self.expansion_uris,
            &self.schedules,
            &self.previous_runs,
            &self.cache_modes,
        ];
        Some(parameters)
    }
}

impl<'a> Keys<'a> {
    fn push(&mut self, id: Uuid, shard: Shard, submission: &'a NewSubmission) {
        let Some(idempotency) = &submission.idempotency else {
            return;
        };
        self.shards.push(i16::from(shard.number()));
        self.tenants.push(&submission.tenant);
        self.keys.push(&idempotency.key);
        self.submissions.push(id);
        self.fingerprints.push(&idempotency.options_fingerprint);
    }

    pub(super) fn parameters(&self) -> Option<Parameters<'_>> {
        if self.keys.is_empty() {
            return None;
        }
        let parameters: Parameters<'_> =
            vec![&self.shards, &self.tenants, &self.keys, &self.submissions, &self.fingerprints];
        Some(parameters)
    }
}

impl Sealed {
    pub(super) fn parameters(&self) -> Option<Parameters<'_>> {
        if self.ids.is_empty() {
            return None;
        }
        let parameters: Parameters<'_> = vec![&self.ids, &self.batch_counts];
        Some(parameters)
    }
}

/// Appends values to a shared column: their slice of it as Postgres counts, from 1 and both ends included.
fn append<T>(column: &mut Vec<T>, values: impl Iterator<Item = Result<T, Unfit>>) -> Result<(i32, i32), Unfit> {
    let from = integer("column", column.len() + 1)?;
    for value in values {
        column.push(value?);
    }
    Ok((from, integer("column", column.len())?))
}

fn small<T: TryInto<i16> + Copy + ToString>(what: &str, value: T) -> Result<i16, Unfit> {
    fit(what, "smallint", value)
}

fn integer<T: TryInto<i32> + Copy + ToString>(what: &str, value: T) -> Result<i32, Unfit> {
    fit(what, "integer", value)
}

fn big<T: TryInto<i64> + Copy + ToString>(what: &str, value: T) -> Result<i64, Unfit> {
    fit(what, "bigint", value)
}

fn fit<T: TryInto<U> + Copy + ToString, U>(what: &str, kind: &str, value: T) -> Result<U, Unfit> {
    value.try_into().map_err(|_| Unfit(format!("{what} {} does not fit a {kind}", value.to_string())))
}
