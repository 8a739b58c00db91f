//! The world of one schedule: its time, what is to happen in it, and who takes part. One event at a time, each at its
//! moment, in the order in which they were planned where moments are equal.

use std::{
    collections::BTreeMap,
    fmt::{Arguments, Write as _},
    time::Duration,
};

use super::{
    chance::Chance,
    check::Checker,
    clients::Client,
    commits::Transaction,
    owners::{Generation, Process, Question, ShardState},
    plan::Plan,
    readers::Reader,
    tables::Tables,
    wire::{Connection, LedgerLease, TaskPlace},
    workers::WorkerProcess,
};
use crate::{
    behind::Note,
    clock,
    engine::{Admission, Command, WorkerFrame},
    shard::SHARDS,
};

/// After the faults everything must have ended within this time.
const PATIENCE: Duration = Duration::from_secs(900);
/// The time of day at the beginning, in seconds after 1970.
const FIRST_DAY: Duration = Duration::from_secs(1_790_000_000);

/// What is to happen.
#[derive(Debug)]
pub(super) enum Event {
    Turn(usize),
    Tick(usize),
    Apply(u64),
    Reply(u64),
    Write(usize, Box<Note>),
    Answer(usize, Question),
    Deliver(usize, Box<Command>),
    Hello(usize),
    Frame(usize, Box<WorkerFrame>),
    Gone(usize, bool),
    Worker(usize),
    WorkerUp(usize),
    Client(usize),
    Reader(usize),
    Begin(usize),
    End(usize),
    Stop(usize),
    Place,
    ProcessUp(usize),
    Fault,
    Calm,
}

/// How a schedule is run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options {
    /// The trace is kept as text.
    pub(super) keep_lines: bool,
    /// Nothing goes wrong but this: the owner dies at this commit boundary, from 1.
    pub(super) restart_at: Option<u64>,
}

/// How a schedule went.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub(super) violation: Option<String>,
    pub(super) trace: [u8; 32],
    pub(super) lines: Vec<String>,
    pub(super) counts: BTreeMap<&'static str, u64>,
    pub(super) events: u64,
    pub(super) virtual_time: Duration,
    pub(super) boundaries: u64,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) chance: Chance,
    pub(super) now: Duration,
    /// What somebody has set the clock ahead by, in seconds.
    pub(super) clock_ahead: i64,
    pub(super) calm: bool,
    events: BTreeMap<(Duration, u64), Event>,
    planned: u64,
    pub(super) tables: Tables,
    pub(super) check: Checker,
    pub(super) admission: Admission,
    pub(super) processes: Vec<Process>,
    pub(super) generations: Vec<Generation>,
    pub(super) shards: [ShardState; SHARDS as usize],
    pub(super) transactions: BTreeMap<u64, Transaction>,
    pub(super) begun: u64,
    pub(super) connections: Vec<Connection>,
    /// By generation and lease.
    pub(super) ledger: BTreeMap<(usize, u64), LedgerLease>,
    /// How many workers an owner lost with a task.
    pub(super) blows: BTreeMap<(usize, TaskPlace), u32>,
    pub(super) workers: Vec<WorkerProcess>,
    pub(super) sessions: u64,
    pub(super) frames: u64,
    pub(super) held: u64,
    pub(super) clients: Vec<Client>,
    pub(super) readers: Vec<Reader>,
    trace: blake3::Hasher,
    line: String,
    lines: Option<Vec<String>>,
    restart_at: Option<u64>,
    boundaries: u64,
    counts: BTreeMap<&'static str, u64>,
    handled: u64,
}

impl World {
    pub(super) fn new(seed: u64, options: Options) -> Self {
        let (mut plan, mut chance) = Plan::new(seed);
        if options.restart_at.is_some() {
            plan.nothing_fails();
        }
        let processes = (0..plan.processes).map(|_| Process::default()).collect();
        let clients: Vec<Client> = (0..plan.clients).map(|number| Client::new(number, &plan, &mut chance)).collect();
        let readers = (0..plan.clients).map(|number| Reader::new(number % clients.len())).collect();
        let mut world = Self {
            plan,
            chance,
            now: Duration::ZERO,
            clock_ahead: 0,
            calm: false,
            events: BTreeMap::new(),
            planned: 0,
            tables: Tables::new(),
            check: Checker::default(),
            admission: Admission::new(1 << 30),
            processes,
            generations: Vec::new(),
            shards: [const { ShardState::FREE }; SHARDS as usize],
            transactions: BTreeMap::new(),
            begun: 0,
            connections: Vec::new(),
            ledger: BTreeMap::new(),
            blows: BTreeMap::new(),
            workers: Vec::new(),
            sessions: 0,
            frames: 0,
            held: 0,
            clients,
            readers,
            trace: blake3::Hasher::new(),
            line: String::new(),
            lines: options.keep_lines.then(Vec::new),
            restart_at: options.restart_at,
            boundaries: 0,
            counts: BTreeMap::new(),
            handled: 0,
        };
        world.set_clock();
        world.open();
        world
    }

