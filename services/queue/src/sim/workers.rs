//! Worker processes: they hash what they are leased, die of it, fall silent, come back, and claim what they held.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use hashmesh::queue::v1::{Lease, Welcome, lease_tasks_response::Frame};
use uuid::Uuid;

use super::{
    content::{self, Behaviour, digest},
    tables::holds,
    world::{Event, World},
};
use crate::{
    core::{Claim, LeaseId, TaskRun},
    engine::WorkerFrame,
};

/// Tasks and bytes that a worker takes at once.
const CREDIT_TASKS: u32 = 60;
const CREDIT_BYTES: u64 = 8 * 1024 * 1024;
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long a worker waits, at most, until what it worked on alone is recorded.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);

/// What became of a task at a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Succeeded([u8; 8]),
    Mismatched([u8; 8]),
    Failed { retryable: bool, uncharged: bool },
}

/// How far a lease is that is to be worked on alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alone {
    /// Others are still worked on.
    Waits,
    /// Its owner is told that it begins.
    Told,
    /// Its owner knows.
    May,
}

/// A lease in a worker's hands, from the frame to its settlement.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) number: u64,
    /// `None`: its stream is lost, and it is to be claimed.
    pub(super) connection: Option<usize>,
    pub(super) lease: u64,
    pub(super) epoch: u64,
    pub(super) submission: Uuid,
    pub(super) sequence: u32,
    pub(super) run: TaskRun,
    pub(super) attempt: u32,
    pub(super) fingerprint: Bytes,
    pub(super) cost_bytes: u64,
    pub(super) inputs: Vec<[u8; 10]>,
    /// Tasks that are to be done, done but not sent, and sent but not settled.
    pub(super) open: BTreeSet<u32>,
    pub(super) done: BTreeMap<u32, Done>,
    pub(super) sent: BTreeMap<u32, Done>,
    pub(super) started: bool,
    /// It is to be worked on alone, and how far that is.
    pub(super) alone: Option<Alone>,
    pub(super) hangs: bool,
    pub(super) finished: bool,
    /// When the last task was done.
    pub(super) done_at: Duration,
}

/// A worker process, and the ones that come in its place.
#[derive(Debug)]
pub(super) struct WorkerProcess {
    pub(super) name: String,
    pub(super) alive: bool,
    pub(super) session: u64,
    pub(super) session_id: Uuid,
    pub(super) frozen_until: Duration,
    /// By generation.
    pub(super) connections: BTreeMap<usize, usize>,
    pub(super) held: Vec<Held>,
    pub(super) busy_until: Duration,
    next_beat: Duration,
    next_step: Duration,
}

impl WorkerProcess {
    pub(super) fn new(number: usize) -> Self {
        Self {
            name: format!("worker {number}"),
            alive: false,
            session: 0,
            session_id: Uuid::nil(),
            frozen_until: Duration::ZERO,
            connections: BTreeMap::new(),
            held: Vec::new(),
            busy_until: Duration::ZERO,
            next_beat: Duration::ZERO,
            next_step: Duration::ZERO,
        }
    }

    pub(super) fn next_beat(&self) -> Duration {
        self.next_beat
    }

    /// The lease whose turn it is, and whether its owner must be told first: what is to be alone once nothing else is under
    /// way, and nothing else meanwhile.
    fn turn(&self, now: Duration) -> Option<(usize, bool)> {
        let works = |held: &&Held| !held.open.is_empty() && !held.hangs && held.connection.is_some();
        let under_way = |held: &Held| held.started && !held.open.is_empty() && held.connection.is_some();
        let position = |wanted: &dyn Fn(&&Held) -> bool| self.held.iter().position(|held| wanted(&held));
        let unsettled = |held: &Held| held.started && now < held.done_at + SETTLED_WITHIN;
        let waits = |held: &&Held| {
            held.alone.is_some() && held.connection.is_some() && (!held.open.is_empty() || unsettled(held))
        };
        let Some(first) = position(&waits) else { return Some((position(&works)?, false)) };
        match self.held[first].alone {
            Some(Alone::May) => works(&&self.held[first]).then_some((first, false)),
            _ if self.held.iter().any(under_way) => Some((position(&|held| under_way(held) && works(held))?, false)),
            Some(Alone::Waits) => Some((first, true)),
            Some(Alone::Told) | None => None,
        }
    }

