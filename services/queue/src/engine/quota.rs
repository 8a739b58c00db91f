//! What each tenant has brought today, and what it may bring: tasks and bytes a day (UTC).
//!
//! A batch is counted when it is taken, not when it is committed: one whose transaction fails counts all the same. What was
//! counted is written behind, about a second late, so an owner that dies forgets at most that much, in the tenant's favour.
//!
//! Several owners count each for itself, and learn about once a second what the others have counted of tenants that have a
//! quota. So a tenant may bring more than its quota by what it brings to the others within about two seconds.

use std::collections::BTreeMap;

use crate::{core::NewBatchMeta, error::QueueError, wall::WallTime};

/// What a tenant may bring within a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quota {
    pub(crate) tasks: Option<u64>,
    pub(crate) bytes: Option<u64>,
}

/// What it has brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) tasks: u64,
    pub(crate) bytes: u64,
}

/// A row of `tenant_usage`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UsageRow {
    pub(crate) tenant: String,
    /// Days since 1970.
    pub(crate) day: i32,
    pub(crate) used: Usage,
}

#[derive(Debug, Default)]
pub(super) struct Quotas {
    day: i32,
    tenants: BTreeMap<String, Tenant>,
}

#[derive(Debug, Default)]
struct Tenant {
    quota: Quota,
    /// To us.
    used: Usage,
    /// To other processes, as far as it is known.
    elsewhere: Usage,
    /// Not written behind yet.
    unwritten: bool,
}

impl Quotas {
    /// What this process has counted before.
    pub(super) fn recover(&mut self, now: WallTime, rows: Vec<UsageRow>) {
        self.turn(now);
        for row in rows.into_iter().filter(|row| row.day == self.day) {
            self.tenants.entry(row.tenant).or_default().used = row.used;
        }
    }

    /// What other processes have counted.
    pub(super) fn learn(&mut self, now: WallTime, rows: Vec<UsageRow>) {
        self.turn(now);
        for row in rows.into_iter().filter(|row| row.day == self.day) {
            self.tenants.entry(row.tenant).or_default().elsewhere = row.used;
        }
    }

    /// What a tenant may bring from now on.
    pub(super) fn set(&mut self, tenant: &str, quota: Quota) {
        self.tenants.entry(tenant.to_owned()).or_default().quota = quota;
    }

    /// What a tenant may bring and what it has brought to us.
    pub(super) fn of(&mut self, now: WallTime, tenant: &str) -> (Quota, Usage) {
        self.turn(now);
        self.tenants.get(tenant).map_or_else(Default::default, |tenant| (tenant.quota, tenant.used))
    }

    /// What it has brought to all.
    fn in_all(&self, tenant: &str) -> Usage {
        self.tenants.get(tenant).map_or_else(Usage::default, |tenant| Usage {
            tasks: tenant.used.tasks.saturating_add(tenant.elsewhere.tasks),
            bytes: tenant.used.bytes.saturating_add(tenant.elsewhere.bytes),
        })
    }

    /// Refuses a batch that does not fit.
    pub(super) fn check(&mut self, now: WallTime, tenant: &str, batch: &NewBatchMeta) -> Result<(), QueueError> {
        let (quota, _) = self.of(now, tenant);
        let used = self.in_all(tenant);
        let fits = |what, limit: Option<u64>, used: u64, asked: u32| match limit {
            Some(limit) if used.saturating_add(asked.into()) > limit => {
                let left = limit.saturating_sub(used);
                Err(QueueError::Quota { what, limit, left, resets_in: now.until_midnight() })
            }
            _ => Ok(()),
        };
        fits("tasks", quota.tasks, used.tasks, batch.task_count)?;
        fits("bytes", quota.bytes, used.bytes, batch.byte_count)
    }

    /// Counts a batch that was taken.
    pub(super) fn count(&mut self, tenant: &str, batch: &NewBatchMeta) {
        let tenant = match self.tenants.get_mut(tenant) {
            Some(known) => known,
            None => self.tenants.entry(tenant.to_owned()).or_default(),
        };
        tenant.used.tasks = tenant.used.tasks.saturating_add(batch.task_count.into());
        tenant.used.bytes = tenant.used.bytes.saturating_add(batch.byte_count.into());
        tenant.unwritten = true;
    }

    /// What has changed since the last time.
    pub(super) fn unwritten(&mut self) -> Vec<UsageRow> {
        let day = self.day;
        let changed = self.tenants.iter_mut().filter(|(_, tenant)| tenant.unwritten);
        let row = |(name, tenant): (&String, &mut Tenant)| {
            tenant.unwritten = false;
            UsageRow { tenant: name.clone(), day, used: tenant.used }
        };
        changed.map(row).collect()
    }

