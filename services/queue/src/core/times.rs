//! When what is in memory came about, for those who measure it. No rule depends on it.

use std::time::Duration;

use uuid::Uuid;

use super::{Core, LeaseId, Now};

/// Of a batch that has been in memory since this owner took it.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchTimes {
    received: Now,
    /// `None`: not yet.
    committed: Option<Now>,
}

/// Of a lease that is held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseTimes {
    /// When its batch was received. `None`: the batch was read from Postgres.
    pub(crate) received: Option<Now>,
    /// `None`: it is older than this owner.
    pub(crate) granted: Option<Now>,
    /// When it is taken back if nothing is heard of it.
    pub(crate) expires: Now,
    pub(crate) tasks: u32,
}

impl Core {
    /// Notes when a batch was received that has just been appended. One that is not kept in memory is not measured.
    pub(crate) fn note_received(&mut self, id: Uuid, sequence: u32, received: Now) {
        let batch = self.submissions.get_mut(&id).and_then(|submission| submission.window.get_mut(sequence));
        if let Some(batch) = batch {
            batch.times = Some(BatchTimes { received, committed: None });
        }
    }

    /// Notes that a batch is committed.
    pub(crate) fn note_committed(&mut self, now: Now, id: Uuid, sequence: u32) {
        let batch = self.submissions.get_mut(&id).and_then(|submission| submission.window.get_mut(sequence));
        if let Some(times) = batch.and_then(|batch| batch.times.as_mut()) {
            times.committed = Some(now);
        }
    }

    /// How long a batch has been committed; nothing if its insert is still on its way. `None`: the batch was read from
    /// Postgres, or is not in memory.
    pub(crate) fn committed_for(&self, now: Now, id: Uuid, sequence: u32) -> Option<Duration> {
        let times = self.submissions.get(&id)?.window.get(sequence)?.times?;
        Some(times.committed.map_or(Duration::ZERO, |committed| now.saturating_sub(committed)))
    }

    /// The times of a lease that is held.
    pub(crate) fn lease_times(&self, lease: LeaseId) -> Option<LeaseTimes> {
        let lease = self.leases.get(&lease)?;
        let batch = self.submissions.get(&lease.submission)?.window.get(lease.sequence);
        Some(LeaseTimes {
            received: batch.and_then(|batch| batch.times).map(|times| times.received),
            granted: (!lease.adopted).then_some(lease.granted_at),
            expires: lease.expires_at,
            tasks: lease.task_count,
        })
    }
}
