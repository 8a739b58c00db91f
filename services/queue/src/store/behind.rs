//! What is written behind the work, about a second late and never waited for: leases, and how far submissions are
//! resolved. Losing any of it costs time after a restart, nothing else.

use std::collections::{BTreeMap, BTreeSet};

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
    fence::{self, Fence},
    integer, long,
    model::LeaseRow,
    ownership::Ownership,
    reads::{many, natural},
};
use crate::{
    core::Resolved,
    engine::{Usage, UsageRow},
    shard::{Shard, ShardSet},
};

const READ: &str = "read leases";
const WRITE: &str = "write behind";
const UPSERT_LEASES: &str = include_str!("sql/upsert_leases.sql");
const DELETE_LEASES: &str = include_str!("sql/delete_leases.sql");
const RAISE_RESOLVED: &str = include_str!("sql/raise_resolved.sql");
const RAISE_USAGE: &str = include_str!("sql/raise_usage.sql");

/// Every row of `leases` that is about these shards.
pub(crate) async fn lease_rows(db: &Database, shards: ShardSet) -> Result<BTreeSet<LeaseRow>, StoreError> {
    let connection = db.pooled().await.map_err(StoreError::connect(READ))?;
    let rows = connection
        .query_typed(include_str!("sql/lease_rows.sql"), &[(&shards.numbers(), Type::INT2_ARRAY)])
        .await
        .map_err(StoreError::statement(READ))?;
    rows.iter().map(lease_row).collect()
}

/// One transaction under the fence: deletes leases (submission, sequence, first task), writes others in the place of
/// those with the same key, and notes up to where submissions are resolved and what tenants have brought.
///
/// `resolved_through` never falls. A submission that a lane is writing at this moment is left out: it lags until it is
/// written again.
pub(crate) async fn write_behind(
    db: &Database,
    ownership: &Ownership,
    upserts: &[LeaseRow],
    deletes: &[(Uuid, u32, u32)],
    also: Also<'_>,
) -> Result<(), StoreError> {
    let Also { resolved, usage } = also;
    if upserts.is_empty() && deletes.is_empty() && also.is_empty() {
        return Ok(());
    }
    let submissions = upserts.iter().map(|row| row.submission);
    let submissions = submissions.chain(deletes.iter().map(|row| row.0)).chain(resolved.iter().map(|row| row.0));
    // What tenants have brought is this process's own: any shard fences it.
    let any = (!usage.is_empty()).then(|| ownership.held().iter().next()).flatten();
    let shards = submissions.map(Shard::of).chain(any);
    let fence = Fence::around(ownership, shards);
    let (brought, process) = (Brought::of(usage), ownership.process());
    let upserted = Upserts::of(upserts);
    let deleted = Deletes::of(deletes);
    let raised = Raised::of(resolved);

    let connection = db.pooled().await.map_err(StoreError::connect(WRITE))?;
    let mut writes = Vec::new();
    if !deletes.is_empty() {
        writes.push(fence::typed(
            &connection,
            DELETE_LEASES,
            vec![
                (&deleted.submissions, Type::UUID_ARRAY),
                (&deleted.sequences, Type::INT4_ARRAY),
                (&deleted.first_tasks, Type::INT4_ARRAY),
            ],
        ));
    }
    if !upserts.is_empty() {
        writes.push(fence::typed(
            &connection,
            UPSERT_LEASES,
            vec![
                (&upserted.submissions, Type::UUID_ARRAY),
                (&upserted.sequences, Type::INT4_ARRAY),
                (&upserted.first_tasks, Type::INT4_ARRAY),
                (&upserted.task_counts, Type::INT4_ARRAY),
                (&upserted.attempts, Type::INT2_ARRAY),
                (&upserted.workers, Type::TEXT_ARRAY),
                (&upserted.strikes, Type::INT2_ARRAY),
            ],
        ));
    }
    if !resolved.is_empty() {
        writes.push(fence::typed(
            &connection,
            RAISE_RESOLVED,
            vec![
                (&raised.submissions, Type::UUID_ARRAY),
                (&raised.through, Type::INT4_ARRAY),
                (&raised.outcomes_after, Type::INT8_ARRAY),
            ],
        ));
    }
    if !usage.is_empty() {
        writes.push(fence::typed(
            &connection,
            RAISE_USAGE,
            vec![
                (&brought.tenants, Type::TEXT_ARRAY),
                (&brought.days, Type::INT4_ARRAY),
                (&brought.tasks, Type::INT8_ARRAY),
                (&brought.bytes, Type::INT8_ARRAY),
                (&process, Type::UUID),
            ],
        ));
    }
    fence::write(&connection, WRITE, &fence, writes).await
}

/// What is written behind besides leases.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Also<'a> {
    /// Up to where submissions are resolved.
    pub(crate) resolved: &'a [(Uuid, Resolved)],
    /// What tenants have brought.
    pub(crate) usage: &'a [UsageRow],
}

impl Also<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.resolved.is_empty() && self.usage.is_empty()
    }
}

const READ_USAGE: &str = "read what tenants have brought";

/// What tenants have brought to a process on `day` (days since 1970).
pub(crate) async fn tenant_usage(db: &Database, day: i32, process: Uuid) -> Result<Vec<UsageRow>, StoreError> {
    let sql = include_str!("sql/tenant_usage.sql");
    usage_rows(&many(db, READ_USAGE, sql, &[(&day, Type::INT4), (&process, Type::UUID)]).await?)
}

