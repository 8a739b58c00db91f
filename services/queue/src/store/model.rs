//! What the owner writes and what it reads back, as plain values: the vocabulary between the engine and Postgres.

use std::collections::BTreeMap;

use bytes::Bytes;
use hashmesh::{
    limits::DEFAULT_PRIORITY,
    v1::{Algorithm, CacheMode, EndReason, PackedNames, PackedOutcomes, TaskError},
};
use hashmesh_runtime::trace::TraceContext;
use uuid::Uuid;

use crate::{shard::Shard, wall::WallTime};

/// What one transaction does for one submission: all of it or nothing.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    /// The submission that every write belongs to.
    pub(crate) submission: Uuid,
    /// The submission's shard; its epoch is checked in the transaction.
    pub(crate) shard: Shard,
    /// In the order in which they take effect.
    pub(crate) writes: Vec<Write>,
}

/// One change of a submission.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Create(NewSubmission),
    Batch(NewBatch),
    Results(NewResults),
    /// No more batches follow; this many are stored.
    Seal {
        batch_count: u32,
    },
    /// Every task has its outcome.
    Complete,
    /// Unresolved tasks will never have one.
    Cancel {
        reason: EndReason,
        /// Of a listing that failed.
        error: Option<TaskError>,
    },
    /// What an operator says about a tenant or everyone. Belongs to no submission.
    Controls(ControlsChange),
}

/// A row of `submissions`, and of `idempotency_keys` if it has a key.
#[derive(Clone, Debug)]
pub(crate) struct NewSubmission {
    pub(crate) tenant: String,
    pub(crate) algorithms: Vec<Algorithm>,
    /// The length of the parts of composite digests; 0: there are none.
    pub(crate) part_bytes: u64,
    pub(crate) max_attempts: u32,
    /// Inline bytes are stored even where nothing can need them again.
    pub(crate) keep_inputs: bool,
    /// Kept at least this long after its end, in seconds; `None`: as the queue keeps others.
    pub(crate) retention_seconds: Option<u64>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) retry_of: Option<Uuid>,
    pub(crate) order: WorkOrder,
    pub(crate) cache: CacheMode,
    /// What workers list, in its canonical form; `None`: callers send batches.
    pub(crate) expansion_uri: Option<String>,
    /// Of a schedule.
    pub(crate) run: Option<ScheduledRun>,
    pub(crate) idempotency: Option<IdempotencyKey>,
}

/// Which schedule a submission is a run of.
#[derive(Clone, Debug)]
pub(crate) struct ScheduledRun {
    pub(crate) schedule: String,
    /// The run before.
    pub(crate) previous: Option<Uuid>,
}

/// When a submission's tasks are leased, and before whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkOrder {
    /// 0 to 9, the higher the sooner.
    pub(crate) priority: u8,
    /// None of its tasks is leased before.
    pub(crate) not_before: Option<WallTime>,
    /// It is cancelled then, if it has not ended.
    pub(crate) deadline: Option<WallTime>,
    /// How many of its tasks workers may hold at once.
    pub(crate) max_leased_tasks: Option<u32>,
}

impl Default for WorkOrder {
    fn default() -> Self {
        let priority = u8::try_from(DEFAULT_PRIORITY).unwrap_or(u8::MAX);
        Self { priority, not_before: None, deadline: None, max_leased_tasks: None }
    }
}

/// What an operator changes about a tenant or everyone: the row of `tenant_controls`, made if need be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ControlsChange {
    /// Empty: everyone.
    pub(crate) tenant: String,
    /// Whether none of its tasks is leased. `None`: as before.
    pub(crate) paused: Option<bool>,
    /// How many of its tasks workers may hold at once, 0: any number. `None`: as before.
    pub(crate) max_leased_tasks: Option<u32>,
    /// How many tasks it may bring within a day, 0: any number. `None`: as before.
    pub(crate) tasks_per_day: Option<u64>,
    /// How many bytes. The same.
    pub(crate) bytes_per_day: Option<u64>,
    /// What its tasks may name, as beginnings of URIs. `None`: as before.
    pub(crate) sources: Option<Vec<String>>,
}

/// A key that makes a rerun find its submission.
#[derive(Clone, Debug)]
pub(crate) struct IdempotencyKey {
    pub(crate) key: String,
    /// Of the options, so that a rerun with others is told.
    pub(crate) options_fingerprint: [u8; 32],
}

/// A row of `batches`.
#[derive(Clone, Debug)]
pub(crate) struct NewBatch {
    pub(crate) sequence: u32,
    pub(crate) task_count: u32,
    pub(crate) byte_count: u32,
    pub(crate) accepted_through: u64,
    pub(crate) fingerprint: [u8; 32],
    /// An encoded `PackedTasks` without names.
    pub(crate) tasks: Bytes,
    /// What is stored instead of `tasks` in a transaction that also records an outcome other than FAILED for each of
    /// them. `None`: always `tasks`.
    pub(crate) without_inputs: Option<Bytes>,
    pub(crate) names: Option<PackedNames>,
    pub(crate) reference_prefix: Option<String>,
    /// How far the listing is with it; `None`: a caller sent it.
    pub(crate) listed_to: Option<Bytes>,
    /// What its leases are linked to.
    pub(crate) trace_context: Option<TraceContext>,
}