    /// A new day begins with nothing. A clock that goes back stays on the later one.
    fn turn(&mut self, now: WallTime) {
        let day = now.day();
        if day > self.day {
            self.day = day;
            self.tenants.retain(|_, tenant| tenant.quota != Quota::default());
            self.tenants.values_mut().for_each(|tenant| *tenant = Tenant { quota: tenant.quota, ..Tenant::default() });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::AlgorithmSet;

    const DAY_MICROS: i64 = 86_400_000_000;
    const NOON: WallTime = WallTime(20_000 * DAY_MICROS + DAY_MICROS / 2);

    fn batch(task_count: u32, byte_count: u32) -> NewBatchMeta {
        let (fingerprint, expected) = ([0; 32], AlgorithmSet::default());
        NewBatchMeta { sequence: 0, task_count, byte_count, fingerprint, reference_prefix: None, expected }
    }

    impl Quotas {
        fn take(&mut self, now: WallTime, tenant: &str, batch: &NewBatchMeta) -> Result<(), QueueError> {
            self.check(now, tenant, batch)?;
            self.count(tenant, batch);
            Ok(())
        }
    }

    #[test]
    fn a_batch_fits_or_counts_nothing_and_a_new_day_begins_with_nothing() {
        let mut quotas = Quotas::default();
        quotas.set("a", Quota { tasks: Some(10), bytes: Some(1_000) });
        assert_eq!(quotas.take(NOON, "a", &batch(6, 600)), Ok(()));
        let refused = quotas.take(NOON, "a", &batch(5, 1)).unwrap_err();
        let half_a_day = Duration::from_secs(43_200);
        assert_eq!(refused, QueueError::Quota { what: "tasks", limit: 10, left: 4, resets_in: half_a_day });
        assert!(matches!(quotas.take(NOON, "a", &batch(1, 401)), Err(QueueError::Quota { what: "bytes", .. })));
        assert_eq!(quotas.take(NOON, "a", &batch(4, 400)), Ok(()));
        assert!(quotas.take(NOON, "a", &batch(1, 0)).is_err());
        // Another tenant is not concerned.
        assert_eq!(quotas.take(NOON, "b", &batch(10_000, 1)), Ok(()));

        let tomorrow = WallTime(NOON.0 + DAY_MICROS / 2);
        assert_eq!(quotas.take(tomorrow, "a", &batch(10, 1_000)), Ok(()));
        // Yesterday's clock finds today's count.
        assert!(quotas.take(NOON, "a", &batch(1, 1)).is_err());
    }

    #[test]
    fn what_others_have_counted_counts_and_is_not_written_again() {
        let mut quotas = Quotas::default();
        quotas.set("a", Quota { tasks: Some(10), bytes: None });
        assert_eq!(quotas.take(NOON, "a", &batch(3, 0)), Ok(()));
        let elsewhere = |day, tasks| UsageRow { tenant: "a".to_owned(), day, used: Usage { tasks, bytes: 0 } };
        quotas.learn(NOON, vec![elsewhere(20_000, 5), elsewhere(19_999, 100)]);
        assert_eq!(quotas.take(NOON, "a", &batch(2, 0)), Ok(()));
        assert!(matches!(quotas.take(NOON, "a", &batch(1, 0)), Err(QueueError::Quota { left: 0, .. })));
        // It is told anew each time, not added up.
        quotas.learn(NOON, vec![elsewhere(20_000, 4)]);
        assert_eq!(quotas.take(NOON, "a", &batch(1, 0)), Ok(()));
        let ours = quotas.unwritten();
        assert_eq!(ours, [UsageRow { used: Usage { tasks: 6, bytes: 0 }, ..elsewhere(20_000, 0) }]);
        let tomorrow = WallTime(NOON.0 + DAY_MICROS / 2);
        assert_eq!(quotas.take(tomorrow, "a", &batch(10, 0)), Ok(()));
    }

    #[test]
    fn what_was_counted_is_written_once_and_found_again() {
        let mut quotas = Quotas::default();
        assert_eq!(quotas.take(NOON, "a", &batch(6, 600)), Ok(()));
        let rows = quotas.unwritten();
        let used = Usage { tasks: 6, bytes: 600 };
        assert_eq!(rows, [UsageRow { tenant: "a".to_owned(), day: 20_000, used }]);
        assert!(quotas.unwritten().is_empty());

        let mut next = Quotas::default();
        next.set("a", Quota { tasks: Some(10), bytes: None });
        let stale = UsageRow { day: 19_999, ..rows[0].clone() };
        next.recover(NOON, [rows, vec![UsageRow { tenant: "b".to_owned(), ..stale }]].concat());
        assert_eq!(next.of(NOON, "a"), (Quota { tasks: Some(10), bytes: None }, used));
        assert_eq!(next.of(NOON, "b"), Default::default());
        assert!(next.take(NOON, "a", &batch(5, 0)).is_err());
    }
}