    /// The first events.
    fn open(&mut self) {
        self.at(Duration::ZERO, Event::Place);
        for number in 0..self.plan.workers {
            self.workers.push(WorkerProcess::new(number));
            let at = self.chance.ms(0, 300);
            self.at(at, Event::WorkerUp(number));
        }
        for number in 0..self.clients.len() {
            let begins = if self.chance.one_in(2) { 200 } else { 4000 };
            let at = self.chance.ms(1, begins);
            self.at(at, Event::Client(number));
            let at = self.chance.ms(1, 4000);
            self.at(at, Event::Reader(number));
        }
        let at = self.chance.ms(0, 1000);
        self.at(at, Event::Fault);
        self.at(self.plan.calm_at, Event::Calm);
    }

    /// Runs until everything has ended, or something is wrong.
    pub(super) fn run(mut self) -> Report {
        while let Some(((at, _), event)) = self.events.pop_first() {
            self.now = at;
            self.handled += 1;
            self.set_clock();
            self.handle(event);
            if self.check.violation.is_some() || self.over() {
                break;
            }
            if self.now > self.plan.calm_at + PATIENCE {
                let waits = self.who_waits();
                self.check.fail("9 liveness", waits);
                break;
            }
        }
        if self.check.violation.is_none() {
            self.check_the_end();
        }
        let events = self.handled;
        *self.counts.entry("transactions").or_default() += self.tables.transactions;
        Report {
            violation: self.check.violation.take(),
            trace: *self.trace.finalize().as_bytes(),
            lines: self.lines.take().unwrap_or_default(),
            counts: std::mem::take(&mut self.counts),
            events,
            virtual_time: self.now,
            boundaries: self.boundaries,
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Turn(generation) => self.turn(generation),
            Event::Tick(generation) => self.tick(generation),
            Event::Apply(transaction) => self.apply(transaction),
            Event::Reply(transaction) => self.reply(transaction),
            Event::Write(generation, note) => self.write_behind(generation, *note),
            Event::Answer(generation, question) => self.answer(generation, question),
            Event::Deliver(generation, command) => self.post(generation, *command),
            Event::Hello(connection) => self.hello(connection),
            Event::Frame(connection, frame) => self.frame(connection, *frame),
            Event::Gone(connection, planned) => self.gone(connection, planned),
            Event::Worker(worker) => self.work(worker),
            Event::WorkerUp(worker) => self.worker_up(worker),
            Event::Client(client) => self.client(client),
            Event::Reader(reader) => self.reader(reader),
            Event::Begin(generation) => self.begin(generation),
            Event::End(generation) => self.end(generation, "lapsed"),
            Event::Stop(generation) => self.stop(generation),
            Event::Place => self.place(),
            Event::ProcessUp(process) => self.processes[process].up = true,
            Event::Fault => self.fault(),
            Event::Calm => self.calm_down(),
        }
    }

    /// Plans an event for a moment.
    pub(super) fn at(&mut self, at: Duration, event: Event) {
        self.planned += 1;
        self.events.insert((at.max(self.now), self.planned), event);
    }

    /// Plans an event for a while from now.
    pub(super) fn after(&mut self, pause: Duration, event: Event) {
        self.at(self.now + pause, event);
    }

    /// Tells the trace.
    pub(super) fn note(&mut self, what: Arguments<'_>) {
        self.line.clear();
        let _ = write!(self.line, "{:>11} {what}", self.now.as_micros());
        self.trace.update(self.line.as_bytes());
        self.trace.update(b"\n");
        if let Some(lines) = &mut self.lines {
            lines.push(self.line.clone());
        }
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// A transaction of a generation is about to be committed, or has just been: its owner may die at this moment.
    pub(super) fn boundary(&mut self, generation: usize) {
        self.boundaries += 1;
        let by_chance = !self.calm && self.chance.per_mille(self.plan.boundary_deaths);
        if by_chance || self.restart_at == Some(self.boundaries) {
            self.count("owners that die at a commit boundary");
            let process = self.generations[generation].process;
            self.kill_owner(process);
        }
    }

    fn set_clock(&self) {
        let ahead = Duration::from_secs(self.clock_ahead.unsigned_abs());
        let day = if self.clock_ahead < 0 { FIRST_DAY - ahead } else { FIRST_DAY + ahead };
        clock::simulated::set(self.now, day + self.now);
    }

    /// True once every client has what it wanted, and every reader has read all of it.
    fn over(&self) -> bool {
        self.calm && self.clients.iter().all(Client::done) && self.readers.iter().all(Reader::done)
    }

    fn who_waits(&self) -> String {
        let clients = self.clients.iter().filter(|client| !client.done());
        let clients: Vec<String> = clients.map(|client| client.describe(&self.tables)).collect();
        let readers = self.readers.iter().filter(|reader| !reader.done()).count();
        let workers: Vec<String> = self.workers.iter().map(WorkerProcess::describe).collect();
        let (clients, workers) = (clients.join("; "), workers.join("; "));
        format!("{PATIENCE:?} after the last fault {readers} readers wait, and {clients}; {workers}")
    }

    /// What clients were told is what is stored.
    fn check_the_end(&mut self) {
        for number in 0..self.clients.len() {
            let (id, acknowledged) = (self.clients[number].id, self.clients[number].acknowledged);
            if let Some(id) = id {
                self.check.acknowledged(&self.tables, id, acknowledged);
            }
        }
    }
}
