//! Measures how long tasks spend in each phase, where the engine sees one end and the next begin.

use std::time::{Duration, Instant};

use hashmesh::v1::Phase;
use uuid::Uuid;

use super::{lane::After, run::Engine};
use crate::core::{Grant, LeaseTimes, Now, Recorded};

/// A batch on its way to Postgres.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReceivedBatch {
    at: Now,
    tasks: u32,
}

/// Outcomes on their way to Postgres.
#[derive(Clone, Copy, Debug)]
pub(super) struct DoneTasks {
    at: Now,
    /// When their batch was received, if that is known.
    received: Option<Now>,
    tasks: u64,
}

impl Engine {
    /// A batch was taken as new. `None`: it was received before this ownership, so no time is known.
    pub(super) fn note_received(
        &mut self,
        id: Uuid,
        sequence: u32,
        tasks: u32,
        received: Instant,
    ) -> Option<ReceivedBatch> {
        let at = self.since_takeover(received)?;
        self.core.note_received(id, sequence, at);
        Some(ReceivedBatch { at, tasks })
    }

    /// A lease is on its way to its worker. A later attempt has waited for its back-off and not for a worker.
    pub(super) fn measure_grant(&mut self, grant: &Grant) {
        let now = self.now();
        if grant.attempt == 1
            && let Some(waited) = self.core.committed_for(now, grant.submission, grant.sequence)
        {
            self.phases.record(now, Phase::CommittedToLeased, waited, grant.run.count.into());
        }
    }

    /// Outcomes of a lease were taken, which had these times before.
    pub(super) fn measure_outcomes(&mut self, now: Now, times: &LeaseTimes, tasks: u32, lease_over: bool) {
        if let Some(granted) = times.granted {
            self.phases.record(now, Phase::LeasedToDone, now.saturating_sub(granted), tasks.into());
        }
        if lease_over {
            let slack = times.expires.saturating_sub(now);
            self.phases.record(now, Phase::LeaseSlack, slack, times.tasks.into());
        }
    }

    /// A unit is committed.
    pub(super) fn measure_commit(&mut self, id: Uuid, after: &After) {
        if after.received.is_none() && after.done.is_none() {
            return;
        }
        let now = self.now();
        if let Some(ReceivedBatch { at, tasks }) = after.received {
            self.phases.record(now, Phase::ReceivedToCommitted, now.saturating_sub(at), tasks.into());
        }
        if let Some((stored, _)) = after.stored {
            self.core.note_committed(now, id, stored - 1);
        }
        if let Some(DoneTasks { at, received, tasks }) = after.done {
            self.phases.record(now, Phase::DoneToRecorded, now.saturating_sub(at), tasks);
            if let Some(received) = received {
                self.phases.record(now, Phase::ReceivedToRecorded, now.saturating_sub(received), tasks);
            }
        }
    }

    /// Takes a sample of what each worker has done, once a second.
    pub(super) fn sample_workers(&mut self, now: Now) {
        for (id, worker) in &mut self.workers {
            worker.recorded.tick(now, || self.core.recorded_from(*id));
        }
    }

    fn since_takeover(&self, instant: Instant) -> Option<Duration> {
        instant.checked_duration_since(self.started)
    }
}

impl DoneTasks {
    /// Outcomes that came now from a lease with these times.
    pub(super) fn new(now: Now, times: &LeaseTimes, recorded: &[Recorded]) -> Self {
        let tasks = recorded.iter().map(|row| u64::from(row.run.count)).sum();
        Self { at: now, received: times.received, tasks }
    }
}
