//! The days of `batches` and `results`: which partitions there are, and making them. Statements of their own, each of
//! which may be repeated after any failure.

use hashmesh_database::{
    Database, Dedicated,
    postgres::{
        self,
        types::{ToSql, Type},
    },
};
use uuid::Uuid;

use super::StoreError;

/// The first key of the lock under which one process at a time looks after the tables ("hmmt").
const LOCK_CLASS: i32 = 0x686d_6d74;

/// The tables that are partitioned.
pub(crate) const PARENTS: [&str; 2] = ["batches", "results"];

/// SQLSTATE of a wait for a lock that took too long, and of a deadlock: others were served first.
const GIVE_WAY: [&str; 2] = ["55P03", "40P01"];
/// SQLSTATE of an ATTACH whose rows are in the DEFAULT partition already.
const CHECK_VIOLATION: &str = "23514";

/// What a partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartitionKind {
    /// The ids of one day of UTC.
    Day,
    /// Every id before a day: what was stored before there were partitions.
    Before,
    /// What no other partition holds.
    Default,
}

/// A partition, or a table that was one and is not dropped yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    pub(crate) parent: String,
    pub(crate) name: String,
    pub(crate) attached: bool,
    pub(crate) kind: PartitionKind,
    /// The lowest id, and the lowest id behind it; none for the default.
    pub(crate) range: Option<(Uuid, Uuid)>,
}

impl Partition {
    /// True for a day's partition, in use.
    pub(crate) fn is_day(&self) -> bool {
        self.attached && self.kind == PartitionKind::Day
    }

    /// True if an id is in its range.
    pub(crate) fn holds(&self, id: Uuid) -> bool {
        self.range.is_some_and(|(from, to)| from <= id && id < to)
    }
}

/// What became of a change of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Done, or done before.
    Done,
    /// Somebody holds a lock: try again later.
    InUse,
    /// Rows stand in the way: they are in the DEFAULT partition.
    Occupied,
}

/// The connection that looks after the tables. One process has it at a time.
#[derive(Debug)]
pub(crate) struct Maintenance {
    pub(super) connection: Dedicated,
    /// Today by the database's clock, in days since 1970.
    pub(crate) database_day: i32,
}

impl Maintenance {
    /// Connects. `None`: another process is at it.
    pub(crate) async fn open(db: &Database) -> Result<Option<Self>, StoreError> {
        let what = "look after the tables";
        let failed = StoreError::statement(what);
        let connection = db.dedicated("maintenance").await.map_err(StoreError::connect(what))?;
        connection.batch_execute(include_str!("sql/maintenance_session.sql")).await.map_err(&failed)?;
        let row = connection
            .query_typed_one(include_str!("sql/lock_maintenance.sql"), &[(&LOCK_CLASS, Type::INT4)])
            .await
            .map_err(&failed)?;
        let ours: bool = row.try_get(0).map_err(&failed)?;
        let database_day = row.try_get(1).map_err(&failed)?;
        Ok(ours.then_some(Self { connection, database_day }))
    }

    /// Every partition of every table.
    pub(crate) async fn partitions(&self) -> Result<Vec<Partition>, StoreError> {
        let failed = StoreError::statement("read the partitions");
        let rows = self.connection.query_typed(include_str!("sql/partitions.sql"), &[]).await.map_err(&failed)?;
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            let kind = match row.try_get("kind").map_err(&failed)? {
                "day" => PartitionKind::Day,
                "before" => PartitionKind::Before,
                _ => PartitionKind::Default,
            };
            let from: Option<Uuid> = row.try_get("from_id").map_err(&failed)?;
            let to: Option<Uuid> = row.try_get("to_id").map_err(&failed)?;
            found.push(Partition {
                parent: row.try_get("parent").map_err(&failed)?,
                name: row.try_get("name").map_err(&failed)?,
                attached: row.try_get("attached").map_err(&failed)?,
                kind,
                range: from.zip(to),
            });
        }
        Ok(found)
    }

    /// Whether the DEFAULT partition of each of [`PARENTS`] holds anything.
    pub(crate) async fn default_used(&self) -> Result<[bool; 2], StoreError> {
        let failed = StoreError::statement("look into the DEFAULT partitions");
        let row = self.connection.query_typed_one(include_str!("sql/default_used.sql"), &[]).await.map_err(&failed)?;
        Ok([row.try_get(0).map_err(&failed)?, row.try_get(1).map_err(&failed)?])
    }

    /// Makes the partition of a day, unless it is there.
    pub(crate) async fn make_day(&self, parent: &str, day: i32) -> Result<Change, StoreError> {
        self.change(include_str!("sql/make_day.sql"), parent, day).await
    }

    /// The day that a conversion of the DEFAULT partition was begun for, if one was.
    pub(crate) async fn default_bound(&self, parent: &str) -> Result<Option<i32>, StoreError> {
        let failed = StoreError::statement("look for the bound of a DEFAULT partition");
        let row = self
            .connection
            .query_typed_opt(include_str!("sql/default_bound.sql"), &[(&parent, Type::TEXT)])
            .await
            .map_err(&failed)?;
        row.map(|row| row.try_get(0)).transpose().map_err(&failed)
    }

    /// First step of the conversion: the DEFAULT partition takes nothing from `day` on.
    pub(crate) async fn bound_default(&self, parent: &str, day: i32) -> Result<Change, StoreError> {
        self.change(include_str!("sql/bound_default.sql"), parent, day).await
    }

    /// Undoes the first step.
    pub(crate) async fn unbound_default(&self, parent: &str, day: i32) -> Result<Change, StoreError> {
        self.change(include_str!("sql/unbound_default.sql"), parent, day).await
    }

    /// Second step: reads it all, beside the work, and finds nothing from `day` on.
    pub(crate) async fn check_default(&self, parent: &str, day: i32) -> Result<Change, StoreError> {
        self.change(include_str!("sql/check_default.sql"), parent, day).await
    }

    /// Third step: what was the DEFAULT partition holds the ids before `day`, and there is a new and empty one.
    pub(crate) async fn retire_default(&self, parent: &str, day: i32) -> Result<Change, StoreError> {
        self.change(include_str!("sql/retire_default.sql"), parent, day).await
    }

    async fn change(&self, sql: &str, parent: &str, day: i32) -> Result<Change, StoreError> {
        self.changed("change the partitions", sql, &[(&parent, Type::TEXT), (&day, Type::INT4)]).await
    }

    pub(super) async fn changed(
        &self,
        what: &'static str,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Change, StoreError> {
        match self.connection.query_typed(sql, parameters).await {
            Ok(_) => Ok(Change::Done),
            Err(error) if coded(&error, &GIVE_WAY) => Ok(Change::InUse),
            Err(error) if coded(&error, &[CHECK_VIOLATION]) => Ok(Change::Occupied),
            Err(source) => Err(StoreError::Statement { what, source }),
        }
    }
}

fn coded(error: &postgres::Error, codes: &[&str]) -> bool {
    error.code().is_some_and(|code| codes.contains(&code.code()))
}