/// What they have brought to all others on that day: this tenant, or all that have a quota.
pub(crate) async fn usage_of_others(
    db: &Database,
    day: i32,
    process: Uuid,
    tenant: Option<&str>,
) -> Result<Vec<UsageRow>, StoreError> {
    let parameters: [(&(dyn ToSql + Sync), Type); 3] =
        [(&day, Type::INT4), (&process, Type::UUID), (&tenant, Type::TEXT)];
    usage_rows(&many(db, READ_USAGE, include_str!("sql/usage_of_others.sql"), &parameters).await?)
}

fn usage_rows(rows: &[Row]) -> Result<Vec<UsageRow>, StoreError> {
    let failed = StoreError::statement(READ_USAGE);
    let row = |row: &Row| {
        let number = |name: &str| row.try_get::<_, i64>(name).map(i64::unsigned_abs).map_err(&failed);
        Ok(UsageRow {
            tenant: row.try_get("tenant").map_err(&failed)?,
            day: row.try_get("day").map_err(&failed)?,
            used: Usage { tasks: number("tasks")?, bytes: number("bytes")? },
        })
    };
    rows.iter().map(row).collect()
}

/// Columns of what tenants have brought, each tenant and day once, as it was last.
#[derive(Default)]
struct Brought<'a> {
    tenants: Vec<&'a str>,
    days: Vec<i32>,
    tasks: Vec<i64>,
    bytes: Vec<i64>,
}

impl<'a> Brought<'a> {
    fn of(rows: &'a [UsageRow]) -> Self {
        let latest: BTreeMap<_, _> = rows.iter().map(|row| ((row.tenant.as_str(), row.day), row.used)).collect();
        let mut columns = Self::default();
        for ((tenant, day), used) in latest {
            columns.tenants.push(tenant);
            columns.days.push(day);
            columns.tasks.push(long(used.tasks));
            columns.bytes.push(long(used.bytes));
        }
        columns
    }
}

/// Columns of rows to write, each key once.
#[derive(Default)]
struct Upserts<'a> {
    submissions: Vec<Uuid>,
    sequences: Vec<i32>,
    first_tasks: Vec<i32>,
    task_counts: Vec<i32>,
    attempts: Vec<i16>,
    workers: Vec<Option<&'a str>>,
    strikes: Vec<i16>,
}

impl<'a> Upserts<'a> {
    fn of(rows: &'a [LeaseRow]) -> Self {
        let by_key: BTreeMap<_, _> =
            rows.iter().map(|row| ((row.submission, row.sequence, row.first_task), row)).collect();
        let mut columns = Self::default();
        for row in by_key.into_values() {
            columns.submissions.push(row.submission);
            columns.sequences.push(integer(row.sequence));
            columns.first_tasks.push(integer(row.first_task));
            columns.task_counts.push(integer(row.task_count));
            columns.attempts.push(i16::try_from(row.attempt).unwrap_or(i16::MAX));
            columns.workers.push(row.worker.as_deref());
            columns.strikes.push(i16::try_from(row.strikes).unwrap_or(i16::MAX));
        }
        columns
    }
}

/// Columns of keys to delete.
#[derive(Default)]
struct Deletes {
    submissions: Vec<Uuid>,
    sequences: Vec<i32>,
    first_tasks: Vec<i32>,
}

impl Deletes {
    fn of(keys: &[(Uuid, u32, u32)]) -> Self {
        let mut columns = Self::default();
        for (submission, sequence, first_task) in keys {
            columns.submissions.push(*submission);
            columns.sequences.push(integer(*sequence));
            columns.first_tasks.push(integer(*first_task));
        }
        columns
    }
}

/// Columns of submissions with the highest of their new values.
#[derive(Default)]
struct Raised {
    submissions: Vec<Uuid>,
    through: Vec<i32>,
    outcomes_after: Vec<i64>,
}

impl Raised {
    fn of(resolved: &[(Uuid, Resolved)]) -> Self {
        let mut furthest: BTreeMap<Uuid, Resolved> = BTreeMap::new();
        for (submission, resolved) in resolved {
            let known = furthest.entry(*submission).or_insert(*resolved);
            if resolved.through > known.through {
                *known = *resolved;
            }
        }
        let position = |resolved: &Resolved| long(resolved.outcomes_after);
        Self {
            submissions: furthest.keys().copied().collect(),
            through: furthest.values().map(|resolved| integer(resolved.through)).collect(),
            outcomes_after: furthest.values().map(position).collect(),
        }
    }
}

fn lease_row(row: &Row) -> Result<LeaseRow, StoreError> {
    let failed = StoreError::statement(READ);
    let submission: Uuid = row.try_get("submission_id").map_err(&failed)?;
    let number = |column: &str| -> Result<u32, StoreError> {
        natural(submission, column, row.try_get::<_, i32>(column).map_err(&failed)?)
    };
    Ok(LeaseRow {
        submission,
        sequence: number("sequence")?,
        first_task: number("first_task")?,
        task_count: number("task_count")?,
        attempt: natural(submission, "attempt", row.try_get::<_, i16>("attempt").map_err(&failed)?)?,
        worker: row.try_get("worker").map_err(&failed)?,
        strikes: natural(submission, "strikes", row.try_get::<_, i16>("strikes").map_err(&failed)?)?,
    })
}
