//! A submission as text and as JSON.

use std::{fmt::Write as _, time::SystemTime};

use hashmesh::v1::{Algorithm, CacheMode, EndReason, Submission, SubmissionState, WaitReason};
use serde_json::{Map, Value, json};

use super::{
    caching::mode_name,
    failure::{self, Failure},
    output::{Format, lines, write_document, write_text},
};

/// The submission as a JSON object. What is not set is left out.
pub(super) fn json(submission: &Submission) -> Value {
    let options = submission.options.clone().unwrap_or_default();
    let mut object = Map::from_iter([
        ("submission_id".to_owned(), json!(submission.submission_id)),
        ("state".to_owned(), json!(submission.state().name())),
        ("algorithms".to_owned(), json!(algorithms(&options.algorithms))),
        ("labels".to_owned(), json!(options.labels)),
        ("max_attempts".to_owned(), json!(options.max_attempts)),
        ("keep_inputs".to_owned(), json!(options.keep_inputs)),
        ("retention_seconds".to_owned(), json!(options.retention.map(|retention| retention.seconds))),
        ("batches".to_owned(), json!(submission.next_sequence)),
        ("accepted_tasks".to_owned(), json!(submission.accepted_tasks)),
        ("recorded_tasks".to_owned(), json!(submission.recorded_tasks)),
        ("succeeded_tasks".to_owned(), json!(submission.succeeded_tasks)),
        ("mismatched_tasks".to_owned(), json!(submission.mismatched_tasks)),
        ("failed_tasks".to_owned(), json!(submission.failed_tasks)),
        ("cancelled_tasks".to_owned(), json!(submission.cancelled_tasks)),
        ("hashed_bytes".to_owned(), json!(submission.hashed_bytes)),
    ]);
    if let Some(priority) = options.priority {
        object.insert("priority".to_owned(), json!(priority));
    }
    if options.max_leased_tasks > 0 {
        object.insert("max_leased_tasks".to_owned(), json!(options.max_leased_tasks));
    }
    if let Some(expansion) = &options.expansion {
        object.insert("source_uri".to_owned(), json!(expansion.source_uri));
    }
    if let Some(error) = &submission.expansion_error {
        object.insert("expansion_error".to_owned(), json!(format!("{}: {}", error.reason, error.message)));
    }
    if options.cache() != CacheMode::Unspecified {
        object.insert("cache".to_owned(), json!(mode_name(options.cache())));
    }
    if options.part_bytes > 0 {
        object.insert("part_bytes".to_owned(), json!(options.part_bytes));
    }
    let times = [
        ("not_before", &options.not_before),
        ("deadline", &options.deadline),
        ("create_time", &submission.create_time),
        ("end_time", &submission.end_time),
    ];
    for (key, time) in times {
        if let Some(text) = time.as_ref().and_then(timestamp) {
            object.insert(key.to_owned(), json!(text));
        }
    }
    for (key, text) in [("schedule", &submission.schedule), ("previous_run", &submission.previous_run)] {
        if !text.is_empty() {
            object.insert(key.to_owned(), json!(text));
        }
    }
    if !submission.retry_of.is_empty() {
        object.insert("retry_of".to_owned(), json!(submission.retry_of));
    }
    if let Some(reason) = ended_by(submission) {
        object.insert("end_reason".to_owned(), json!(reason));
    }
    if let Some(reason) = waits_for(submission) {
        object.insert("wait_reason".to_owned(), json!(reason));
    }
    Value::Object(object)
}

/// The submission as lines `key: value`, the same as in JSON.
pub(super) fn text(submission: &Submission) -> String {
    lines(&json(submission))
}

/// What happened, on one line.
pub(super) fn summary(submission: &Submission) -> String {
    let mut text = format!(
        "{} is {}: {} {}, {} succeeded",
        submission.submission_id,
        submission.state().name(),
        submission.accepted_tasks,
        if submission.accepted_tasks == 1 { "task" } else { "tasks" },
        submission.succeeded_tasks
    );
    let others = [
        (submission.mismatched_tasks, "mismatched"),
        (submission.failed_tasks, "failed"),
        (submission.cancelled_tasks, "cancelled"),
    ];
    for (count, what) in others {
        if count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    if let Some(reason) = waits_for(submission) {
        let _ = write!(text, " ({reason})");
    }
    if let Some(error) = &submission.expansion_error {
        let _ = write!(text, "; its source cannot be listed: {} ({})", error.message, error.reason);
    }
    text
}

/// Writes it to standard output.
pub(super) async fn write(format: Format, submission: &Submission) -> Result<(), Failure> {
    match format {
        Format::Text => write_text(&text(submission)).await,
        Format::Json | Format::Jsonl => write_document(format, &json(submission)).await,
    }
}

/// The exit code for a submission at its end.
pub(super) fn exit_code(submission: &Submission) -> u8 {
    let flawed = submission.failed_tasks + submission.mismatched_tasks > 0;
    let cancelled = submission.state() == SubmissionState::Cancelled;
    if flawed || cancelled { failure::TROUBLE } else { failure::OK }
}

/// The names of algorithms, in their order.
pub(super) fn algorithms(numbers: &[i32]) -> Vec<&'static str> {
    numbers.iter().filter_map(|number| Algorithm::known(*number)).map(Algorithm::name).collect()
}

/// A point in time as RFC 3339, to the millisecond.
pub(super) fn timestamp(time: &prost_types::Timestamp) -> Option<String> {
    let time = SystemTime::try_from(*time).ok()?;
    Some(humantime::format_rfc3339_millis(time).to_string())
}

fn waits_for(submission: &Submission) -> Option<&'static str> {
    match submission.wait_reason() {
        WaitReason::Unspecified => None,
        WaitReason::WaitingForWorker => Some("waiting for a worker that may read its sources"),
        WaitReason::Paused => Some("paused"),
        WaitReason::NotBefore => Some("its time has not come"),
    }
}

fn ended_by(submission: &Submission) -> Option<&'static str> {
    match submission.end_reason() {
        EndReason::Unspecified => None,
        EndReason::Caller => Some("cancelled by a caller"),
        EndReason::Deadline => Some("its deadline passed"),
        EndReason::Idle => Some("it was open and idle for too long"),
        EndReason::ExpansionFailed => Some("its source could not be listed"),
    }
}
