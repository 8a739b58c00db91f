//! What clients and leases are answered from. Every function is one statement on a pooled connection, so that what it
//! returns was true at one moment; bytes per call are bounded where rows are large.

mod batches;
mod order;
mod results;
mod submissions;

use bytes::Bytes;
use hashmesh::v1::{Algorithm, PackedNames};
use hashmesh_database::{
    Database, Pooled,
    postgres::{
        Row,
        types::{ToSql, Type},
    },
};
use hashmesh_runtime::trace::TraceContext;
use uuid::Uuid;

pub(in crate::store) use batches::fingerprint;
pub(crate) use batches::{batch_fingerprint, batch_payloads, named_batch};
pub(crate) use order::tenant_controls;
pub(in crate::store) use order::{cache_mode, cache_mode_text, end_reason_text, work_order};
pub(crate) use results::{ResultsLimit, dead_letters, results};
pub(crate) use submissions::{SubmissionsPage, find_key, submission, submissions};

use super::StoreError;

/// Bytes of WAL that the server has written so far, by everybody.
pub(crate) async fn wal_bytes(db: &Database) -> Result<u64, StoreError> {
    let what = "read the position of the WAL";
    let row = one(db, what, include_str!("sql/wal_bytes.sql"), &[]).await?;
    let bytes: Option<i64> = row.map(|row| row.try_get(0)).transpose().map_err(StoreError::statement(what))?;
    Ok(bytes.map_or(0, i64::unsigned_abs))
}

/// Whom a read may ask.
pub(crate) trait Sessions {
    /// A connection for the one statement, or the one snapshot, of a read.
    async fn session(&self, what: &'static str) -> Result<Pooled<'_>, StoreError>;
}

impl Sessions for Database {
    async fn session(&self, what: &'static str) -> Result<Pooled<'_>, StoreError> {
        self.pooled().await.map_err(StoreError::connect(what))
    }
}

pub(in crate::store) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

pub(in crate::store) async fn one(
    db: &impl Sessions,
    what: &'static str,
    sql: &str,
    parameters: &[Parameter<'_>],
) -> Result<Option<Row>, StoreError> {
    let connection = db.session(what).await?;
    connection.query_typed_opt(sql, parameters).await.map_err(StoreError::statement(what))
}

/// The one row that there may be, as `read` reads it.
pub(in crate::store) async fn one_as<T>(
    db: &impl Sessions,
    what: &'static str,
    sql: &str,
    parameters: &[Parameter<'_>],
    read: impl FnOnce(&Row, &'static str) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    one(db, what, sql, parameters).await?.map(|row| read(&row, what)).transpose()
}

pub(in crate::store) async fn many(
    db: &impl Sessions,
    what: &'static str,
    sql: &str,
    parameters: &[Parameter<'_>],
) -> Result<Vec<Row>, StoreError> {
    let connection = db.session(what).await?;
    connection.query_typed(sql, parameters).await.map_err(StoreError::statement(what))
}

/// A number that no column holds below zero.
pub(super) fn natural<T: TryInto<U> + ToString + Copy, U>(id: Uuid, what: &str, value: T) -> Result<U, StoreError> {
    value.try_into().map_err(|_| StoreError::damaged(id, format!("{what} is {}", value.to_string())))
}

/// The algorithms of a submission, in its order.
pub(super) fn algorithms(id: Uuid, numbers: &[i16]) -> Result<Vec<Algorithm>, StoreError> {
    numbers
        .iter()
        .map(|number| {
            Algorithm::known(i32::from(*number))
                .ok_or_else(|| StoreError::damaged(id, format!("algorithm {number} is unknown")))
        })
        .collect()
}

/// The part size of a submission's composite digests; 0: none of its algorithms is composite.
pub(super) fn part_bytes(id: Uuid, row: &Row, what: &'static str) -> Result<u64, StoreError> {
    let part_bytes: Option<i64> = row.try_get("part_bytes").map_err(StoreError::statement(what))?;
    natural(id, "part_bytes", part_bytes.unwrap_or(0))
}

/// Where a row comes from. What cannot be read is nothing that anybody depends on.
pub(super) fn trace_context(row: &Row, what: &'static str) -> Result<Option<TraceContext>, StoreError> {
    let stored: Option<&[u8]> = row.try_get("trace_context").map_err(StoreError::statement(what))?;
    Ok(stored.and_then(TraceContext::from_bytes))
}

/// Names out of their columns: the bytes of a run of names, which begin at `from`, and where each ends.
fn names(id: Uuid, data: Option<Vec<u8>>, from: i32, ends: Option<&[i32]>) -> Result<Option<PackedNames>, StoreError> {
    let (Some(data), Some(ends)) = (data, ends) else {
        return Ok(None);
    };
    let mut start = from;
    let lengths = ends
        .iter()
        .map(|end| {
            let length = end.saturating_sub(start);
            start = *end;
            natural(id, "the length of a name", length)
        })
        .collect::<Result<Vec<u32>, _>>()?;
    Ok(Some(PackedNames { data: Bytes::from(data), lengths }))
}
