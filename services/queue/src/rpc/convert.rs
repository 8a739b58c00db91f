//! Frames to the queue's own values. The Gateway validates for people; here only what memory or rules depend on is
//! checked again.

use std::{sync::Arc, time::Instant};

use hashmesh::{
    algorithm::check_part_bytes,
    limits,
    queue::v1::{OpenSubmission, ValidatedBatch},
    tasks::Place,
    v1::{Algorithm, PackedNames, SubmissionOptions},
};
use hashmesh_runtime::trace::TraceContext;
use prost::Message as _;
use uuid::Uuid;

use crate::{
    core::{AlgorithmSet, NewBatchMeta},
    engine::IncomingBatch,
    error::QueueError,
    store::model::{IdempotencyKey, NewSubmission, ScheduledRun, WorkOrder},
    wall::WallTime,
};

/// A submission's id.
pub(super) fn submission_id(text: &str) -> Result<Uuid, QueueError> {
    Uuid::try_parse(text).map_err(|_| QueueError::NotFound)
}

/// Algorithms by their numbers.
pub(super) fn algorithms(numbers: &[i32]) -> Result<Vec<Algorithm>, QueueError> {
    let known = |number: &i32| {
        Algorithm::known(*number)
            .ok_or_else(|| QueueError::invalid("algorithms", format!("unknown algorithm {number}")))
    };
    numbers.iter().map(known).collect()
}

/// The algorithms that this version knows among these numbers.
pub(super) fn known_algorithms(numbers: &[i32]) -> Vec<Algorithm> {
    numbers.iter().filter_map(|number| Algorithm::known(*number)).collect()
}

/// A validated batch that has just come; `within`: what caused the call or the stream that brought it.
pub(super) fn batch(batch: ValidatedBatch, within: Option<TraceContext>) -> Result<IncomingBatch, QueueError> {
    let fingerprint = <[u8; 32]>::try_from(&*batch.fingerprint)
        .map_err(|_| QueueError::invalid("batch.fingerprint", "must have 32 bytes"))?;
    if batch.task_count == 0 || batch.task_count > limits::MAX_BATCH_TASKS {
        return Err(QueueError::invalid("batch.task_count", format!("must be 1 to {}", limits::MAX_BATCH_TASKS)));
    }
    if batch.sequence >= limits::MAX_BATCHES {
        return Err(QueueError::invalid("batch.sequence", format!("must be below {}", limits::MAX_BATCHES)));
    }
    let names = match &batch.names {
        empty if empty.is_empty() => None,
        encoded => Some(
            PackedNames::decode(encoded.clone())
                .map_err(|error| QueueError::invalid("batch.names", error.to_string()))?,
        ),
    };
    if names.as_ref().is_some_and(|names| names.lengths.len() != batch.task_count as usize) {
        return Err(QueueError::invalid("batch.names", "must be one per task"));
    }
    let prefix = (!batch.reference_prefix.is_empty()).then(|| Arc::from(batch.reference_prefix.as_str()));
    let meta = NewBatchMeta {
        sequence: batch.sequence,
        task_count: batch.task_count,
        byte_count: batch.byte_count,
        fingerprint,
        reference_prefix: prefix,
        expected: AlgorithmSet::of(&algorithms(&batch.expected_algorithms)?),
    };
    let trace = TraceContext::parse(&batch.traceparent).or(within);
    Ok(IncomingBatch { meta, tasks: batch.tasks, names, received: Instant::now(), trace })
}

