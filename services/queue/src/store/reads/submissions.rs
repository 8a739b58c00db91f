//! Submissions as clients see them.

use std::{collections::BTreeMap, time::SystemTime};

use hashmesh::v1::{Expansion, Submission, SubmissionOptions, SubmissionState, TaskError};
use hashmesh_database::{
    Database,
    postgres::{IsolationLevel, Row, types::Type},
};
use uuid::Uuid;

use super::{
    Sessions, StoreError, algorithms, natural, one,
    order::{self, work_order},
    part_bytes,
};
use crate::{shard::Shard, wall::WallTime};

const READ: &str = "read a submission";
const LIST: &str = "list submissions";

/// A page of a tenant's submissions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubmissionsPage<'a> {
    pub(crate) tenant: &'a str,
    /// At most this many.
    pub(crate) page_size: u32,
    /// Only those older than this one.
    pub(crate) before: Option<Uuid>,
    /// Only those in this state.
    pub(crate) state: Option<SubmissionState>,
    /// Only those that carry all of these labels.
    pub(crate) labels: &'a BTreeMap<String, String>,
    /// Only those that retry this one.
    pub(crate) retry_of: Option<Uuid>,
}

/// A submission and its tenant; `None` if there is none. `wait_reason` is not set: the tables do not know it.
pub(crate) async fn submission(db: &Database, id: Uuid) -> Result<Option<(String, Submission)>, StoreError> {
    let row = one(db, READ, include_str!("../sql/submission.sql"), &[(&id, Type::UUID)]).await?;
    row.map(|row| read(&row, READ)).transpose()
}

/// The submissions of a page, newest first, and whether more follow. Two statements in one snapshot: the first finds
/// which days the second must look into.
pub(crate) async fn submissions(
    db: &impl Sessions,
    page: &SubmissionsPage<'_>,
) -> Result<(Vec<Submission>, bool), StoreError> {
    // One more than shown tells whether more follow.
    let limit = i64::from(page.page_size) + 1;
    let state = page.state.and_then(state_text);
    let labels = serde_json::json!(page.labels).to_string();
    let failed = StoreError::statement(LIST);
    let mut connection = db.session(LIST).await?;
    let snapshot = connection.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let snapshot = snapshot.start().await.map_err(&failed)?;
    let found = snapshot
        .query_typed(
            include_str!("../sql/submissions_page.sql"),
            &[
                (&page.tenant, Type::TEXT),
                (&page.before, Type::UUID),
                (&state, Type::TEXT),
                (&labels, Type::TEXT),
                (&page.retry_of, Type::UUID),
                (&limit, Type::INT8),
            ],
        )
        .await
        .map_err(&failed)?;
    let ids: Vec<Uuid> = found.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(&failed)?;
    let (Some(newest), Some(oldest)) = (ids.first(), ids.last()) else {
        return Ok((Vec::new(), false));
    };
    let rows = snapshot
        .query_typed(
            include_str!("../sql/submissions.sql"),
            &[(&ids, Type::UUID_ARRAY), (oldest, Type::UUID), (newest, Type::UUID)],
        )
        .await
        .map_err(&failed)?;
    snapshot.commit().await.map_err(&failed)?;
    let more = rows.len() > page.page_size as usize;
    let shown = rows
        .iter()
        .take(page.page_size as usize)
        .map(|row| read(row, LIST).map(|(_, submission)| submission))
        .collect::<Result<_, _>>()?;
    Ok((shown, more))
}

/// The submission that a key names, and the fingerprint of its options.
pub(crate) async fn find_key(
    db: &Database,
    shard: Shard,
    tenant: &str,
    key: &str,
) -> Result<Option<(Uuid, [u8; 32])>, StoreError> {
    let what = "find an idempotency key";
    let shard = i16::from(shard.number());
    let parameters = [(&shard as _, Type::INT2), (&tenant as _, Type::TEXT), (&key as _, Type::TEXT)];
    let Some(row) = one(db, what, include_str!("../sql/find_key.sql"), &parameters).await? else {
        return Ok(None);
    };
    let id: Uuid = row.try_get(0).map_err(StoreError::statement(what))?;
    let fingerprint: &[u8] = row.try_get(1).map_err(StoreError::statement(what))?;
    let fingerprint = fingerprint
        .try_into()
        .map_err(|_| StoreError::damaged(id, format!("an options fingerprint of {} bytes", fingerprint.len())))?;
    Ok(Some((id, fingerprint)))
}

