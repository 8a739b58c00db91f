//! Who gets what next: workers with credit in turn, submissions in turn, within a submission the oldest first.

use std::ops::Bound::{Excluded, Unbounded};

use uuid::Uuid;

use super::{
    Core, Effect, Grant, LeaseId, Now, WorkerId,
    ranges::{RunSet, TaskRun},
    submission::ReadyRun,
    worker::{Lease, Worker},
};

/// How a submission fares when a worker asks it for work.
enum Offer {
    /// This run is for the worker.
    Run { sequence: u32, run: TaskRun, ready: ReadyRun },
    /// Other workers may take its next run, this one may not.
    NotForThisWorker,
    /// It has no ready run left.
    Nothing,
}

impl Core {
    /// Grants leases until credit or ready runs are used up.
    pub(super) fn dispatch(&mut self, now: Now) {
        let mut without_luck = 0;
        while !self.rotation.is_empty() {
            let Some(worker) = self.next_taker(now) else { return };
            self.served = worker;
            if self.grant_to(worker, now) {
                without_luck = 0;
            } else {
                without_luck += 1;
                if without_luck >= self.workers.len() {
                    return;
                }
            }
        }
    }

    /// The next worker behind the one served last that may be given a lease.
    fn next_taker(&self, now: Now) -> Option<WorkerId> {
        let silence = self.config.silence();
        let behind = self.workers.range((Excluded(self.served), Unbounded));
        let from_start = self.workers.range(..=self.served);
        behind.chain(from_start).find(|(_, worker)| worker.takes_leases(now, silence)).map(|(id, _)| *id)
    }

    /// Grants one lease to a worker. False if there is nothing for it.
    fn grant_to(&mut self, worker: WorkerId, now: Now) -> bool {
        for _ in 0..self.rotation.len() {
            let Some(id) = self.rotation.pop_front() else { return false };
            match self.offer(id, worker) {
                Offer::Run { sequence, run, ready } => {
                    self.rotation.push_back(id);
                    self.grant(now, worker, id, sequence, run, ready);
                    return true;
                }
                Offer::NotForThisWorker => self.rotation.push_back(id),
                Offer::Nothing => {
                    if let Some(submission) = self.submissions.get_mut(&id) {
                        submission.in_rotation = false;
                    }
                }
            }
        }
        false
    }

    /// What a submission has for a worker: its oldest ready run, cut to the size of a lease. Runs that no connected worker
    /// may take are parked on the way, so that they do not stand before others.
    fn offer(&mut self, id: Uuid, worker_id: WorkerId) -> Offer {
        let Some(submission) = self.submissions.get_mut(&id) else { return Offer::Nothing };
        let set = submission.algorithm_set;
        while let Some((&(sequence, first), &ready)) = submission.ready.first_key_value() {
            let Some(batch) = submission.window.get(sequence) else {
                submission.ready.remove(&(sequence, first));
                continue;
            };
            let prefix = batch.reference_prefix.as_deref();
            let may_take = |worker: &Worker| worker.info.algorithms.covers(set) && worker.info.reaches(prefix);
            if !self.workers.get(&worker_id).is_some_and(may_take) {
                if self.workers.values().any(may_take) {
                    return Offer::NotForThisWorker;
                }
                submission.ready.remove(&(sequence, first));
                submission.parked.insert((sequence, first), ready);
                continue;
            }
            let count = ready.count.min(submission.lease_tasks(batch));
            submission.ready.remove(&(sequence, first));
            if count < ready.count {
                let rest = ReadyRun { count: ready.count - count, ..ready };
                submission.ready.insert((sequence, first + count), rest);
            }
            return Offer::Run { sequence, run: TaskRun::new(first, count), ready };
        }
        Offer::Nothing
    }

    fn grant(&mut self, now: Now, worker_id: WorkerId, id: Uuid, sequence: u32, run: TaskRun, ready: ReadyRun) {
        let lease_id = LeaseId(self.next_lease);
        self.next_lease += 1;
        let Some(submission) = self.submissions.get_mut(&id) else { return };
        let Some(worker) = self.workers.get_mut(&worker_id) else { return };
        let cost_bytes = submission.window.get(sequence).map_or(0, |batch| batch.cost_bytes(run.count));
        worker.credit_tasks -= i64::from(run.count);
        worker.credit_bytes = worker.credit_bytes.saturating_sub(i64::try_from(cost_bytes).unwrap_or(i64::MAX));
        worker.leases.insert(lease_id);
        submission.leases.insert(lease_id);
        let lease = Lease {
            worker: worker_id,
            submission: id,
            sequence,
            task_count: run.count,
            attempt: ready.attempt,
            unresolved: RunSet::of(run),
            granted_at: now,
            expires_at: now + self.config.lease_duration,
            progress: None,
        };
        self.leases.insert(lease_id, lease);
        let attempt = ready.attempt;
        self.effects.push(Effect::Dispatch(Grant {
            worker: worker_id,
            lease: lease_id,
            submission: id,
            sequence,
            run,
            attempt,
            cost_bytes,
        }));
    }

    /// Leases older than `age` and runs that wait for another attempt: what others may be shown, and what a new owner
    /// should know.
    pub(crate) fn lease_rows(&self, now: Now, age: Now) -> Vec<crate::store::model::LeaseRow> {
        use crate::store::model::LeaseRow;
        let row = |submission, sequence, run: TaskRun, attempt, worker| LeaseRow {
            submission,
            sequence,
            first_task: run.first,
            task_count: run.count,
            attempt,
            worker,
        };
        let old = self.leases.values().filter(|lease| lease.granted_at + age <= now);
        let held = old.flat_map(|lease| {
            let name = self.workers.get(&lease.worker).map(|worker| worker.info.name.clone()).unwrap_or_default();
            lease
                .unresolved
                .iter()
                .map(move |run| row(lease.submission, lease.sequence, run, lease.attempt, Some(name.clone())))
        });
        let again = self.waiting.iter().filter(|waiting| waiting.attempt > 1);
        let again = again.map(|waiting| row(waiting.submission, waiting.sequence, waiting.run, waiting.attempt, None));
        let ready_again = self.submissions.iter().flat_map(|(id, submission)| {
            let runs = submission.ready.iter().chain(&submission.parked).filter(|(_, ready)| ready.attempt > 1);
            runs.map(|((sequence, first), ready)| {
                row(*id, *sequence, TaskRun::new(*first, ready.count), ready.attempt, None)
            })
        });
        held.chain(again).chain(ready_again).collect()
    }
}
