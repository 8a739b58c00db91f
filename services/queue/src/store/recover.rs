//! What a new owner starts from: unfinished submissions with their batches and what of them has outcomes, without any
//! payload. A few statements for all submissions together, in one snapshot.

use std::{collections::BTreeMap, pin::pin};

use futures::TryStreamExt as _;
use hashmesh_database::{
    Database,
    postgres::{Client, Row, types::Type},
};
use uuid::Uuid;

use super::{
    StoreError,
    model::{Recovered, RecoveredBatch, Totals},
    reads::{algorithms, fingerprint, natural},
};

const LOAD: &str = "load unfinished submissions";

/// Every submission that is open or sealed, oldest first.
pub(crate) async fn load_unfinished(db: &Database) -> Result<Vec<Recovered>, StoreError> {
    load(db, None).await
}

/// One submission; `None` if it is finished or unknown.
pub(crate) async fn load_one(db: &Database, id: Uuid) -> Result<Option<Recovered>, StoreError> {
    Ok(load(db, Some(id)).await?.pop())
}

async fn load(db: &Database, only: Option<Uuid>) -> Result<Vec<Recovered>, StoreError> {
    // Of its own: if this future is dropped, the open transaction goes with the connection.
    let connection = db.dedicated("recovery").await.map_err(StoreError::connect(LOAD))?;
    // Without a statement timeout: how long it takes depends on how much there is. By index: what is finished is not
    // read, however many days of it there are.
    connection
        .batch_execute(
            "SET statement_timeout = 0; SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_seqscan = off; \
             BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        )
        .await
        .map_err(StoreError::statement(LOAD))?;

    let mut found: BTreeMap<Uuid, Recovered> = BTreeMap::new();
    each(&connection, include_str!("sql/unfinished_submissions.sql"), only, |row| {
        let submission = read_submission(row)?;
        found.insert(submission.id, submission);
        Ok(())
    })
    .await?;
    each(&connection, include_str!("sql/unfinished_batches.sql"), only, |row| add_batch(&mut found, row)).await?;
    each(&connection, include_str!("sql/unfinished_results.sql"), only, |row| add_recorded(&mut found, row)).await?;
    each(&connection, include_str!("sql/unfinished_leases.sql"), only, |row| add_attempt(&mut found, row)).await?;
    connection.batch_execute("COMMIT").await.map_err(StoreError::statement(LOAD))?;
    Ok(found.into_values().collect())
}

async fn each(
    connection: &Client,
    sql: &str,
    only: Option<Uuid>,
    mut take: impl FnMut(&Row) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let rows = connection.query_typed_raw(sql, [(only, Type::UUID)]).await.map_err(StoreError::statement(LOAD))?;
    let mut rows = pin!(rows);
    while let Some(row) = rows.try_next().await.map_err(StoreError::statement(LOAD))? {
        take(&row)?;
    }
    Ok(())
}

fn read_submission(row: &Row) -> Result<Recovered, StoreError> {
    let failed = StoreError::statement(LOAD);
    let id: Uuid = row.try_get("id").map_err(&failed)?;
    let total = |column: &str| -> Result<u64, StoreError> {
        natural(id, column, row.try_get::<_, i64>(column).map_err(&failed)?)
    };
    let numbers: Vec<i16> = row.try_get("algorithms").map_err(&failed)?;
    let batch_count: Option<i32> = row.try_get("batch_count").map_err(&failed)?;
    Ok(Recovered {
        id,
        tenant: row.try_get("tenant").map_err(&failed)?,
        algorithms: algorithms(id, &numbers)?,
        max_attempts: natural(id, "max_attempts", row.try_get::<_, i16>("max_attempts").map_err(&failed)?)?,
        keep_inputs: row.try_get("keep_inputs").map_err(&failed)?,
        batch_count: batch_count.map(|count| natural(id, "batch_count", count)).transpose()?,
        resolved_through: natural(id, "resolved_through", row.try_get::<_, i32>("resolved_through").map_err(&failed)?)?,
        totals: Totals {
            succeeded: total("succeeded")?,
            mismatched: total("mismatched")?,
            failed: total("failed")?,
            hashed_bytes: total("hashed_bytes")?,
        },
        batches: Vec::new(),
    })
}

fn add_batch(found: &mut BTreeMap<Uuid, Recovered>, row: &Row) -> Result<(), StoreError> {
    let failed = StoreError::statement(LOAD);
    let id: Uuid = row.try_get("submission_id").map_err(&failed)?;
    let Some(submission) = found.get_mut(&id) else {
        return Ok(());
    };
    let sequence: usize = natural(id, "sequence", row.try_get::<_, i32>("sequence").map_err(&failed)?)?;
    let next = submission.batches.len();
    if sequence != next {
        return Err(StoreError::damaged(id, format!("batch {sequence} is stored where batch {next} is missing")));
    }
    submission.batches.push(RecoveredBatch {
        task_count: natural(id, "task_count", row.try_get::<_, i32>("task_count").map_err(&failed)?)?,
        byte_count: natural(id, "byte_count", row.try_get::<_, i32>("byte_count").map_err(&failed)?)?,
        fingerprint: fingerprint(id, row.try_get("fingerprint").map_err(&failed)?)?,
        reference_prefix: row.try_get("reference_prefix").map_err(&failed)?,
        recorded: Vec::new(),
        attempts: Vec::new(),
    });
    Ok(())
}

fn add_recorded(found: &mut BTreeMap<Uuid, Recovered>, row: &Row) -> Result<(), StoreError> {
    let Some((batch, first, count)) = range(found, row)? else {
        return Ok(());
    };
    // Rows come by first task, so neighbours follow each other.
    match batch.recorded.last_mut() {
        Some((last_first, last_count)) if *last_first + *last_count == first => *last_count += count,
        _ => batch.recorded.push((first, count)),
    }
    Ok(())
}

fn add_attempt(found: &mut BTreeMap<Uuid, Recovered>, row: &Row) -> Result<(), StoreError> {
    let attempt: i16 = row.try_get("attempt").map_err(StoreError::statement(LOAD))?;
    let id: Uuid = row.try_get("submission_id").map_err(StoreError::statement(LOAD))?;
    let attempt = natural(id, "attempt", attempt)?;
    if let Some((batch, first, count)) = range(found, row)? {
        let open = without(first, count, &batch.recorded);
        batch.attempts.extend(open.into_iter().map(|(first, count)| (first, count, attempt)));
    }
    Ok(())
}

/// The batch that a row belongs to, and the row's tasks. `None` if the submission or the batch is not there: a lease
/// may have been written before its batch.
fn range<'a>(
    found: &'a mut BTreeMap<Uuid, Recovered>,
    row: &Row,
) -> Result<Option<(&'a mut RecoveredBatch, u32, u32)>, StoreError> {
    let failed = StoreError::statement(LOAD);
    let id: Uuid = row.try_get("submission_id").map_err(&failed)?;
    let sequence: usize = natural(id, "sequence", row.try_get::<_, i32>("sequence").map_err(&failed)?)?;
    let first = natural(id, "first_task", row.try_get::<_, i32>("first_task").map_err(&failed)?)?;
    let count = natural(id, "task_count", row.try_get::<_, i32>("task_count").map_err(&failed)?)?;
    Ok(found
        .get_mut(&id)
        .and_then(|submission| submission.batches.get_mut(sequence))
        .map(|batch| (batch, first, count)))
}

/// The parts of a range that are not recorded. A lease's row lags, so part of it may have its outcome by now.
fn without(first: u32, count: u32, recorded: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let end = first + count;
    let mut open = Vec::new();
    let mut from = first;
    for (recorded_first, recorded_count) in recorded {
        let (recorded_first, recorded_end) = (*recorded_first, *recorded_first + *recorded_count);
        if recorded_end <= from {
            continue;
        }
        if recorded_first >= end {
            break;
        }
        if recorded_first > from {
            open.push((from, recorded_first - from));
        }
        from = recorded_end;
    }
    if from < end {
        open.push((from, end - from));
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_cut_out_of_a_range() {
        assert_eq!(without(10, 10, &[]), [(10, 10)]);
        assert_eq!(without(10, 10, &[(0, 5), (12, 2), (18, 9)]), [(10, 2), (14, 4)]);
        assert_eq!(without(10, 10, &[(0, 12), (30, 1)]), [(12, 8)]);
        assert_eq!(without(10, 10, &[(5, 20)]), []);
    }
}
