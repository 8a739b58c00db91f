//! What a task costs that kills or hangs whoever works on it.

use std::collections::{BTreeMap, VecDeque};

use super::{known::found_leases, world::Table, *};
use crate::store::model::{LoadedBatches, Totals};

/// How the poison works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Poison {
    /// The worker's process ends; the queue lives on.
    KillsWorker,
    /// The process ends that runs the worker and the queue.
    KillsAll,
    /// The worker stands still.
    Hangs,
}

/// One batch with one poisonous task, workers that answer in the order in which they get leases, and other work.
struct Mesh {
    core: Core,
    now: Now,
    poison: Poison,
    task_count: u32,
    poisonous: u32,
    workers: usize,
    hands: BTreeMap<WorkerId, VecDeque<Grant>>,
    table: Table,
    unwritten: Vec<LeaseRow>,
    /// The outcome of each task, by sequence and task.
    outcomes: BTreeMap<(u32, u32), OutcomeStatus>,
    totals: Totals,
    losses: u32,
    processes: u128,
    complete: bool,
}

const ID: Uuid = Uuid::from_u128(1);
/// Batches around the poisonous one, which is number 1.
const BATCHES: u32 = 4;

impl Mesh {
    fn new(poison: Poison, task_count: u32, poisonous: u32, workers: usize) -> Self {
        let mut mesh = Self {
            core: Core::new(CoreConfig::default()),
            now: Duration::ZERO,
            poison,
            task_count,
            poisonous,
            workers,
            hands: BTreeMap::new(),
            table: BTreeMap::new(),
            unwritten: Vec::new(),
            outcomes: BTreeMap::new(),
            totals: Totals::default(),
            losses: 0,
            processes: 0,
            complete: false,
        };
        mesh.core.create(ID, &[Algorithm::Sha256], 5);
        for sequence in 0..BATCHES {
            mesh.core.append(mesh.now, ID, &batch(sequence, task_count, false)).unwrap();
        }
        mesh.core.seal(ID, BATCHES).unwrap();
        mesh.connect_missing();
        mesh
    }

    fn connect_missing(&mut self) {
        while self.hands.len() < self.workers {
            self.processes += 1;
            let worker = self.core.worker_connected(self.now, process(self.processes));
            self.hands.insert(worker, VecDeque::new());
            self.core.credit(self.now, worker, 1_000_000, 1 << 40);
        }
    }

    /// Runs until all is done; returns how many workers were lost.
    fn run(mut self, order: &mut impl FnMut(usize) -> usize) -> u32 {
        let limit = 2 + self.task_count.next_power_of_two().ilog2() + 3;
        while !self.complete {
            self.effects();
            self.now += Duration::from_millis(1);
            let busy: Vec<WorkerId> =
                self.hands.iter().filter(|(_, hand)| !hand.is_empty()).map(|(id, _)| *id).collect();
            if busy.is_empty() || order(3) == 0 {
                self.write();
                self.now += Duration::from_millis(100);
                self.hands.keys().for_each(|worker| self.core.heard(self.now, *worker));
                self.heartbeats();
                self.core.tick(self.now);
                if order(8) == 0 {
                    self.snapshot();
                }
                continue;
            }
            let worker = busy[order(busy.len())];
            self.work(worker);
            assert!(self.losses <= limit, "{} workers lost with {} tasks", self.losses, self.task_count);
        }
        self.effects();
        for sequence in 0..BATCHES {
            for task in 0..self.task_count {
                let poisonous = (sequence, task) == (1, self.poisonous);
                let expected = if poisonous { OutcomeStatus::Failed } else { OutcomeStatus::Succeeded };
                assert_eq!(self.outcomes[&(sequence, task)], expected, "task {task} of batch {sequence}");
            }
        }
        self.losses
    }

    fn heartbeats(&mut self) {
        let leases: Vec<(WorkerId, LeaseId)> =
            self.hands.iter().flat_map(|(worker, hand)| hand.iter().map(|grant| (*worker, grant.lease))).collect();
        for (worker, lease) in leases {
            self.core.heartbeat(self.now, worker, lease, 0, 0, false);
        }
    }

    fn work(&mut self, worker: WorkerId) {
        let grant = self.hands.get_mut(&worker).unwrap().pop_front().unwrap();
        let poisoned = grant.sequence == 1 && (grant.run.first..grant.run.end()).contains(&self.poisonous);
        if poisoned && self.poison != Poison::Hangs {
            return self.lose(worker);
        }
        if poisoned {
            self.losses += 1;
            self.core.heartbeat(self.now, worker, grant.lease, 0, 0, true);
            let end = self.now + Duration::from_secs(61);
            while self.now < end {
                self.now += Duration::from_secs(1);
                self.core.heard(self.now, worker);
                self.hands.keys().for_each(|other| self.core.heard(self.now, *other));
                self.heartbeats();
                self.core.heartbeat(self.now, worker, grant.lease, 0, 0, true);
                self.core.tick(self.now);
            }
            return;
        }
        let part = OutcomesPart {
            worker,
            lease: grant.lease,
            fingerprint: &batch(grant.sequence, self.task_count, false).fingerprint,
            run: grant.run,
            statuses: None,
            failures: &[],
            hashed_bytes: 0,
            last: true,
        };
        if let Verdict::Taken { recorded, complete, .. } = self.core.outcomes(self.now, &part) {
            recorded.iter().for_each(|row| self.note(row, OutcomeStatus::Succeeded));
            self.complete |= complete;
        }
    }

