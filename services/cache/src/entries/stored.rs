//! The third layer: Postgres, which survives everything.

use std::time::Duration;

use hashmesh_database::{
    Database, DatabaseError,
    postgres::{
        self, Row,
        types::{ToSql, Type},
    },
};
use hashmesh_middleware::breaker::{Breaker, BreakerConfig};
use hashmesh_runtime::{channel::breaker_with, telemetry::Repeated};
use tokio::{sync::Semaphore, time::timeout};

use super::{
    entry::{Entry, Seal},
    invalidated::Invalidation,
    key::Key,
};

/// How long a caller waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_millis(500);
/// Statements at once: the pool may be shared with others.
const AT_ONCE: usize = 4;
/// Rows of one deletion.
const DELETED_TOGETHER: i64 = 5_000;
/// Invalidations that are read at a time.
const READ_TOGETHER: i64 = 10_000;

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// Why Postgres has not done it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoredError {
    #[error("Postgres has failed several times and is left alone for a moment")]
    Open { retry_after: Duration },
    #[error("Postgres did not answer within {PATIENCE:?}")]
    Slow,
    #[error("no connection to Postgres")]
    Connect(#[from] DatabaseError),
    #[error("Postgres refused a statement of the cache")]
    Statement(#[from] postgres::Error),
    #[error("what Postgres keeps of the cache is damaged: {what}")]
    Damaged { what: &'static str },
}

/// An entry to be kept.
#[derive(Debug)]
pub(crate) struct NewRow {
    pub(crate) key: Key,
    pub(crate) uri: String,
    pub(crate) encoded: Vec<u8>,
    pub(crate) generation: u64,
    pub(crate) read_bytes: u64,
}

/// An entry that was found, as it is written down.
#[derive(Debug)]
pub(crate) struct FoundRow {
    pub(crate) key: Key,
    pub(crate) encoded: Vec<u8>,
    pub(crate) entry: Entry,
}

/// The tables.
#[derive(Debug)]
pub(crate) struct Stored {
    database: Database,
    breaker: std::sync::Arc<Breaker>,
    places: Semaphore,
}

impl Stored {
    pub(crate) fn new(database: Database) -> Self {
        let config = BreakerConfig { hangs_after: PATIENCE, ..BreakerConfig::default() };
        Self { database, breaker: breaker_with("cache tables", config), places: Semaphore::new(AT_ONCE) }
    }

    /// What values in Redis are sealed with, and the newest invalidation. The first Cache service of a database makes the key.
    pub(crate) async fn open(&self, new_key: [u8; 32]) -> Result<(Seal, u64), StoredError> {
        let sql = "INSERT INTO cache_state (seal_key) VALUES ($1) ON CONFLICT DO NOTHING";
        self.patiently(sql, &[(&new_key.as_slice(), Type::BYTEA)]).await?;
        let rows = self.patiently("SELECT seal_key, generation FROM cache_state", &[]).await?;
        let row = rows.first().ok_or(StoredError::Damaged { what: "cache_state is empty" })?;
        let key = <[u8; 32]>::try_from(row.try_get::<_, &[u8]>("seal_key")?);
        let key = key.map_err(|_| StoredError::Damaged { what: "the key has another length" })?;
        Ok((Seal::new(key), generation(row)?))
    }

    /// The entries of these keys that there are.
    pub(crate) async fn find(&self, keys: &[Key]) -> Result<Vec<FoundRow>, StoredError> {
        let keys: Vec<&[u8]> = keys.iter().map(|key| key.0.as_slice()).collect();
        let sql = "SELECT key, value FROM cache_entries WHERE key = ANY($1)";
        let rows = self.briefly(sql, &[(&keys, Type::BYTEA_ARRAY)]).await?;
        found(&rows)
    }

    /// The entries that are used most.
    pub(crate) async fn hottest(&self, tenant: &str, most: u32) -> Result<Vec<FoundRow>, StoredError> {
        let sql = "SELECT key, value FROM cache_entries WHERE uses > 0 AND ($1 = '' OR tenant = $1)
                   ORDER BY uses DESC LIMIT $2";
        let rows = self.patiently(sql, &[(&tenant, Type::TEXT), (&i64::from(most), Type::INT8)]).await?;
        found(&rows)
    }

    /// Keeps entries of a tenant. Not waited for by the disk: a crash may cost the last ones.
    pub(crate) async fn keep(&self, tenant: &str, rows: &mut [NewRow]) -> Result<(), StoredError> {
        // In one order, so that no two of these statements wait for each other in a circle.
        rows.sort_unstable_by_key(|row| row.key);
        let keys: Vec<&[u8]> = rows.iter().map(|row| row.key.0.as_slice()).collect();
        let uris: Vec<&str> = rows.iter().map(|row| row.uri.as_str()).collect();
        let values: Vec<&[u8]> = rows.iter().map(|row| row.encoded.as_slice()).collect();
        let generations: Vec<i64> = rows.iter().map(|row| number(row.generation)).collect();
        let bonuses: Vec<f64> = rows.iter().map(|row| bonus_days(row.read_bytes)).collect();
        let parameters: [Parameter<'_>; 6] = [
            (&tenant, Type::TEXT),
            (&keys, Type::BYTEA_ARRAY),
            (&uris, Type::TEXT_ARRAY),
            (&values, Type::BYTEA_ARRAY),
            (&generations, Type::INT8_ARRAY),
            (&bonuses, Type::FLOAT8_ARRAY),
        ];
        self.briefly(include_str!("sql/keep.sql"), &parameters).await.map(drop)
    }

    /// Notes that these were brought from here, or from Redis.
    pub(crate) async fn note_uses(&self, uses: &[(Key, u32)]) -> Result<(), StoredError> {
        let keys: Vec<&[u8]> = uses.iter().map(|(key, _)| key.0.as_slice()).collect();
        let counts: Vec<i32> = uses.iter().map(|(_, count)| i32::try_from(*count).unwrap_or(i32::MAX)).collect();
        let parameters: [Parameter<'_>; 2] = [(&keys, Type::BYTEA_ARRAY), (&counts, Type::INT4_ARRAY)];
        self.patiently(include_str!("sql/note_uses.sql"), &parameters).await.map(drop)
    }

    /// Invalidates, for every Cache service: the new generation, and the keys of what was deleted at once.
    pub(crate) async fn invalidate(
        &self,
        tenant: &str,
        uri: &str,
        prefix: bool,
    ) -> Result<(u64, Vec<Key>), StoredError> {
        let parameters: [Parameter<'_>; 3] = [(&tenant, Type::TEXT), (&uri, Type::TEXT), (&prefix, Type::BOOL)];
        let rows = self.patiently(include_str!("sql/invalidate.sql"), &parameters).await?;
        let row = rows.first().ok_or(StoredError::Damaged { what: "cache_state is empty" })?;
        let keys: Vec<&[u8]> = row.try_get("keys")?;
        Ok((generation(row)?, keys.into_iter().filter_map(Key::of_bytes).collect()))
    }

    /// Invalidations after this generation, some at a time.
    pub(crate) async fn invalidations(&self, after: u64) -> Result<Vec<Invalidation>, StoredError> {
        let sql = "SELECT generation, tenant, uri, prefix FROM cache_invalidations WHERE generation > $1
                   ORDER BY generation LIMIT $2";
        let rows = self.patiently(sql, &[(&number(after), Type::INT8), (&READ_TOGETHER, Type::INT8)]).await?;
        let read = |row: &Row| {
            let (tenant, uri, prefix) = (row.try_get("tenant")?, row.try_get("uri")?, row.try_get("prefix")?);
            Ok(Invalidation { generation: generation(row)?, tenant, uri, prefix })
        };
        rows.iter().map(read).collect()
    }

    /// Deletes some of what was not used for so long. How many; 0: there is no more.
    pub(crate) async fn delete_unused(&self, ttl: Duration) -> Result<u64, StoredError> {
        let parameters: [Parameter<'_>; 2] = [(&ttl.as_secs_f64(), Type::FLOAT8), (&DELETED_TOGETHER, Type::INT8)];
        self.count(include_str!("sql/delete_unused.sql"), &parameters).await
    }

    /// Deletes some of what is worth least, as long as there are more than so many.
    pub(crate) async fn delete_excess(&self, most: u64) -> Result<u64, StoredError> {
        let parameters: [Parameter<'_>; 2] = [(&number(most), Type::INT8), (&DELETED_TOGETHER, Type::INT8)];
        self.count(include_str!("sql/delete_excess.sql"), &parameters).await
    }

    /// Deletes some of what invalidations cover: by prefix, those behind generation `swept`; of single objects, those of a day
    /// ago.
    pub(crate) async fn delete_invalidated(&self, swept: u64) -> Result<u64, StoredError> {
        let parameters: [Parameter<'_>; 2] = [(&DELETED_TOGETHER, Type::INT8), (&number(swept), Type::INT8)];
        self.count(include_str!("sql/delete_invalidated.sql"), &parameters).await
    }

    /// Forgets invalidations of long ago, of which nothing is left.
    pub(crate) async fn forget_invalidations(&self) -> Result<u64, StoredError> {
        self.count(include_str!("sql/forget_invalidations.sql"), &[]).await
    }

    async fn count(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<u64, StoredError> {
        let rows = self.patiently(sql, parameters).await?;
        let row = rows.first().ok_or(StoredError::Damaged { what: "a count without a row" })?;
        Ok(row.try_get::<_, i64>(0)?.unsigned_abs())
    }

    /// For a caller who would rather read an object than wait.
    async fn briefly(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, StoredError> {
        let mut attempt = self.breaker.enter().map_err(|open| StoredError::Open { retry_after: open.retry_after })?;
        let asked = async {
            let _place = self.places.acquire().await;
            self.patiently(sql, parameters).await
        };
        let answer = timeout(PATIENCE, asked).await.unwrap_or(Err(StoredError::Slow));
        match &answer {
            Ok(_) => attempt.succeeded(),
            Err(_) => attempt.failed(),
        }
        answer
    }

    /// For as long as the connection lets a statement take.
    async fn patiently(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, StoredError> {
        let connection = self.database.pooled().await?;
        Ok(connection.query_typed(sql, parameters).await?)
    }
}

/// Where a table is damaged, or of a newer program, there are many.
static UNREADABLE: Repeated = Repeated::new();

fn found(rows: &[Row]) -> Result<Vec<FoundRow>, StoredError> {
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let (key, encoded): (&[u8], &[u8]) = (row.try_get("key")?, row.try_get("value")?);
        let read = Key::of_bytes(key).and_then(|key| Some((key, Entry::decode(key, encoded).ok()?)));
        match read {
            Some((key, entry)) => found.push(FoundRow { key, encoded: encoded.to_vec(), entry }),
            // It costs a reading; what is read takes its place.
            None => {
                if let Some(left_out) = UNREADABLE.failed() {
                    let key = hex::encode(key);
                    tracing::warn!(key, left_out, "an entry of the cache cannot be read; it is computed anew");
                }
            }
        }
    }
    Ok(found)
}

fn generation(row: &Row) -> Result<u64, StoredError> {
    Ok(row.try_get::<_, i64>("generation")?.unsigned_abs())
}

/// No generation comes near the highest number.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// How much longer an entry stays when room is wanted: a day for each doubling of the bytes that it saves, beyond 4 KiB.
fn bonus_days(read_bytes: u64) -> f64 {
    // Precise enough for any size.
    (1.0 + read_bytes as f64 / 4_096.0).log2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_doubling_of_what_a_hit_saves_is_worth_a_day() {
        assert_eq!(bonus_days(0), 0.0);
        assert_eq!(bonus_days(4_096), 1.0);
        assert!((bonus_days(1 << 30) - 18.0).abs() < 0.001);
        assert!((bonus_days(1 << 31) - bonus_days(1 << 30) - 1.0).abs() < 0.001);
    }
}