/// What a new submission is to be.
pub(super) fn new_submission(open: &OpenSubmission, retry_of: Option<Uuid>) -> Result<NewSubmission, QueueError> {
    let options = open.options.clone().unwrap_or_default();
    let algorithms = algorithms(&options.algorithms)?;
    if algorithms.is_empty() || algorithms.len() > limits::MAX_ALGORITHMS {
        return Err(QueueError::invalid("options.algorithms", format!("must be 1 to {}", limits::MAX_ALGORITHMS)));
    }
    check_part_bytes(&algorithms, options.part_bytes)
        .map_err(|error| QueueError::invalid("options.part_bytes", error.to_string()))?;
    if options.max_attempts == 0 || options.max_attempts > limits::MAX_MAX_ATTEMPTS {
        return Err(QueueError::invalid("options.max_attempts", format!("must be 1 to {}", limits::MAX_MAX_ATTEMPTS)));
    }
    let idempotency = (!open.idempotency_key.is_empty()).then(|| IdempotencyKey {
        key: open.idempotency_key.clone(),
        options_fingerprint: options_fingerprint(&options, retry_of),
    });
    Ok(NewSubmission {
        tenant: open.tenant.clone(),
        algorithms,
        part_bytes: options.part_bytes,
        max_attempts: options.max_attempts,
        keep_inputs: options.keep_inputs,
        retention_seconds: retention_seconds(options.retention)?,
        labels: options.labels.clone(),
        retry_of,
        order: work_order(&options)?,
        run: scheduled_run(open)?,
        cache: options.cache(),
        expansion_uri: options.expansion.as_ref().map(|expansion| expansion_uri(&expansion.source_uri)).transpose()?,
        idempotency,
    })
}

/// The schedule that a submission is a run of.
fn scheduled_run(open: &OpenSubmission) -> Result<Option<ScheduledRun>, QueueError> {
    if open.schedule.is_empty() {
        return Ok(None);
    }
    let previous = if open.previous_run.is_empty() { None } else { Some(submission_id(&open.previous_run)?) };
    Ok(Some(ScheduledRun { schedule: open.schedule.clone(), previous }))
}

/// What workers are asked to list.
fn expansion_uri(uri: &str) -> Result<String, QueueError> {
    let field = "options.expansion.source_uri";
    if uri.len() > limits::MAX_URI_BYTES {
        return Err(QueueError::invalid(field, format!("may have {} bytes", limits::MAX_URI_BYTES)));
    }
    let place = Place::of(uri.as_bytes()).map_err(|wanted| QueueError::invalid(field, wanted))?;
    Ok(place.uri())
}

/// Whole seconds, rounded up; `None` where the queue's default holds.
fn retention_seconds(retention: Option<prost_types::Duration>) -> Result<Option<u64>, QueueError> {
    let Some(retention) = retention else { return Ok(None) };
    let wanted =
        || QueueError::invalid("options.retention", format!("must be 0 to {} s", limits::MAX_RETENTION.as_secs()));
    let duration = std::time::Duration::try_from(retention).map_err(|_| wanted())?;
    if duration > limits::MAX_RETENTION {
        return Err(wanted());
    }
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    Ok((seconds > 0).then_some(seconds))
}

/// When a submission's tasks are leased.
fn work_order(options: &SubmissionOptions) -> Result<WorkOrder, QueueError> {
    let priority = options.priority.unwrap_or(limits::DEFAULT_PRIORITY);
    let wanted = format!("must be 0 to {}", limits::MAX_PRIORITY);
    let fitting = u8::try_from(priority).ok().filter(|_| priority <= limits::MAX_PRIORITY);
    let priority = fitting.ok_or_else(|| QueueError::invalid("options.priority", wanted))?;
    if options.max_leased_tasks > limits::MAX_LEASED_TASKS {
        let wanted = format!("must be 0 to {}", limits::MAX_LEASED_TASKS);
        return Err(QueueError::invalid("options.max_leased_tasks", wanted));
    }
    Ok(WorkOrder {
        priority,
        not_before: options.not_before.as_ref().map(WallTime::of_timestamp),
        deadline: options.deadline.as_ref().map(WallTime::of_timestamp),
        max_leased_tasks: (options.max_leased_tasks > 0).then_some(options.max_leased_tasks),
    })
}

/// Tells equal options from others. Maps are ordered, so that equal options have equal bytes. Defaults of options that
/// came later are left out, so that a key from before finds its submission.
fn options_fingerprint(options: &SubmissionOptions, retry_of: Option<Uuid>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let priority = options.priority.filter(|priority| *priority != limits::DEFAULT_PRIORITY);
    hasher.update(&SubmissionOptions { priority, ..options.clone() }.encode_to_vec());
    if let Some(id) = retry_of {
        hasher.update(id.as_bytes());
    }
    *hasher.finalize().as_bytes()
}
