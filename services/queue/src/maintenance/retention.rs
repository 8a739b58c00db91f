//! Retention: a day's submissions are deleted once the last of them has passed its own, and the day's partitions with
//! them. So what a submission or the Queue says is a lower bound, rounded up to the partition.

use std::time::Duration;

use uuid::Uuid;

use super::{
    StorageStatus,
    days::{day_of, first_id, patiently, today},
};
use crate::store::{Change, Maintenance, Partition, StoreError};

/// Days that are left alone though they have passed: clocks differ, and an id of yesterday may still be on its way.
const MARGIN_DAYS: i32 = 1;

/// Deletes what has passed its retention. `default`: for submissions that do not say; zero: for ever.
pub(crate) async fn expire(tables: &Maintenance, default: Duration, status: &StorageStatus) -> Result<(), StoreError> {
    let passed = first_id(today().min(tables.database_day) - MARGIN_DAYS);
    let partitions = tables.partitions().await?;
    let default = seconds(default);
    let mut cursor = Uuid::nil();
    while let Some(id) = tables.oldest_submission(cursor).await? {
        let divided = partitions.iter().find(|found| found.attached && found.holds(id)).and_then(|found| found.range);
        let range = divided.unwrap_or_else(|| (first_id(day_of(id)), first_id(day_of(id) + 1)));
        if range.1 > passed {
            break;
        }
        if !tables.kept(range, default).await? {
            let deleted = tables.delete_submissions(range).await?;
            if divided.is_none() {
                tables.delete_defaults(range).await?;
            }
            tracing::info!(submissions = deleted, day = %range.0, "deleted what had passed its retention");
            status.note(|stats| stats.expired_submissions += deleted);
        }
        cursor = range.1;
    }
    // A table that one partition could not be taken out of is left alone until the next round.
    let mut in_use: Vec<&str> = Vec::new();
    for partition in &partitions {
        if !in_use.contains(&partition.parent.as_str())
            && drop_if_empty(tables, partition, passed, status).await? == Change::InUse
        {
            in_use.push(&partition.parent);
        }
    }
    Ok(())
}

/// Drops a partition that no submission is left of, and a table that an earlier round only detached. Done: or left as it
/// should be.
async fn drop_if_empty(
    tables: &Maintenance,
    partition: &Partition,
    passed: Uuid,
    status: &StorageStatus,
) -> Result<Change, StoreError> {
    let Some(range) = partition.range else { return Ok(Change::Done) };
    if partition.attached {
        if range.1 > passed || tables.any_submission(range).await? {
            return Ok(Change::Done);
        }
        // A report that has been reading for long is waited for, but not by everybody else.
        if patiently(|| tables.detach(&partition.parent, &partition.name)).await? != Change::Done {
            tracing::info!(partition = partition.name, "a partition is in use and will be dropped later");
            return Ok(Change::InUse);
        }
    }
    let dropped = patiently(|| tables.drop_detached(&partition.name)).await?;
    if dropped == Change::Done {
        tracing::info!(partition = partition.name, "dropped a partition");
        status.note(|stats| stats.dropped_partitions += 1);
    }
    Ok(dropped)
}

/// Whole seconds, rounded up; `None` for zero.
fn seconds(retention: Duration) -> Option<i64> {
    let seconds = retention.as_secs() + u64::from(retention.subsec_nanos() > 0);
    (seconds > 0).then(|| i64::try_from(seconds).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_of_a_second_is_a_second_and_nothing_is_for_ever() {
        assert_eq!(seconds(Duration::ZERO), None);
        assert_eq!(seconds(Duration::from_millis(1)), Some(1));
        assert_eq!(seconds(Duration::from_millis(1_001)), Some(2));
    }
}
