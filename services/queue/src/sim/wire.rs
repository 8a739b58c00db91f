//! Streams between workers and owners: frames in order, delayed, and lost with the stream; and what an onlooker knows of
//! the leases that went over them.

use std::{collections::VecDeque, time::Duration};

use futures::{FutureExt as _, StreamExt as _};
use hashmesh::queue::v1::{Welcome, lease_tasks_response::Frame};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    owners::LEASE,
    world::{Event, World},
};
use crate::{
    core::{AlgorithmSet, Claim, WorkerId, WorkerInfo},
    engine::{Command, NewWorker, WorkerFrame, to_worker},
    shard::Shard,
    store::model::LeaseRow,
};

/// Frames that an owner may have under way to a worker.
const CAPACITY: usize = 8 * 1024;

/// A worker's stream to an owner.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) worker: usize,
    pub(super) generation: usize,
    pub(super) id: Option<WorkerId>,
    reply: Option<oneshot::Receiver<WorkerId>>,
    frames: Option<crate::engine::driven::WorkerFrames>,
    /// What the worker has not read: with the time of arrival.
    pub(super) inbound: VecDeque<(Duration, Frame)>,
    last_in: Duration,
    last_out: Duration,
    /// Nothing goes over it any more, whoever knows.
    pub(super) broken: bool,
    /// The worker has seen its end.
    pub(super) over: bool,
    /// What the worker claims: its numbers of what it holds.
    pub(super) claimed: Vec<u64>,
    hello: Option<(WorkerInfo, Vec<Claim>)>,
}

/// What an onlooker knows of a lease: by the frames, and by the clock.
#[derive(Debug)]
pub(super) struct LedgerLease {
    worker: WorkerId,
    expires: Duration,
    /// Why nothing more may be recorded of it.
    over: Option<&'static str>,
    /// Its tasks without outcomes, as far as they are known.
    tasks: Vec<TaskPlace>,
}

/// Submission, batch, place.
pub(super) type TaskPlace = (Uuid, u32, u32);

impl World {
    /// A worker opens a stream.
    pub(super) fn connect(&mut self, worker: usize, generation: usize, claims: Vec<(u64, Claim)>) -> usize {
        let number = self.connections.len();
        let process = &self.workers[worker];
        let info = WorkerInfo {
            name: process.name.clone(),
            session: process.session_id,
            slots: 2,
            algorithms: AlgorithmSet::of(&hashmesh::v1::Algorithm::ALL),
            source_prefixes: vec![super::content::PREFIX.to_owned()],
            begins_alone: true,
        };
        let (claimed, claims): (Vec<u64>, Vec<Claim>) = claims.into_iter().unzip();
        self.note(format_args!("w{worker} connects c{number} to g{generation} with {} claims", claims.len()));
        self.connections.push(Connection {
            worker,
            generation,
            id: None,
            reply: None,
            frames: None,
            inbound: VecDeque::new(),
            last_in: self.now,
            last_out: self.now,
            broken: false,
            over: false,
            claimed,
            hello: Some((info, claims)),
        });
        let at = self.departs(number);
        self.at(at, Event::Hello(number));
        number
    }

    /// When a frame that a worker sends now arrives: never before the one before it.
    fn departs(&mut self, connection: usize) -> Duration {
        let pause = self.chance.micros(20, self.plan.frame_us);
        let connection = &mut self.connections[connection];
        connection.last_out = connection.last_out.max(self.now + pause);
        connection.last_out
    }

    /// A worker's hello is at its owner.
    pub(super) fn hello(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        let generation = connection.generation;
        let Some((info, claims)) = connection.hello.take().filter(|_| !connection.broken) else { return };
        if !self.generations[generation].live() {
            return self.engine_gone(number);
        }
        let (to_worker, frames) = to_worker(CAPACITY);
        let (reply, answer) = oneshot::channel();
        let connection = &mut self.connections[number];
        connection.frames = Some(frames);
        connection.reply = Some(answer);
        self.generations[generation].connections.push(number);
        let (sources, lists, welcome) = (Vec::new(), false, Welcome::default());
        let new = NewWorker { info, claims, welcome, sources, lists, frames: to_worker, reply };
        self.post(generation, Command::WorkerConnected(Box::new(new)));
    }

    /// A worker sends a frame.
    pub(super) fn send(&mut self, connection: usize, frame: WorkerFrame) {
        let at = self.departs(connection);
        self.at(at, Event::Frame(connection, Box::new(frame)));
    }

    /// A frame arrives, unless its stream has been lost.
    pub(super) fn frame(&mut self, number: usize, frame: WorkerFrame) {
        let connection = &self.connections[number];
        if connection.broken {
            return self.count("frames lost");
        }
        if let Some(worker) = connection.id {
            self.post(connection.generation, Command::WorkerFrame { worker, frame });
        }
    }

    /// A stream breaks. `seen`: its owner hears of it soon, otherwise not before its leases have expired.
    pub(super) fn break_stream(&mut self, number: usize, seen: bool, planned: bool) {
        let connection = &mut self.connections[number];
        if std::mem::replace(&mut connection.broken, true) {
            return;
        }
        self.note(format_args!("c{number} breaks, seen {seen}"));
        let pause = if seen { self.chance.ms(0, 20) } else { self.chance.ms(3_000, 15_000) };
        self.after(pause, Event::Gone(number, planned));
    }