/// A row of `results`.
#[derive(Clone, Debug)]
pub(crate) struct NewResults {
    pub(crate) position: u64,
    pub(crate) sequence: u32,
    pub(crate) first_task: u32,
    pub(crate) task_count: u32,
    pub(crate) attempt: u32,
    /// A byte per task; `None`: all succeeded.
    pub(crate) statuses: Option<Bytes>,
    /// An encoded `PackedOutcomes` with `digests`, `failures` and `identities` only.
    pub(crate) outcomes: Bytes,
    pub(crate) kernel: String,
    /// Totals of the submission after this row.
    pub(crate) totals: Totals,
    /// The span that records it, if it is sampled.
    pub(crate) trace_context: Option<TraceContext>,
}

/// Outcomes of a row of `results`, or of a part of one, and the sampled span that recorded them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TracedOutcomes {
    pub(crate) outcomes: PackedOutcomes,
    pub(crate) trace_context: Option<TraceContext>,
}

/// Counters of a submission's recorded outcomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) succeeded: u64,
    pub(crate) mismatched: u64,
    pub(crate) failed: u64,
    pub(crate) hashed_bytes: u64,
}

impl Totals {
    /// Outcomes recorded; the highest position.
    pub(crate) fn recorded(&self) -> u64 {
        self.succeeded + self.mismatched + self.failed
    }
}

/// An unfinished submission as the tables describe it: what a new owner starts from.
#[derive(Clone, Debug)]
pub(crate) struct Recovered {
    pub(crate) id: Uuid,
    pub(crate) tenant: String,
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) part_bytes: u64,
    pub(crate) max_attempts: u32,
    pub(crate) keep_inputs: bool,
    pub(crate) order: WorkOrder,
    pub(crate) cache: CacheMode,
    pub(crate) expansion_uri: Option<String>,
    /// How far that is listed: with the last stored batch.
    pub(crate) listed_to: Option<Bytes>,
    /// Set if sealed.
    pub(crate) batch_count: Option<u32>,
    /// Every batch below is resolved.
    pub(crate) resolved_through: u32,
    /// The outcomes of the other batches have positions above this one.
    pub(crate) outcomes_after: u64,
    /// Stored batches, and the tasks in them.
    pub(crate) next_sequence: u32,
    pub(crate) accepted_tasks: u64,
    pub(crate) totals: Totals,
    /// The first of its unresolved batches; `None`: not read yet.
    pub(crate) loaded: Option<LoadedBatches>,
}

/// The unresolved batches with sequence numbers from `from` up to but not including `through`, ascending.
#[derive(Clone, Debug, Default)]
pub(crate) struct LoadedBatches {
    pub(crate) from: u32,
    pub(crate) through: u32,
    pub(crate) batches: Vec<RecoveredBatch>,
    /// Some outcomes belong to batches from `through` on.
    pub(crate) outcomes_behind: bool,
}

impl Recovered {
    /// The first `count` of its unresolved batches.
    pub(crate) fn wants(&self, count: u32) -> WantedBatches {
        WantedBatches {
            submission: self.id,
            from: self.resolved_through.min(self.next_sequence),
            stored: self.next_sequence,
            count,
            after_position: self.outcomes_after,
            to_position: self.totals.recorded(),
        }
    }
}

/// A request for unresolved batches of a submission that are not in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WantedBatches {
    pub(crate) submission: Uuid,
    /// From this sequence number on.
    pub(crate) from: u32,
    /// Below this one: so many are committed.
    pub(crate) stored: u32,
    /// At most so many.
    pub(crate) count: u32,
    /// Outcomes of batches that are not in memory have positions above this one …
    pub(crate) after_position: u64,
    /// … and up to this one.
    pub(crate) to_position: u64,
}

/// A stored batch without its payload.
#[derive(Clone, Debug)]
pub(crate) struct RecoveredBatch {
    pub(crate) sequence: u32,
    pub(crate) task_count: u32,
    pub(crate) byte_count: u32,
    pub(crate) fingerprint: [u8; 32],
    pub(crate) reference_prefix: Option<String>,
    pub(crate) trace_context: Option<TraceContext>,
    /// Runs of tasks (first, count) that have outcomes, ascending.
    pub(crate) recorded: Vec<(u32, u32)>,
    /// What is known of ranges that have no outcome, ascending.
    pub(crate) leases: Vec<RecoveredLease>,
}

/// What a row of `leases` says of a range that has no outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecoveredLease {
    pub(crate) first_task: u32,
    pub(crate) task_count: u32,
    /// The attempt that was being made, or is next.
    pub(crate) attempt: u32,
    /// How many workers were lost with it.
    pub(crate) strikes: u32,
    /// The worker that held it; empty: one was about to.
    pub(crate) worker: Option<String>,
}

/// A change of the write-behind table `leases`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LeaseRow {
    pub(crate) submission: Uuid,
    pub(crate) sequence: u32,
    pub(crate) first_task: u32,
    pub(crate) task_count: u32,
    pub(crate) attempt: u32,
    /// Empty: about to be held by one. `None`: waits for this attempt.
    pub(crate) worker: Option<String>,
    /// How many workers were lost with it.
    pub(crate) strikes: u32,
}
