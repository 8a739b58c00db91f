//! What workers say: outcomes in parts, heartbeats, credit.

use std::collections::BTreeMap;

use bytes::Bytes;
use hashmesh::{
    queue::v1::{AttemptFailure, Heartbeat, LeaseOutcomes, LeaseProgress},
    v1::{OutcomeStatus, TaskError},
};

use super::{
    check::SentFrame,
    workers::{Done, Held},
    world::World,
};
use crate::{clock, engine::WorkerFrame};

impl World {
    /// Sends what is done: of leases that are done all of it, of others now and then a part.
    pub(super) fn send_outcomes(&mut self, number: usize) {
        let mut all = std::mem::take(&mut self.workers[number].held);
        for held in &mut all {
            let Some(connection) = held.connection.filter(|_| !held.done.is_empty()) else { continue };
            let last = held.open.is_empty();
            if !last && !self.chance.one_in(6) {
                continue;
            }
            for frame in self.outcome_frames(held, last) {
                self.send(connection, frame);
            }
            if last && !std::mem::replace(&mut held.finished, true) {
                self.send(connection, WorkerFrame::Credit { tasks: held.run.count, bytes: held.cost_bytes });
            }
            self.count("outcomes sent");
        }
        self.workers[number].held = all;
    }

    /// A frame for each run of neighbours that are done and not sent.
    pub(super) fn outcome_frames(&mut self, held: &mut Held, last: bool) -> Vec<WorkerFrame> {
        let done = std::mem::take(&mut held.done);
        let mut runs: Vec<Vec<(u32, Done)>> = Vec::new();
        for (task, outcome) in done {
            match runs.last_mut() {
                Some(run) if run.last().is_some_and(|(before, _)| before + 1 == task) => run.push((task, outcome)),
                _ => runs.push(vec![(task, outcome)]),
            }
        }
        let count = runs.len();
        let mut frames = Vec::with_capacity(count);
        for (index, run) in runs.into_iter().enumerate() {
            frames.push(self.outcome_frame(held, &run, last && index + 1 == count));
            held.sent.extend(run);
        }
        frames
    }

    fn outcome_frame(&mut self, held: &Held, run: &[(u32, Done)], last: bool) -> WorkerFrame {
        self.frames += 1;
        let (mut digests, mut statuses, mut failures) = (Vec::new(), Vec::new(), Vec::new());
        let mut failed = BTreeMap::new();
        for ((task, done), offset) in run.iter().zip(0..) {
            let (status, digest) = match done {
                Done::Succeeded(digest) => (OutcomeStatus::Succeeded, *digest),
                Done::Mismatched(digest) => (OutcomeStatus::Mismatched, *digest),
                Done::Failed { retryable, uncharged } => {
                    let (retryable, uncharged) = (*retryable, *uncharged);
                    failed.insert(*task, (retryable, uncharged));
                    let error = Some(TaskError { reason: "SIMULATED".to_owned(), message: String::new() });
                    failures.push(AttemptFailure { offset, error, retryable, uncharged, ..AttemptFailure::default() });
                    (OutcomeStatus::Failed, [0; 8])
                }
            };
            digests.extend_from_slice(&digest);
            statuses.push(status as u8);
        }
        if statuses.iter().all(|status| *status == OutcomeStatus::Succeeded as u8) {
            statuses.clear();
        }
        let hashed_bytes = 10 * run.len() as u64;
        self.check.frames.insert(self.frames, SentFrame::new(held.submission, hashed_bytes, failed));
        let outcomes = LeaseOutcomes {
            lease_id: held.lease,
            epoch: held.epoch,
            fingerprint: held.fingerprint.clone(),
            first_task: run.first().map_or(0, |(task, _)| *task),
            task_count: u32::try_from(run.len()).unwrap_or_default(),
            digests: Bytes::from(digests),
            statuses: Bytes::from(statuses),
            failures,
            hashed_bytes,
            kernel: format!("f{}", self.frames),
            r#final: last,
            identities: None,
            traceparent: String::new(),
        };
        WorkerFrame::Outcomes(Box::new(outcomes), clock::instant())
    }

    /// Says that it lives, and what it is at.
    pub(super) fn beat(&mut self, number: usize) {
        if self.workers[number].next_beat() > self.now {
            return;
        }
        self.workers[number].beats(self.now);
        let connections: Vec<usize> = self.workers[number].connections.values().copied().collect();
        for connection in connections {
            let mine = self.workers[number].held.iter().filter(|held| held.connection == Some(connection));
            let leases = mine.map(|held| LeaseProgress {
                lease_id: held.lease,
                tasks_done: held.run.count - u32::try_from(held.open.len()).unwrap_or_default(),
                bytes_read: 0,
                started: held.started,
            });
            let heartbeat = Heartbeat { leases: leases.collect() };
            self.send(connection, WorkerFrame::Heartbeat(heartbeat));
        }
    }
}
