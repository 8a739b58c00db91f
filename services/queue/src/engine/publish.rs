//! What the engine tells of itself to whoever collects metrics: what has happened, at the end of each turn, and how things
//! stand, now and then.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hashmesh_runtime::metrics::catalogue::queue;

use super::run::Engine;
use crate::{
    core::{CoreCounts, LeaseEnd, Now},
    measures::{Measures, Owned},
    store::model::Totals,
};

/// How things stand is found out by going through all submissions. With very many of them it is done so seldom that it takes
/// no more than this part of the engine's time.
const PART: u32 = 100;

/// What was told already.
#[derive(Debug)]
pub(super) struct Published {
    measures: Arc<Measures>,
    next: Now,
    counts: CoreCounts,
    accepted: u64,
    recorded: Totals,
}

impl Published {
    pub(super) fn new(measures: Arc<Measures>) -> Self {
        let (counts, recorded) = (CoreCounts::default(), Totals::default());
        Self { measures, next: Now::ZERO, counts, accepted: 0, recorded }
    }

    /// Committed batches have so many tasks.
    pub(super) fn accepted(&mut self, tasks: u64) {
        self.accepted += tasks;
    }

    /// Outcomes were committed: a submission's counters before and after.
    pub(super) fn recorded(&mut self, before: &Totals, after: &Totals) {
        self.recorded.succeeded += after.succeeded - before.succeeded;
        self.recorded.mismatched += after.mismatched - before.mismatched;
        self.recorded.failed += after.failed - before.failed;
    }
}

impl Engine {
    /// Counts what has happened since the last turn.
    pub(super) fn count(&mut self) {
        let counts = self.core.counts();
        let before = std::mem::replace(&mut self.published.counts, counts);
        let accepted = std::mem::take(&mut self.published.accepted);
        let recorded = std::mem::take(&mut self.published.recorded);
        for (counter, more) in [
            (&queue::ACCEPTED_TASKS, accepted),
            (&queue::REFUSED_TASKS, counts.refused_tasks - before.refused_tasks),
            (&queue::RETRIED_TASKS, counts.retried_tasks - before.retried_tasks),
            (&queue::STRIKES, counts.strikes - before.strikes),
        ] {
            if more > 0 {
                counter.add(more, &[]);
            }
        }
        for (outcome, more) in
            [("succeeded", recorded.succeeded), ("mismatched", recorded.mismatched), ("failed", recorded.failed)]
        {
            if more > 0 {
                queue::RECORDED_TASKS.add(more, &[outcome]);
            }
        }
        let mut ends = [0; LeaseEnd::ALL.len()];
        for (lease, end) in self.core.take_ended() {
            ends[end as usize] += 1;
            self.lease_spans.end(lease, end);
        }
        for (end, more) in LeaseEnd::ALL.into_iter().zip(ends) {
            if more > 0 {
                queue::ENDED_LEASES.add(more, &[end.as_str()]);
            }
        }
    }

    /// Says how things stand, if it is time.
    pub(super) fn publish(&mut self, now: Now) {
        if now < self.published.next {
            return;
        }
        let began = Instant::now();
        let core = self.core.stats(now);
        let slots = self.workers.values().map(|worker| u64::from(worker.slots)).sum();
        let measures = &self.published.measures;
        for (which, value) in [
            (Owned::ReadyTasks, core.ready_tasks),
            (Owned::LeasedTasks, core.leased_tasks),
            (Owned::OldestReadyMs, u64::try_from(core.oldest_ready.as_millis()).unwrap_or(u64::MAX)),
            (Owned::UnfinishedSubmissions, core.unfinished_submissions),
            (Owned::PayloadBytes, self.payloads.bytes() as u64),
            (Owned::Workers, self.workers.len() as u64),
            (Owned::WorkerSlots, slots),
            (Owned::Leases, core.leases),
        ] {
            measures.note(which, value);
        }
        self.published.next = now + pause(began.elapsed());
    }
}

/// Until the next time.
fn pause(took: Duration) -> Duration {
    took * PART
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_is_done_seldom() {
        assert!(pause(Duration::from_micros(100)) <= Duration::from_millis(10), "at each tick");
        assert_eq!(pause(Duration::from_millis(20)), Duration::from_secs(2));
    }
}