    fn lose(&mut self, worker: WorkerId) {
        self.losses += 1;
        if self.poison == Poison::KillsWorker {
            self.hands.remove(&worker);
            self.core.worker_disconnected(self.now, worker);
            return self.connect_missing();
        }
        self.hands.clear();
        self.unwritten.clear();
        self.core = Core::new(CoreConfig { after_crash: true, ..CoreConfig::default() });
        let batches = (0..BATCHES).filter_map(|sequence| {
            let meta = batch(sequence, self.task_count, false);
            let done = |task: &u32| self.outcomes.contains_key(&(sequence, *task));
            let recorded: Vec<(u32, u32)> = (0..self.task_count).filter(done).map(|task| (task, 1)).collect();
            (recorded.len() < self.task_count as usize).then(|| RecoveredBatch {
                sequence,
                task_count: self.task_count,
                byte_count: meta.byte_count,
                fingerprint: meta.fingerprint,
                reference_prefix: None,
                trace_context: None,
                leases: found_leases(&self.table, ID, &meta, &recorded),
                recorded,
            })
        });
        let recovered = Recovered {
            cache: hashmesh::v1::CacheMode::Unspecified,
            expansion_uri: None,
            listed_to: None,
            id: ID,
            tenant: "default".to_owned(),
            order: WorkOrder::default(),
            algorithms: vec![Algorithm::Sha256],
            part_bytes: 0,
            max_attempts: 5,
            keep_inputs: false,
            batch_count: Some(BATCHES),
            resolved_through: 0,
            outcomes_after: 0,
            next_sequence: BATCHES,
            accepted_tasks: u64::from(BATCHES * self.task_count),
            totals: self.totals,
            loaded: Some(LoadedBatches {
                from: 0,
                through: BATCHES,
                batches: batches.collect(),
                outcomes_behind: false,
            }),
        };
        assert!(!self.core.recover(self.now, &recovered));
        self.connect_missing();
    }

    fn write(&mut self) {
        for row in std::mem::take(&mut self.unwritten) {
            self.table.insert((ID, row.sequence, row.first_task), row.clone());
            self.core.written_ahead(self.now, &row);
        }
    }

    /// What is written behind, a moment ago.
    fn snapshot(&mut self) {
        let rows = self.core.lease_rows(self.now, Duration::from_millis(50));
        self.table = rows.into_iter().map(|row| ((row.submission, row.sequence, row.first_task), row)).collect();
    }

    fn effects(&mut self) {
        for effect in self.core.take_effects() {
            match effect {
                Effect::Dispatch(grant) => self.hands.get_mut(&grant.worker).unwrap().push_back(grant),
                Effect::Revoke { worker, lease, .. } => {
                    if let Some(hand) = self.hands.get_mut(&worker) {
                        hand.retain(|grant| grant.lease != lease);
                    }
                }
                Effect::Bury { recorded, complete, .. } => {
                    self.note(&recorded, OutcomeStatus::Failed);
                    self.complete |= complete;
                }
                Effect::WriteAhead(row) => self.unwritten.push(row),
                Effect::BatchResolved { .. } | Effect::DeadlinePassed { .. } | Effect::Load(_) => {}
            }
        }
    }

    fn note(&mut self, row: &Recorded, status: OutcomeStatus) {
        for task in row.run.first..row.run.end() {
            assert!(self.outcomes.insert((row.sequence, task), status).is_none());
        }
        self.totals = row.totals;
    }
}

fn bounded(poison: Poison, task_count: u32, poisonous: u32, workers: usize) {
    // A different order for each case, the same in each run.
    let mut state = u64::from(task_count) * 7919 + u64::from(poisonous) * 31 + workers as u64;
    let mut order = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    Mesh::new(poison, task_count, poisonous, workers).run(&mut order);
}

fn bounded_for_many(poison: Poison) {
    for task_count in 1..=33 {
        for poisonous in 0..task_count {
            for workers in [1, 3] {
                bounded(poison, task_count, poisonous, workers);
            }
        }
    }
    for task_count in [100, 1_000, 1_023, 1_024, 1_025, 10_000] {
        for poisonous in [0, 1, task_count / 3, task_count / 2, task_count - 2, task_count - 1] {
            bounded(poison, task_count, poisonous, 2);
        }
    }
}

#[test]
fn promise_9_a_task_that_kills_its_worker_ends_alone_within_the_stated_number_of_deaths() {
    bounded_for_many(Poison::KillsWorker);
}

#[test]
fn promise_9_a_task_that_kills_worker_and_queue_together_ends_alone_within_the_stated_number_of_deaths() {
    bounded_for_many(Poison::KillsAll);
}

#[test]
fn promise_9_a_task_that_hangs_its_worker_ends_alone_within_the_stated_number_of_stalls() {
    bounded_for_many(Poison::Hangs);
}