    /// What is in its hands, for whoever wonders why it does not go on.
    pub(super) fn describe(&self) -> String {
        let held = self.held.iter().map(|held| {
            let Held { lease, sequence, run, attempt, started, hangs, alone, .. } = held;
            let (epoch, open, sent) = (held.epoch, held.open.len(), held.sent.len());
            let lost = if held.connection.is_some() { "" } else { " of a lost stream" };
            format!(
                "l{lease} of epoch {epoch}{lost}: {sequence}:{}+{} a{attempt}, {open} open, {sent} sent, \
                 started {started}, hangs {hangs}, alone {alone:?}",
                run.first, run.count
            )
        });
        format!("{} holds [{}]", self.name, held.collect::<Vec<_>>().join(", "))
    }

    pub(super) fn beats(&mut self, now: Duration) {
        self.next_beat = now + HEARTBEAT;
    }
}

impl World {
    /// A process is started where there is none.
    pub(super) fn worker_up(&mut self, number: usize) {
        if self.workers[number].alive {
            return;
        }
        self.sessions += 1;
        let session_id = self.chance.uuid();
        let new = WorkerProcess {
            alive: true,
            session: self.sessions,
            session_id,
            next_beat: self.now + HEARTBEAT,
            busy_until: self.now,
            ..WorkerProcess::new(number)
        };
        self.note(format_args!("w{number} is up, session {}", new.session));
        self.workers[number] = new;
        self.after(Duration::ZERO, Event::Worker(number));
    }

    /// A worker process dies with all that it knows.
    pub(super) fn kill_worker(&mut self, number: usize, seen: bool, why: &str) {
        if !self.workers[number].alive {
            return;
        }
        self.note(format_args!("w{number} dies: {why}"));
        self.workers[number].alive = false;
        self.workers[number].held.clear();
        for connection in std::mem::take(&mut self.workers[number].connections).into_values() {
            self.break_stream(connection, seen, false);
        }
        let pause = self.chance.ms(20, 1500);
        self.after(pause, Event::WorkerUp(number));
    }

    /// A worker looks around.
    pub(super) fn work(&mut self, number: usize) {
        let worker = &self.workers[number];
        if !worker.alive {
            return;
        }
        if worker.frozen_until > self.now {
            return self.at(worker.frozen_until, Event::Worker(number));
        }
        // One that has just woken up goes on before it reads what has come meanwhile.
        let behind = worker.next_step + Duration::from_secs(1) < self.now;
        if behind {
            self.compute(number);
            self.send_outcomes(number);
        }
        self.receive(number);
        self.reconnect(number);
        self.compute(number);
        if !self.workers[number].alive {
            return;
        }
        self.send_outcomes(number);
        self.beat(number);
        self.plan_step(number);
    }

    /// When it looks around again, unless something comes.
    fn plan_step(&mut self, number: usize) {
        let now = self.now;
        let worker = &self.workers[number];
        let works = worker.turn(now).is_some();
        let inbound =
            worker.connections.values().filter_map(|connection| self.connections[*connection].inbound.front());
        let mut next = inbound.map(|(at, _)| *at).chain([worker.next_beat]).min().unwrap_or(worker.next_beat);
        if works {
            next = next.min(worker.busy_until);
        }
        let unsent = worker.held.iter().any(|held| !held.done.is_empty() && held.connection.is_some());
        if unsent {
            next = next.min(now + Duration::from_millis(20));
        }
        let next = next.max(now + Duration::from_micros(50));
        if worker.next_step <= now || next < worker.next_step {
            self.workers[number].next_step = next;
            self.at(next, Event::Worker(number));
        }
    }

    /// Reads what has arrived on its streams.
    fn receive(&mut self, number: usize) {
        let connections: Vec<usize> = self.workers[number].connections.values().copied().collect();
        for connection in connections {
            self.collect(connection);
            loop {
                let inbound = &mut self.connections[connection].inbound;
                if inbound.front().is_none_or(|(at, _)| *at > self.now) {
                    break;
                }
                let Some((_, frame)) = inbound.pop_front() else { break };
                self.read_frame(number, connection, frame);
            }
            let connected = &mut self.connections[connection];
            if connected.broken {
                connected.over = true;
                connected.inbound.clear();
                let generation = connected.generation;
                let worker = &mut self.workers[number];
                worker.connections.remove(&generation);
                // What has not begun stops.
                let begun = |held: &Held| held.alone.is_none_or(|alone| alone == Alone::May);
                worker.held.retain(|held| held.connection != Some(connection) || begun(held));
                for held in worker.held.iter_mut().filter(|held| held.connection == Some(connection)) {
                    held.connection = None;
                }
            }
        }
    }

