//! What a new owner starts from: unfinished submissions, and the first of their unresolved batches, in one snapshot.

use std::pin::pin;

use bytes::Bytes;
use futures::TryStreamExt as _;
use hashmesh_database::{
    Database,
    postgres::{
        Row,
        types::{ToSql, Type},
    },
};
use uuid::Uuid;

use super::{
    StoreError,
    load::{self, BEGIN},
    model::{Recovered, Totals, WantedBatches},
    reads::{algorithms, cache_mode, natural, part_bytes, work_order},
};
use crate::shard::{Shard, ShardSet};

const LOAD: &str = "load unfinished submissions";
/// Submissions whose batches are read before the owner serves; those of younger ones follow while it does.
const AT_START: usize = 1024;
/// Submissions in one statement.
const TOGETHER: usize = 256;
/// Batches of one submission that are read at the start.
const MOST_BATCHES: usize = 4096;
const LEAST_BATCHES: usize = 64;

/// Every submission of these shards that is open or sealed, oldest first, with about `batches` unresolved batches in all.
pub(crate) async fn load_unfinished(
    db: &Database,
    shards: ShardSet,
    batches: usize,
) -> Result<Vec<Recovered>, StoreError> {
    load(db, None, shards, batches).await
}

/// One submission; `None` if it is finished or unknown.
pub(crate) async fn load_one(db: &Database, id: Uuid) -> Result<Option<Recovered>, StoreError> {
    Ok(load(db, Some(id), ShardSet::from_iter([Shard::of(id)]), MOST_BATCHES).await?.pop())
}

async fn load(
    db: &Database,
    only: Option<Uuid>,
    shards: ShardSet,
    batches: usize,
) -> Result<Vec<Recovered>, StoreError> {
    // Of its own: if this future is dropped, the open transaction goes with the connection.
    let connection = db.dedicated("recovery").await.map_err(StoreError::connect(LOAD))?;
    connection.batch_execute(BEGIN).await.map_err(StoreError::statement(LOAD))?;

    let sql = include_str!("sql/unfinished_submissions.sql");
    let numbers = shards.numbers();
    let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(&only, Type::UUID), (&numbers, Type::INT2_ARRAY)];
    let rows = connection.query_typed_raw(sql, parameters).await.map_err(StoreError::statement(LOAD))?;
    let mut rows = pin!(rows);
    let mut found = Vec::new();
    while let Some(row) = rows.try_next().await.map_err(StoreError::statement(LOAD))? {
        found.push(read_submission(&row)?);
    }

    let at_start = found.len().min(AT_START);
    let count = (batches / at_start.max(1)).clamp(LEAST_BATCHES, MOST_BATCHES);
    for group in found[..at_start].chunks_mut(TOGETHER) {
        let wanted: Vec<WantedBatches> =
            group.iter().map(|submission| submission.wants(u32::try_from(count).unwrap_or(u32::MAX))).collect();
        let loaded = load::load(&connection, &wanted).await?;
        for (submission, loaded) in group.iter_mut().zip(loaded) {
            submission.loaded = Some(loaded);
        }
    }
    connection.batch_execute("COMMIT").await.map_err(StoreError::statement(LOAD))?;
    Ok(found)
}

fn read_submission(row: &Row) -> Result<Recovered, StoreError> {
    let failed = StoreError::statement(LOAD);
    let id: Uuid = row.try_get("id").map_err(&failed)?;
    let total = |column: &str| -> Result<u64, StoreError> {
        natural(id, column, row.try_get::<_, i64>(column).map_err(&failed)?)
    };
    let number = |column: &str| -> Result<u32, StoreError> {
        natural(id, column, row.try_get::<_, i32>(column).map_err(&failed)?)
    };
    let numbers: Vec<i16> = row.try_get("algorithms").map_err(&failed)?;
    let listed_to: Option<Vec<u8>> = row.try_get("listed_to").map_err(&failed)?;
    let batch_count: Option<i32> = row.try_get("batch_count").map_err(&failed)?;
    Ok(Recovered {
        id,
        tenant: row.try_get("tenant").map_err(&failed)?,
        algorithms: algorithms(id, &numbers)?,
        part_bytes: part_bytes(id, row, LOAD)?,
        max_attempts: natural(id, "max_attempts", row.try_get::<_, i16>("max_attempts").map_err(&failed)?)?,
        keep_inputs: row.try_get("keep_inputs").map_err(&failed)?,
        order: work_order(id, row, LOAD)?,
        cache: cache_mode(row, LOAD)?,
        expansion_uri: row.try_get("expansion_uri").map_err(&failed)?,
        listed_to: listed_to.map(Bytes::from),
        batch_count: batch_count.map(|count| natural(id, "batch_count", count)).transpose()?,
        resolved_through: number("resolved_through")?,
        outcomes_after: total("resolved_position")?,
        next_sequence: number("next_sequence")?,
        accepted_tasks: total("accepted")?,
        totals: Totals {
            succeeded: total("succeeded")?,
            mismatched: total("mismatched")?,
            failed: total("failed")?,
            hashed_bytes: total("hashed_bytes")?,
        },
        loaded: None,
    })
}
