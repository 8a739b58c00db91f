//! How things stand, in numbers.

use std::{collections::BTreeMap, time::Duration};

use super::{Core, Now, order::TenantId, submission::Submission};

/// What was counted since the owner took over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CoreCounts {
    pub(crate) refused_tasks: u64,
    pub(crate) retried_tasks: u64,
    /// Ranges that got one.
    pub(crate) strikes: u64,
}

/// Numbers about the whole state.
#[derive(Clone, Debug, Default)]
pub(crate) struct CoreStats {
    pub(crate) unfinished_submissions: u64,
    /// What more workers could work on now: whatever is paused, is for later, waits for its next attempt, or is beyond a limit
    /// is not among them. Those that are in Postgres only are.
    pub(crate) ready_tasks: u64,
    pub(crate) leased_tasks: u64,
    /// For how long the oldest of those in memory could have been leased.
    pub(crate) oldest_ready: Duration,
    pub(crate) refused_tasks: u64,
    pub(crate) retried_tasks: u64,
    pub(crate) rescued_leases: u64,
    pub(crate) leases: u64,
}

impl Core {
    /// Numbers about the whole state.
    pub(crate) fn stats(&self, now: Now) -> CoreStats {
        let mut by_tenant: BTreeMap<TenantId, u64> = BTreeMap::new();
        let mut oldest: Option<Now> = None;
        let mut waits_since = |submission: &Submission, since: Now| {
            let since = since.max(self.order.given_work_since(submission.tenant));
            oldest = Some(oldest.map_or(since, |oldest| oldest.min(since)));
        };
        for submission in self.submissions.values().filter(|one| self.may_be_given(one)) {
            *by_tenant.entry(submission.tenant).or_default() += submission.ready_tasks().min(submission.room());
            if let Some(since) = submission.ready.oldest() {
                waits_since(submission, since);
            }
        }
        for ((id, ..), suspect) in &self.suspects {
            if let Some(submission) = self.submissions.get(id).filter(|one| self.may_be_given(one)) {
                waits_since(submission, suspect.since);
            }
        }
        let room = |tenant: &TenantId| self.order.tenants.get(*tenant).map_or(0, super::order::Tenant::room);
        CoreStats {
            unfinished_submissions: self.submissions.len() as u64,
            ready_tasks: by_tenant.iter().map(|(tenant, tasks)| room(tenant).min(*tasks)).sum(),
            leased_tasks: self.leased_tasks,
            oldest_ready: oldest.map_or(Duration::ZERO, |since| now.saturating_sub(since)),
            refused_tasks: self.refused_tasks,
            retried_tasks: self.retried_tasks,
            rescued_leases: self.rescued_leases,
            leases: self.leases.len() as u64,
        }
    }

    /// True if a worker might be given a task of it now.
    fn may_be_given(&self, submission: &Submission) -> bool {
        self.room_of(submission).is_some_and(|room| room > 0)
    }

    /// What was counted so far.
    pub(crate) fn counts(&self) -> CoreCounts {
        let Self { refused_tasks, retried_tasks, strikes, .. } = *self;
        CoreCounts { refused_tasks, retried_tasks, strikes }
    }
}