    fn read_frame(&mut self, number: usize, connection: usize, frame: Frame) {
        match frame {
            Frame::Welcome(welcome) => self.welcomed(number, connection, &welcome),
            Frame::Lease(lease) => self.take_lease(number, connection, &lease),
            Frame::Begun(begun) => {
                let mine = self.workers[number].held.iter_mut();
                let mut mine = mine.filter(|held| held.connection == Some(connection) && held.lease == begun.lease_id);
                if let Some(alone) = mine.find_map(|held| held.alone.as_mut()) {
                    *alone = Alone::May;
                }
            }
            Frame::Settled(settled) => {
                let mut back = 0;
                self.workers[number].held.retain(|held| {
                    let over = held.connection == Some(connection) && settled.lease_ids.contains(&held.lease);
                    back += if over && !held.finished { held.run.count } else { 0 };
                    !over
                });
                self.give_credit(connection, back);
            }
            Frame::Revoke(revoke) => {
                let mut back = 0;
                self.workers[number].held.retain(|held| {
                    let revoked = held.connection == Some(connection) && held.lease == revoke.lease_id;
                    // What it has sent the last of gave its credit back then.
                    back += if revoked && !held.finished { held.run.count } else { 0 };
                    !revoked
                });
                self.give_credit(connection, back);
            }
            _ => {}
        }
    }

    /// An owner has said what of its claims the worker goes on with.
    fn welcomed(&mut self, number: usize, connection: usize, welcome: &Welcome) {
        let claimed = std::mem::take(&mut self.connections[connection].claimed);
        let stale = !self.calm && self.chance.one_in(4);
        let mut old = Vec::new();
        let mut gone = claimed.clone();
        for adopted in &welcome.adopted_leases {
            let Some(which) = claimed.get(adopted.held_lease as usize) else { continue };
            let mine = &self.workers[number].held;
            let Some(index) = mine.iter().position(|held| held.number == *which) else { continue };
            let mut held = self.workers[number].held.remove(index);
            gone.retain(|number| number != which);
            if stale {
                self.send_stale(connection, &mut held);
            }
            (held.connection, held.lease, held.epoch) = (Some(connection), adopted.lease_id, adopted.epoch);
            let wanted = |task: &u32| {
                adopted
                    .ranges
                    .iter()
                    .any(|range| (range.first_task..range.first_task + range.task_count).contains(task))
            };
            held.open.retain(&wanted);
            held.done.append(&mut held.sent);
            held.done.retain(|task, _| wanted(task));
            held.finished = false;
            self.workers[number].held.push(held);
        }
        let worker = &mut self.workers[number];
        for index in
            (0..worker.held.len()).rev().filter(|index| gone.contains(&worker.held[*index].number)).collect::<Vec<_>>()
        {
            old.push(worker.held.remove(index));
        }
        // What it goes on with uses up part of this.
        self.give_credit(connection, CREDIT_TASKS);
        if stale {
            old.iter_mut().take(2).for_each(|held| self.send_stale(connection, held));
        }
    }

    /// Outcomes that were on their way inside the worker: with the lease and the epoch of before.
    fn send_stale(&mut self, connection: usize, held: &mut Held) {
        let (done, sent) = (held.done.clone(), held.sent.clone());
        held.done.append(&mut held.sent);
        if !held.done.is_empty() {
            self.count("outcomes sent again under their old lease");
            let frames = self.outcome_frames(held, true);
            frames.into_iter().for_each(|frame| self.send(connection, frame));
        }
        (held.done, held.sent) = (done, sent);
    }

    fn give_credit(&mut self, connection: usize, tasks: u32) {
        if tasks > 0 {
            self.send(connection, WorkerFrame::Credit { tasks, bytes: CREDIT_BYTES });
        }
    }

