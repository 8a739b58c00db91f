//! What retention asks of the tables and takes out of them. A submission's rows go first, so that nobody finds one whose
//! outcomes are gone; the large tables lose whole partitions.

use std::time::Duration;

use hashmesh_database::postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::{Change, Maintenance, StoreError, long};
use crate::shard::ShardSet;

const WHAT: &str = "delete what has expired";
/// Rows of `submissions` that one transaction deletes.
const AT_ONCE: i64 = 10_000;

/// Ids from the first, included, to the second, not included.
pub(crate) type IdRange = (Uuid, Uuid);

impl Maintenance {
    /// The oldest submission from `from` on.
    pub(crate) async fn oldest_submission(&self, from: Uuid) -> Result<Option<Uuid>, StoreError> {
        let failed = StoreError::statement(WHAT);
        let row = self
            .connection
            .query_typed_opt(include_str!("sql/oldest_submission.sql"), &[(&from, Type::UUID)])
            .await
            .map_err(&failed)?;
        row.map(|row| row.try_get(0)).transpose().map_err(&failed)
    }

    /// Up to 1,000 submissions of these shards that are OPEN and to which nothing has happened for so long, oldest first.
    pub(crate) async fn idle_open(&self, shards: ShardSet, idle: Duration) -> Result<Vec<Uuid>, StoreError> {
        let failed = StoreError::statement("look for idle submissions");
        let seconds = long(idle.as_secs());
        let rows = self
            .connection
            .query_typed(
                include_str!("sql/idle_open.sql"),
                &[(&seconds, Type::INT8), (&shards.numbers(), Type::INT2_ARRAY)],
            )
            .await
            .map_err(&failed)?;
        rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(&failed)
    }

    /// Sweeps what processes leave behind that are gone: what they counted is summed up, and they are forgotten.
    pub(crate) async fn sweep(&self) -> Result<(), StoreError> {
        let failed = StoreError::statement("sweep what processes left behind");
        for statement in [include_str!("sql/sum_usage.sql"), include_str!("sql/sweep_processes.sql")] {
            self.connection.execute_typed(statement, &[]).await.map_err(&failed)?;
        }
        Ok(())
    }

    /// True if a submission of the range is unfinished or within its retention; `default_seconds` is that of those that
    /// do not say, `None`: for ever.
    pub(crate) async fn kept(&self, range: IdRange, default_seconds: Option<i64>) -> Result<bool, StoreError> {
        self.truth(
            include_str!("sql/kept.sql"),
            &[(&range.0, Type::UUID), (&range.1, Type::UUID), (&default_seconds, Type::INT8)],
        )
        .await
    }

    /// True if the range has a submission.
    pub(crate) async fn any_submission(&self, range: IdRange) -> Result<bool, StoreError> {
        self.truth(include_str!("sql/any_submission.sql"), &[(&range.0, Type::UUID), (&range.1, Type::UUID)]).await
    }

    /// Deletes the range's idempotency keys, leases and submissions, in this order. All of them must be finished.
    /// Returns how many submissions there were.
    pub(crate) async fn delete_submissions(&self, range: IdRange) -> Result<u64, StoreError> {
        self.delete(include_str!("sql/delete_expired_keys.sql"), range).await?;
        self.delete(include_str!("sql/delete_expired_leases.sql"), range).await?;
        let mut deleted = 0;
        loop {
            let some = self
                .connection
                .execute_typed(
                    include_str!("sql/delete_expired.sql"),
                    &[(&range.0, Type::UUID), (&range.1, Type::UUID), (&AT_ONCE, Type::INT8)],
                )
                .await
                .map_err(StoreError::statement(WHAT))?;
            deleted += some;
            if some == 0 {
                return Ok(deleted);
            }
        }
    }

    /// Deletes the range's rows from the DEFAULT partitions: those that have no partition to be dropped with.
    pub(crate) async fn delete_defaults(&self, range: IdRange) -> Result<(), StoreError> {
        self.delete(include_str!("sql/delete_default_results.sql"), range).await?;
        self.delete(include_str!("sql/delete_default_batches.sql"), range).await
    }

    /// Takes a partition without submissions out of its table.
    pub(crate) async fn detach(&self, parent: &str, name: &str) -> Result<Change, StoreError> {
        let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(&parent, Type::TEXT), (&name, Type::TEXT)];
        self.changed("detach a partition", include_str!("sql/detach_partition.sql"), &parameters).await
    }

    /// Drops a table that was detached.
    pub(crate) async fn drop_detached(&self, name: &str) -> Result<Change, StoreError> {
        self.changed("drop a partition", include_str!("sql/drop_detached.sql"), &[(&name, Type::TEXT)]).await
    }

    async fn delete(&self, sql: &str, range: IdRange) -> Result<(), StoreError> {
        let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(&range.0, Type::UUID), (&range.1, Type::UUID)];
        self.connection.execute_typed(sql, &parameters).await.map(drop).map_err(StoreError::statement(WHAT))
    }

    async fn truth(&self, sql: &str, parameters: &[(&(dyn ToSql + Sync), Type)]) -> Result<bool, StoreError> {
        let failed = StoreError::statement(WHAT);
        let row = self.connection.query_typed_one(sql, parameters).await.map_err(&failed)?;
        row.try_get(0).map_err(&failed)
    }
}
