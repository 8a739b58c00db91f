//! Stored batches.

use bytes::Bytes;
use hashmesh::v1::{PackedNames, PackedTasks};
use hashmesh_database::{
    Database,
    postgres::{Row, types::Type},
};
use prost::Message as _;
use uuid::Uuid;

use super::{StoreError, many, names, natural, one};

const READ: &str = "read a batch";

/// A batch's tasks as they were stored, an encoded `PackedTasks` without names, and their names.
type StoredTasks = (Bytes, Option<PackedNames>);

/// One batch's tasks. `None`: no such batch.
async fn batch_payload(db: &Database, id: Uuid, sequence: u32) -> Result<Option<StoredTasks>, StoreError> {
    let row = batch(db, include_str!("../sql/batch_payload.sql"), id, sequence).await?;
    row.map(|row| stored_tasks(id, &row)).transpose()
}

/// The tasks of several batches of a submission, with their sequence numbers. What does not exist is left out.
pub(crate) async fn batch_payloads(
    db: &Database,
    id: Uuid,
    sequences: &[u32],
) -> Result<Vec<(u32, Bytes, Option<PackedNames>)>, StoreError> {
    let sequences: Vec<i32> = sequences.iter().filter_map(|sequence| i32::try_from(*sequence).ok()).collect();
    let sql = include_str!("../sql/batch_payloads.sql");
    let rows = many(db, READ, sql, &[(&id, Type::UUID), (&sequences, Type::INT4_ARRAY)]).await?;
    let read = |row: &Row| {
        let sequence: i32 = row.try_get("sequence").map_err(StoreError::statement(READ))?;
        let (tasks, names) = stored_tasks(id, row)?;
        Ok((natural(id, "sequence", sequence)?, tasks, names))
    };
    rows.iter().map(read).collect()
}

fn stored_tasks(id: Uuid, row: &Row) -> Result<StoredTasks, StoreError> {
    let tasks: Vec<u8> = row.try_get("tasks").map_err(StoreError::statement(READ))?;
    let data: Option<Vec<u8>> = row.try_get("names").map_err(StoreError::statement(READ))?;
    let ends: Option<Vec<i32>> = row.try_get("name_ends").map_err(StoreError::statement(READ))?;
    Ok((Bytes::from(tasks), names(id, data, 0, ends.as_deref())?))
}

/// A batch's tasks with their names. `None`: no such batch.
pub(crate) async fn named_batch(db: &Database, id: Uuid, sequence: u32) -> Result<Option<PackedTasks>, StoreError> {
    let Some((tasks, names)) = batch_payload(db, id, sequence).await? else {
        return Ok(None);
    };
    let mut packed = PackedTasks::decode(tasks)
        .map_err(|error| StoreError::damaged(id, format!("batch {sequence} cannot be decoded: {error}")))?;
    packed.names = names;
    Ok(Some(packed))
}

/// The fingerprint of a batch. `None`: no such batch.
pub(crate) async fn batch_fingerprint(db: &Database, id: Uuid, sequence: u32) -> Result<Option<[u8; 32]>, StoreError> {
    let Some(row) = batch(db, include_str!("../sql/batch_fingerprint.sql"), id, sequence).await? else {
        return Ok(None);
    };
    fingerprint(id, row.try_get("fingerprint").map_err(StoreError::statement(READ))?).map(Some)
}

/// A fingerprint as its column holds it.
pub(in crate::store) fn fingerprint(id: Uuid, bytes: &[u8]) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|_| StoreError::damaged(id, format!("a fingerprint of {} bytes", bytes.len())))
}

async fn batch(db: &Database, sql: &str, id: Uuid, sequence: u32) -> Result<Option<Row>, StoreError> {
    // No batch has a number that its column cannot hold.
    let Ok(sequence) = i32::try_from(sequence) else {
        return Ok(None);
    };
    one(db, READ, sql, &[(&id, Type::UUID), (&sequence, Type::INT4)]).await
}