    fn take_lease(&mut self, number: usize, connection: usize, lease: &Lease) {
        let Some(inputs) = content::read(&lease.tasks).filter(|inputs| inputs.len() == lease.task_count as usize)
        else {
            return self
                .check
                .fail("7 right digest", format!("lease {} came with other tasks than it names", lease.lease_id));
        };
        if !self.calm && self.chance.one_in(40) {
            self.count("leases given back");
            let pause = self.chance.ms(0, 600) * u32::from(self.chance.one_in(2));
            self.send(connection, WorkerFrame::Nack { lease: LeaseId(lease.lease_id), retry_after: pause });
            return self.give_credit(connection, lease.task_count);
        }
        let run = TaskRun::new(lease.first_task, lease.task_count);
        self.held += 1;
        let held = Held {
            number: self.held,
            connection: Some(connection),
            lease: lease.lease_id,
            epoch: lease.epoch,
            submission: Uuid::from_slice(&lease.submission_id).unwrap_or_default(),
            sequence: lease.sequence,
            run,
            attempt: lease.attempt,
            fingerprint: lease.fingerprint.clone(),
            cost_bytes: lease.cost_bytes,
            inputs,
            open: (run.first..run.end()).collect(),
            done: BTreeMap::new(),
            sent: BTreeMap::new(),
            started: false,
            alone: lease.alone.then_some(Alone::Waits),
            hangs: false,
            finished: false,
            done_at: self.now,
        };
        self.workers[number].held.push(held);
    }

    /// Opens a stream to each owner that it has none to, and claims there what it still holds.
    fn reconnect(&mut self, number: usize) {
        let live: Vec<usize> = (0..self.generations.len())
            .filter(|generation| {
                self.generations[*generation].live() && !self.workers[number].connections.contains_key(generation)
            })
            .collect();
        for generation in live {
            let (shards, current) =
                (self.generations[generation].shards, |shard: usize| self.shards[shard].generation == Some(generation));
            if !(0..64).any(|shard| shards >> shard & 1 == 1 && current(shard)) {
                continue;
            }
            let claim = |held: &Held| Claim {
                submission: held.submission,
                sequence: held.sequence,
                run: held.run,
                attempt: held.attempt,
                fingerprint: held.fingerprint.as_ref().try_into().unwrap_or_default(),
                cost_bytes: held.cost_bytes,
            };
            let lost = self.workers[number]
                .held
                .iter()
                .filter(|held| held.connection.is_none() && holds(shards, held.submission));
            let claims = lost.map(|held| (held.number, claim(held))).collect();
            let connection = self.connect(number, generation, claims);
            self.workers[number].connections.insert(generation, connection);
        }
    }

    /// The lease that it works on next. Says of one that is to be alone that it begins.
    fn next_lease(&mut self, number: usize) -> Option<usize> {
        let (index, begins) = self.workers[number].turn(self.now)?;
        if !begins {
            return Some(index);
        }
        let held = &mut self.workers[number].held[index];
        held.alone = Some(Alone::Told);
        if let Some(connection) = held.connection {
            let lease = LeaseId(held.lease);
            self.count("leases that begin alone");
            self.send(connection, WorkerFrame::Begin { lease });
        }
        None
    }

    /// Works on what it holds, a few tasks at a time.
    fn compute(&mut self, number: usize) {
        if self.workers[number].busy_until > self.now {
            return;
        }
        let Some(index) = self.next_lease(number) else { return };
        let tasks = self.chance.between(1, 12);
        let mut pause = self.chance.micros(50, 3_000);
        if !self.calm && self.chance.one_in(60) {
            pause = self.chance.ms(100, 4_000);
        }
        for _ in 0..tasks {
            let held = &mut self.workers[number].held[index];
            let Some(task) = held.open.first().copied() else { break };
            held.started = true;
            let input = held.inputs[(task - held.run.first) as usize];
            let failed = |retryable, uncharged| Done::Failed { retryable, uncharged };
            let done = match Behaviour::of(&input) {
                Behaviour::Poison => {
                    self.count("workers that poison kills");
                    if self.workers[number].connections.len() > 1 {
                        self.count("workers that poison takes from several owners");
                    }
                    return self.kill_worker(number, true, "poison");
                }
                Behaviour::Hangs => {
                    held.hangs = true;
                    return self.count("leases that hang");
                }
                Behaviour::Fine => Done::Succeeded(digest(&input)),
                Behaviour::Mismatched => Done::Mismatched(digest(&input)),
                Behaviour::FailsFor(times) if times == 255 || held.attempt <= u32::from(times) => failed(true, false),
                Behaviour::FailsFor(_) => Done::Succeeded(digest(&input)),
                Behaviour::Denied => failed(false, false),
                Behaviour::Elsewhere if number % 2 == 1 && !self.calm => failed(true, true),
                Behaviour::Elsewhere => Done::Succeeded(digest(&input)),
            };
            held.open.remove(&task);
            held.done.insert(task, done);
            held.done_at = self.now;
        }
        self.workers[number].busy_until = self.now + pause;
    }
}
