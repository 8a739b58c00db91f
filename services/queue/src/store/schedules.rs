//! Schedules. Not under the fence: no shard owns them. Who runs one creates a submission, which is fenced, and then moves the
//! schedule on from the time that it saw.

use std::time::SystemTime;

use hashmesh::v1::{Schedule, SubmissionOptions};
use hashmesh_database::{
    Database,
    postgres::{Row, types::Type},
};
use prost::Message as _;
use uuid::Uuid;

use super::{
    StoreError,
    reads::{many, one, one_as},
};

/// A schedule whose time has come.
#[derive(Debug)]
pub(crate) struct DueSchedule {
    pub(crate) tenant: String,
    pub(crate) schedule: Schedule,
    pub(crate) due_at: SystemTime,
    pub(crate) last_run: Option<Uuid>,
}

/// Stores a schedule; `None`: its name is taken, or the tenant has `most` already.
pub(crate) async fn create_schedule(
    db: &Database,
    tenant: &str,
    schedule: &Schedule,
    next_run_at: Option<SystemTime>,
    most: u32,
) -> Result<Option<Schedule>, StoreError> {
    let what = "create a schedule";
    let options = schedule.options.clone().unwrap_or_default().encode_to_vec();
    let parameters = [
        (&tenant as _, Type::TEXT),
        (&schedule.name as _, Type::TEXT),
        (&schedule.cron as _, Type::TEXT),
        (&schedule.time_zone as _, Type::TEXT),
        (&options as _, Type::BYTEA),
        (&next_run_at as _, Type::TIMESTAMPTZ),
        (&i64::from(most) as _, Type::INT8),
    ];
    one_as(db, what, include_str!("sql/create_schedule.sql"), &parameters, read).await
}

/// The tenant's schedule of this name.
pub(crate) async fn schedule(db: &Database, tenant: &str, name: &str) -> Result<Option<Schedule>, StoreError> {
    let what = "read a schedule";
    let parameters = [(&tenant as _, Type::TEXT), (&name as _, Type::TEXT)];
    one_as(db, what, include_str!("sql/schedule.sql"), &parameters, read).await
}

/// All of a tenant's, by name.
pub(crate) async fn schedules(db: &Database, tenant: &str) -> Result<Vec<Schedule>, StoreError> {
    let what = "list schedules";
    let rows = many(db, what, include_str!("sql/schedules.sql"), &[(&tenant as _, Type::TEXT)]).await?;
    rows.iter().map(|row| read(row, what)).collect()
}

/// False: there was none.
pub(crate) async fn delete_schedule(db: &Database, tenant: &str, name: &str) -> Result<bool, StoreError> {
    let parameters = [(&tenant as _, Type::TEXT), (&name as _, Type::TEXT)];
    let deleted = one(db, "delete a schedule", include_str!("sql/delete_schedule.sql"), &parameters).await?;
    Ok(deleted.is_some())
}

/// Some of those whose time has come.
pub(crate) async fn due_schedules(db: &Database) -> Result<Vec<DueSchedule>, StoreError> {
    let what = "find the schedules that are due";
    let rows = many(db, what, include_str!("sql/due_schedules.sql"), &[]).await?;
    let due = |row: &Row| {
        let failed = StoreError::statement(what);
        Ok(DueSchedule {
            tenant: row.try_get("tenant").map_err(&failed)?,
            schedule: read(row, what)?,
            due_at: row.try_get("next_run_at").map_err(&failed)?,
            last_run: row.try_get("last_run").map_err(&failed)?,
        })
    };
    rows.iter().map(due).collect()
}

/// Moves a schedule on from the time that was due. `run`: the submission of this time; `None`: it was skipped.
pub(crate) async fn advance_schedule(
    db: &Database,
    due: &DueSchedule,
    next: Option<SystemTime>,
    run: Option<Uuid>,
) -> Result<(), StoreError> {
    let parameters = [
        (&due.tenant as _, Type::TEXT),
        (&due.schedule.name as _, Type::TEXT),
        (&due.due_at as _, Type::TIMESTAMPTZ),
        (&next as _, Type::TIMESTAMPTZ),
        (&run as _, Type::UUID),
    ];
    one(db, "move a schedule on", include_str!("sql/advance_schedule.sql"), &parameters).await.map(drop)
}

fn read(row: &Row, what: &'static str) -> Result<Schedule, StoreError> {
    let failed = StoreError::statement(what);
    let options: &[u8] = row.try_get("options").map_err(&failed)?;
    let options = SubmissionOptions::decode(options)
        .map_err(|error| StoreError::damaged(Uuid::nil(), format!("a schedule's options: {error}")))?;
    let created_at: SystemTime = row.try_get("created_at").map_err(&failed)?;
    let next_run_at: Option<SystemTime> = row.try_get("next_run_at").map_err(&failed)?;
    let last_run: Option<Uuid> = row.try_get("last_run").map_err(&failed)?;
    let count = |column: &str| Ok::<_, StoreError>(row.try_get::<_, i64>(column).map_err(&failed)?.unsigned_abs());
    Ok(Schedule {
        name: row.try_get("name").map_err(&failed)?,
        cron: row.try_get("cron").map_err(&failed)?,
        time_zone: row.try_get("time_zone").map_err(&failed)?,
        options: Some(options),
        create_time: Some(created_at.into()),
        next_run_time: next_run_at.map(Into::into),
        last_submission_id: last_run.map(|id| id.to_string()).unwrap_or_default(),
        runs: count("runs")?,
        skipped_runs: count("skipped_runs")?,
    })
}
