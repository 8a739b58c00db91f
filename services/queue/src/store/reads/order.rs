//! When work is done: options of submissions, and what holds for tenants.

use std::time::SystemTime;

use hashmesh::v1::{CacheMode, EndReason};
use hashmesh_database::{Database, postgres::Row};
use uuid::Uuid;

use super::{StoreError, many, natural};
use crate::store::model::{ControlsChange, WorkOrder};

/// Every row of `tenant_controls`.
pub(crate) async fn tenant_controls(db: &Database) -> Result<Vec<ControlsChange>, StoreError> {
    let what = "read the tenants' controls";
    let rows = many(db, what, include_str!("../sql/tenant_controls.sql"), &[]).await?;
    let controls = |row: &Row| {
        let failed = StoreError::statement(what);
        let max: Option<i32> = row.try_get("max_leased_tasks").map_err(&failed)?;
        let per_day = |name: &str| {
            let found: Option<i64> = row.try_get(name).map_err(&failed)?;
            Ok::<u64, StoreError>(found.map_or(0, i64::unsigned_abs))
        };
        Ok(ControlsChange {
            tenant: row.try_get("tenant").map_err(&failed)?,
            paused: Some(row.try_get("paused").map_err(&failed)?),
            max_leased_tasks: Some(max.map_or(0, i32::unsigned_abs)),
            tasks_per_day: Some(per_day("tasks_per_day")?),
            bytes_per_day: Some(per_day("bytes_per_day")?),
            sources: row.try_get("sources").map_err(&failed)?,
        })
    };
    rows.iter().map(controls).collect()
}

/// The columns of a submission that say when its tasks are leased.
pub(in crate::store) fn work_order(id: Uuid, row: &Row, what: &'static str) -> Result<WorkOrder, StoreError> {
    let failed = StoreError::statement(what);
    let max: Option<i32> = row.try_get("max_leased_tasks").map_err(&failed)?;
    let not_before: Option<SystemTime> = row.try_get("not_before").map_err(&failed)?;
    let deadline: Option<SystemTime> = row.try_get("deadline").map_err(&failed)?;
    Ok(WorkOrder {
        priority: natural(id, "priority", row.try_get::<_, i16>("priority").map_err(&failed)?)?,
        not_before: not_before.map(Into::into),
        deadline: deadline.map(Into::into),
        max_leased_tasks: max.map(|max| natural(id, "max_leased_tasks", max)).transpose()?,
    })
}

/// Why a submission ended, as it is stored.
pub(in crate::store) fn end_reason_text(reason: EndReason) -> Option<&'static str> {
    match reason {
        EndReason::Unspecified => None,
        EndReason::Caller => Some("caller"),
        EndReason::Deadline => Some("deadline"),
        EndReason::Idle => Some("idle"),
        EndReason::ExpansionFailed => Some("expansion"),
    }
}

/// Why a cancelled submission ended. Programs that stored no reason cancelled for callers only.
pub(in crate::store) fn end_reason(text: Option<&str>) -> EndReason {
    match text {
        Some("deadline") => EndReason::Deadline,
        Some("idle") => EndReason::Idle,
        Some("expansion") => EndReason::ExpansionFailed,
        None | Some("caller") => EndReason::Caller,
        // Of a newer program.
        Some(_) => EndReason::Unspecified,
    }
}

/// What a submission may take from the cache, as it is stored.
pub(in crate::store) fn cache_mode_text(mode: CacheMode) -> Option<&'static str> {
    match mode {
        CacheMode::Unspecified => None,
        CacheMode::Use => Some("use"),
        CacheMode::Refresh => Some("refresh"),
        CacheMode::Bypass => Some("bypass"),
    }
}

/// What a submission may take from the cache.
pub(in crate::store) fn cache_mode(row: &Row, what: &'static str) -> Result<CacheMode, StoreError> {
    let text: Option<&str> = row.try_get("cache_mode").map_err(StoreError::statement(what))?;
    Ok(match text {
        None => CacheMode::Unspecified,
        Some("use") => CacheMode::Use,
        Some("refresh") => CacheMode::Refresh,
        // Of a newer program: what is read is right.
        Some(_) => CacheMode::Bypass,
    })
}