    /// An owner hears that a stream has ended.
    pub(super) fn gone(&mut self, number: usize, planned: bool) {
        let connection = &mut self.connections[number];
        connection.frames = None;
        let generation = connection.generation;
        match connection.id {
            Some(worker) => {
                self.post(generation, Command::WorkerDisconnected { worker, handed_over: planned });
            }
            None if connection.reply.is_some() => self.after(Duration::from_millis(5), Event::Gone(number, planned)),
            None => {}
        }
    }

    /// An engine is gone, and with it the owner's end of a stream.
    pub(super) fn engine_gone(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        connection.frames = None;
        connection.reply = None;
        connection.broken = true;
        let worker = connection.worker;
        let pause = self.chance.ms(0, 200);
        self.after(pause, Event::Worker(worker));
    }

    /// What an engine has sent to its workers goes on its way. What is for one that stands still waits for it.
    pub(super) fn collect_frames(&mut self, generation: usize) {
        for number in self.generations[generation].connections.clone() {
            self.collect(number);
        }
    }

    pub(super) fn collect(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        if let Some(reply) = &mut connection.reply
            && let Ok(id) = reply.try_recv()
        {
            (connection.id, connection.reply) = (Some(id), None);
        }
        let frozen = self.workers[connection.worker].frozen_until > self.now;
        if frozen || connection.broken {
            return;
        }
        let mut first = None;
        loop {
            let connection = &mut self.connections[number];
            let (Some(frames), Some(id)) = (&mut connection.frames, connection.id) else { break };
            match frames.next().now_or_never() {
                Some(Some(response)) => {
                    let Some(frame) = response.frame else { continue };
                    self.observe_sent(number, id, &frame);
                    let pause = self.chance.micros(20, self.plan.frame_us);
                    let connection = &mut self.connections[number];
                    connection.last_in = connection.last_in.max(self.now + pause);
                    connection.inbound.push_back((connection.last_in, frame));
                    first.get_or_insert(connection.last_in);
                }
                // The engine has cut the worker off.
                Some(None) => {
                    connection.frames = None;
                    connection.broken = true;
                    first.get_or_insert(self.now);
                    break;
                }
                None => break,
            }
        }
        if let Some(at) = first {
            let worker = self.connections[number].worker;
            self.at(at, Event::Worker(worker));
        }
    }

    /// An onlooker sees what an engine sends.
    fn observe_sent(&mut self, number: usize, worker: WorkerId, frame: &Frame) {
        let generation = self.connections[number].generation;
        let expires = self.now + LEASE;
        let new = |tasks: Vec<TaskPlace>| LedgerLease { worker, expires, over: None, tasks };
        match frame {
            Frame::Lease(lease) => {
                let to = self.connections[number].worker;
                self.note(format_args!(
                    "g{generation} leases l{} to w{to}: {}:{}+{} a{}",
                    lease.lease_id, lease.sequence, lease.first_task, lease.task_count, lease.attempt
                ));
                self.count("leases");
                let id = Uuid::from_slice(&lease.submission_id).unwrap_or_default();
                let tasks = lease.first_task..lease.first_task + lease.task_count;
                let tasks: Vec<TaskPlace> = tasks.map(|task| (id, lease.sequence, task)).collect();
                self.observe_lost(generation, &tasks);
                tasks.iter().for_each(|task| self.check_strikes(generation, *task));
                self.ledger.entry((generation, lease.lease_id)).or_insert_with(|| new(tasks));
            }
            Frame::Welcome(welcome) => {
                for adopted in &welcome.adopted_leases {
                    self.count("leases adopted");
                    self.note(format_args!("g{generation} adopts l{}", adopted.lease_id));
                    self.ledger.entry((generation, adopted.lease_id)).or_insert_with(|| new(Vec::new()));
                }
            }
            Frame::Revoke(revoke) => {
                self.count("leases revoked");
                self.note(format_args!("g{generation} revokes l{}: {}", revoke.lease_id, revoke.reason));
                let lease = self.ledger.entry((generation, revoke.lease_id)).or_insert_with(|| new(Vec::new()));
                lease.over = Some("it was revoked");
            }
            _ => {}
        }
    }

    /// What is leased once more although another lease of it is not over was lost with that, which had run out: here the
    /// loss of a worker is seen only when its stream ends.
    fn observe_lost(&mut self, generation: usize, again: &[TaskPlace]) {
        let now = self.now;
        let all = (generation, 0)..=(generation, u64::MAX);
        let run_out = |lease: &LedgerLease| lease.over.is_none() && lease.expires <= now;
        for (_, lease) in self.ledger.range_mut(all).filter(|(_, lease)| run_out(lease)) {
            for task in lease.tasks.extract_if(.., |task| again.contains(task)) {
                *self.blows.entry((generation, task)).or_default() += 1;
            }
        }
    }

