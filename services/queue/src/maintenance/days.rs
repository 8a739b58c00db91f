//! Partitions by day: made ahead, and what was stored before there were any.

use std::{
    ops::RangeInclusive,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use uuid::Uuid;

use super::StorageStatus;
use crate::store::{Change, Maintenance, PARENTS, Partition, PartitionKind, StoreError};

/// Days that are made ahead: so long may maintenance fail before the DEFAULT partition is needed.
const AHEAD: i32 = 7;
/// What was stored before there were days is bounded this many days ahead, ...
const BOUND_AHEAD: i32 = 4;
/// ... and if the bound has come as close as this, another is chosen: behind it nothing could be stored.
const BOUND_CLOSE: i32 = 1;
/// A step that gives way to others is tried this often in a round,
const TRIES: u32 = 20;
/// with pauses in which those who queued behind it are served.
const PAUSE: Duration = Duration::from_millis(250);

/// Today by this process's clock, which mints the ids, in days since 1970.
pub(super) fn today() -> i32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i32::try_from(since.as_secs() / 86_400).unwrap_or(i32::MAX)
}

/// The days that must be there: from the earlier clock's today (a takeover may bring a clock that is behind) to a week
/// after the later one's, but not years if a clock is wrong.
fn wanted(ours: i32, database: i32) -> RangeInclusive<i32> {
    if (i64::from(ours) - i64::from(database)).abs() > i64::from(AHEAD) {
        return ours..=ours.saturating_add(AHEAD);
    }
    ours.min(database)..=ours.max(database).saturating_add(AHEAD)
}

/// Makes the days from today on, and notes what there is.
pub(crate) async fn make(tables: &Maintenance, status: &StorageStatus) -> Result<(), StoreError> {
    let (ours, database) = (today(), tables.database_day);
    if ours != database && ours.abs_diff(database) > 1 {
        tracing::warn!(days = ours.abs_diff(database), "the clocks of this process and of Postgres differ by days");
    }
    let partitions = tables.partitions().await?;
    let used = tables.default_used().await?;
    let mut occupied = false;
    for (parent, used) in PARENTS.into_iter().zip(used) {
        if used && undivided(&partitions, parent) {
            // What was stored before there were days: `adopt` comes first, and everything works meanwhile.
            continue;
        }
        occupied |= used;
        for day in wanted(ours, database) {
            if covered(&partitions, parent, day) {
                continue;
            }
            if patiently(|| tables.make_day(parent, day)).await? == Change::InUse {
                tracing::warn!(parent, "a partition could not be made: its table is in use; trying again");
            }
        }
    }
    if occupied {
        tracing::warn!(
            "rows are in the DEFAULT partition: a clock was wrong, or no partition could be made in time; they are \
             served, and expire as others do"
        );
    }
    note(tables, status, ours.max(database), occupied).await
}

async fn note(tables: &Maintenance, status: &StorageStatus, today: i32, occupied: bool) -> Result<(), StoreError> {
    let partitions = tables.partitions().await?;
    let days = |parent: &str| partitions.iter().filter(|found| found.parent == parent && found.is_day()).count();
    let ahead = |parent: &str| {
        let made = |day: &i32| covered(&partitions, parent, *day);
        (today + 1..).take_while(made).count()
    };
    let fewest = |count: &dyn Fn(&str) -> usize| {
        u32::try_from(PARENTS.into_iter().map(count).min().unwrap_or(0)).unwrap_or(u32::MAX)
    };
    status.note(|stats| {
        stats.day_partitions = fewest(&days);
        stats.days_ahead = fewest(&ahead);
        stats.default_partition_used = occupied;
    });
    Ok(())
}

/// Turns what was stored before there were days into a partition, while work goes on.
pub(crate) async fn adopt(tables: &Maintenance) -> Result<(), StoreError> {
    let partitions = tables.partitions().await?;
    let used = tables.default_used().await?;
    for (parent, used) in PARENTS.into_iter().zip(used) {
        if used && undivided(&partitions, parent) {
            adopt_one(tables, parent).await?;
        }
    }
    Ok(())
}

async fn adopt_one(tables: &Maintenance, parent: &str) -> Result<(), StoreError> {
    let today = today().max(tables.database_day);
    let mut begun = tables.default_bound(parent).await?;
    if let Some(day) = begun
        && day <= today + BOUND_CLOSE
    {
        patiently(|| tables.unbound_default(parent, day)).await?;
        begun = None;
    }
    let day = begun.unwrap_or(today + BOUND_AHEAD);
    if begun.is_none() && patiently(|| tables.bound_default(parent, day)).await? != Change::Done {
        return Ok(());
    }
    tracing::info!(parent, "what was stored before there were partitions becomes one");
    for change in [patiently(|| tables.check_default(parent, day)).await?, retire(tables, parent, day).await?] {
        if change != Change::Done {
            tracing::info!(parent, ?change, "this goes on later");
            return Ok(());
        }
    }
    Ok(())
}

async fn retire(tables: &Maintenance, parent: &str, day: i32) -> Result<Change, StoreError> {
    patiently(|| tables.retire_default(parent, day)).await
}

/// Tries a step until it gets its lock, or for a few seconds.
pub(super) async fn patiently<F>(step: impl Fn() -> F) -> Result<Change, StoreError>
where
    F: Future<Output = Result<Change, StoreError>>,
{
    for _ in 1..TRIES {
        match step().await? {
            Change::InUse => tokio::time::sleep(PAUSE).await,
            done => return Ok(done),
        }
    }
    step().await
}

/// True if a table has its DEFAULT partition only: it was made before there were days, or just now.
fn undivided(partitions: &[Partition], parent: &str) -> bool {
    partitions.iter().all(|found| found.parent != parent || found.kind == PartitionKind::Default)
}

/// True if a partition holds the ids of a day.
fn covered(partitions: &[Partition], parent: &str, day: i32) -> bool {
    let first = first_id(day);
    partitions.iter().filter(|found| found.parent == parent && found.attached).any(|found| found.holds(first))
}

/// The lowest id of a day: an id begins with milliseconds since 1970, and a day has no leap second there.
pub(super) fn first_id(day: i32) -> Uuid {
    let milliseconds = u128::from(day.max(0).unsigned_abs()) * 86_400_000;
    Uuid::from_u128(milliseconds << 80)
}

/// The day in which an id was minted.
pub(super) fn day_of(id: Uuid) -> i32 {
    i32::try_from((id.as_u128() >> 80) / 86_400_000).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_its_day() {
        for day in [0, 1, 20_778] {
            assert_eq!(day_of(first_id(day)), day);
            assert_eq!(day_of(Uuid::from_u128(first_id(day + 1).as_u128() - 1)), day);
        }
    }

    #[test]
    fn clocks_that_differ_a_little_both_have_their_days() {
        assert_eq!(wanted(100, 100), 100..=107);
        assert_eq!(wanted(99, 100), 99..=107);
        assert_eq!(wanted(101, 100), 100..=108);
    }

    #[test]
    fn ids_decide_where_a_clock_is_far_off() {
        assert_eq!(wanted(10_000, 100), 10_000..=10_007);
        assert_eq!(wanted(100, 10_000), 100..=107);
    }
}