fn read(row: &Row, what: &'static str) -> Result<(String, Submission), StoreError> {
    let failed = StoreError::statement(what);
    let id: Uuid = row.try_get("id").map_err(&failed)?;
    let count = |column: &str| -> Result<u64, StoreError> {
        natural(id, column, row.try_get::<_, i64>(column).map_err(&failed)?)
    };
    let state = state(id, row.try_get("state").map_err(&failed)?)?;
    let labels: String = row.try_get("labels").map_err(&failed)?;
    let labels = serde_json::from_str(&labels).map_err(|error| StoreError::damaged(id, format!("labels: {error}")))?;
    let numbers: Vec<i16> = row.try_get("algorithms").map_err(&failed)?;
    let created_at: SystemTime = row.try_get("created_at").map_err(&failed)?;
    let ended_at: Option<SystemTime> = row.try_get("ended_at").map_err(&failed)?;
    let retention_seconds: Option<i64> = row.try_get("retention_seconds").map_err(&failed)?;
    let retry_of: Option<Uuid> = row.try_get("retry_of").map_err(&failed)?;

    let work_order = work_order(id, row, what)?;
    let end_reason: Option<&str> = row.try_get("end_reason").map_err(&failed)?;

    let expansion_uri: Option<String> = row.try_get("expansion_uri").map_err(&failed)?;
    let schedule: Option<String> = row.try_get("schedule").map_err(&failed)?;
    let previous_run: Option<Uuid> = row.try_get("previous_run").map_err(&failed)?;
    let error_reason: Option<String> = row.try_get("end_error_reason").map_err(&failed)?;
    let error_message: Option<String> = row.try_get("end_error_message").map_err(&failed)?;
    let expansion_error = error_reason.map(|reason| TaskError { reason, message: error_message.unwrap_or_default() });

    let accepted_tasks = count("accepted")?;
    let (succeeded_tasks, mismatched_tasks, failed_tasks) =
        (count("succeeded")?, count("mismatched")?, count("failed")?);
    let recorded_tasks = succeeded_tasks + mismatched_tasks + failed_tasks;
    let cancelled_tasks =
        if state == SubmissionState::Cancelled { accepted_tasks.saturating_sub(recorded_tasks) } else { 0 };
    let submission = Submission {
        submission_id: id.to_string(),
        state: state.into(),
        options: Some(SubmissionOptions {
            algorithms: algorithms(id, &numbers)?.into_iter().map(i32::from).collect(),
            labels,
            max_attempts: natural(id, "max_attempts", row.try_get::<_, i16>("max_attempts").map_err(&failed)?)?,
            keep_inputs: row.try_get("keep_inputs").map_err(&failed)?,
            retention: retention_seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
            priority: Some(work_order.priority.into()),
            not_before: work_order.not_before.map(WallTime::to_timestamp),
            deadline: work_order.deadline.map(WallTime::to_timestamp),
            max_leased_tasks: work_order.max_leased_tasks.unwrap_or(0),
            part_bytes: part_bytes(id, row, what)?,
            expansion: expansion_uri.map(|source_uri| Expansion { source_uri }),
            cache: order::cache_mode(row, what)?.into(),
        }),
        next_sequence: natural(id, "next_sequence", row.try_get::<_, i32>("next_sequence").map_err(&failed)?)?,
        accepted_tasks,
        recorded_tasks,
        succeeded_tasks,
        mismatched_tasks,
        failed_tasks,
        cancelled_tasks,
        hashed_bytes: count("hashed_bytes")?,
        create_time: Some(created_at.into()),
        end_time: ended_at.map(Into::into),
        retry_of: retry_of.map(|id| id.to_string()).unwrap_or_default(),
        end_reason: if state == SubmissionState::Cancelled { order::end_reason(end_reason).into() } else { 0 },
        expansion_error,
        schedule: schedule.unwrap_or_default(),
        previous_run: previous_run.map(|id| id.to_string()).unwrap_or_default(),
        ..Submission::default()
    };
    Ok((row.try_get("tenant").map_err(&failed)?, submission))
}

fn state(id: Uuid, text: &str) -> Result<SubmissionState, StoreError> {
    match text {
        "open" => Ok(SubmissionState::Open),
        "sealed" => Ok(SubmissionState::Sealed),
        "completed" => Ok(SubmissionState::Completed),
        "cancelled" => Ok(SubmissionState::Cancelled),
        _ => Err(StoreError::damaged(id, format!("state {text:?} is unknown"))),
    }
}

fn state_text(state: SubmissionState) -> Option<&'static str> {
    match state {
        SubmissionState::Unspecified => None,
        SubmissionState::Open => Some("open"),
        SubmissionState::Sealed => Some("sealed"),
        SubmissionState::Completed => Some("completed"),
        SubmissionState::Cancelled => Some("cancelled"),
    }
}