    /// What a lost worker held has had a blow.
    fn observe_loss(&mut self, generation: usize, worker: WorkerId, handed_over: bool) {
        let all = (generation, 0)..=(generation, u64::MAX);
        for lease in self.ledger.range_mut(all).map(|(_, lease)| lease).filter(|lease| lease.worker == worker) {
            if lease.over.replace("its worker was gone").is_none() && !handed_over {
                for task in std::mem::take(&mut lease.tasks) {
                    *self.blows.entry((generation, task)).or_default() += 1;
                }
            }
        }
    }

    /// Strikes from the second on are committed before a range is leased again.
    fn check_strikes(&mut self, generation: usize, task: TaskPlace) {
        if self.blows.get(&(generation, task)).is_none_or(|blows| *blows < 2) {
            return;
        }
        let (id, sequence, place) = task;
        // One that stood still does not know yet that others have taken over and written other rows.
        if !self.tables.may_write(&self.generations[generation].epochs, [Shard::of(id)]) {
            return self.count("tasks leased by who does not own them any more");
        }
        let rows = self.tables.leases.range((id, sequence, 0)..=(id, sequence, place)).map(|(_, row)| row);
        let covers = |row: &LeaseRow| row.strikes >= 2 && place < row.first_task + row.task_count;
        if !rows.clone().any(covers) {
            self.check.fail("9 poison", format!("task {place} of batch {sequence} is leased with unwritten strikes"));
        }
        self.count("tasks leased again after two lost workers");
    }

    /// A lease that a worker holds, by the onlooker's knowledge.
    fn held_lease(&mut self, generation: usize, worker: WorkerId, lease: u64) -> Option<&mut LedgerLease> {
        let now = self.now;
        let held = |lease: &&mut LedgerLease| lease.worker == worker && lease.over.is_none() && now < lease.expires;
        self.ledger.get_mut(&(generation, lease)).filter(held)
    }

    /// An onlooker sees what an engine is told.
    pub(super) fn observe(&mut self, generation: usize, command: &Command) {
        let now = self.now;
        let (worker, frame) = match command {
            Command::WorkerFrame { worker, frame } => (*worker, frame),
            Command::WorkerDisconnected { worker, handed_over } => {
                return self.observe_loss(generation, *worker, *handed_over);
            }
            Command::Reread { submission, .. } => {
                // What was not written of it is forgotten, and its leases are over, whether or not their workers hear of it.
                let all = (generation, 0)..=(generation, u64::MAX);
                let leases = self.ledger.range_mut(all);
                leases.for_each(|(_, lease)| lease.tasks.retain(|task| task.0 != *submission));
                return self.blows.retain(|(of, task), _| *of != generation || task.0 != *submission);
            }
            _ => return,
        };
        match frame {
            WorkerFrame::Heartbeat(heartbeat) => {
                for beat in &heartbeat.leases {
                    if let Some(lease) = self.held_lease(generation, worker, beat.lease_id) {
                        lease.expires = now + LEASE;
                    }
                }
            }
            WorkerFrame::Nack { lease, .. } => {
                if let Some(lease) = self.held_lease(generation, worker, lease.0) {
                    lease.over = Some("it was given back");
                }
            }
            WorkerFrame::Outcomes(outcomes, _) => {
                let token = outcomes.kernel.strip_prefix('f').and_then(|number| number.parse::<u64>().ok());
                let Some(sent) = token.and_then(|token| self.check.frames.get_mut(&token)) else { return };
                let epoch = sent
                    .submission
                    .map(Shard::of)
                    .map_or(0, |shard| self.generations[generation].epochs[usize::from(shard.number())].unsigned_abs());
                if outcomes.epoch != epoch {
                    // Whatever lease of now has the same number, they are not of it.
                    sent.forbidden = Some("they are of another epoch");
                    return;
                }
                sent.forbidden = match self.ledger.get_mut(&(generation, outcomes.lease_id)) {
                    None => Some("no such lease was granted by this owner"),
                    Some(lease) if lease.worker != worker => Some("the lease is another worker's"),
                    Some(LedgerLease { over: Some(why), .. }) => Some(*why),
                    Some(lease) if lease.expires <= now => Some("the lease had expired"),
                    Some(lease) => {
                        lease.expires = now + LEASE;
                        let answered = outcomes.first_task..outcomes.first_task + outcomes.task_count;
                        lease.tasks.retain(|task| !answered.contains(&task.2));
                        if outcomes.r#final {
                            lease.over = Some("it was over");
                        }
                        None
                    }
                };
                // Whoever says that a task failed has lived through it.
                let failed: Vec<u32> = sent.failures.keys().copied().collect();
                let of = sent.submission;
                self.blows.retain(|(_, task), _| Some(task.0) != of || !failed.contains(&task.2));
                // Also through the lease before, if this one is what was adopted of it, perhaps by a worker's next stream.
                for (_, lease) in self.ledger.range_mut((generation, 0)..=(generation, u64::MAX)) {
                    lease.tasks.retain(|task| Some(task.0) != of || !failed.contains(&task.2));
                }
            }
            _ => {}
        }
    }
}
