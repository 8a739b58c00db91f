//! Queue processes and what they own: a generation is one engine, from a takeover to its end.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use uuid::Uuid;

use super::{
    tables::Tables as Rows,
    world::{Event, World},
};
use crate::{
    core::{CoreConfig, Resolved},
    engine::{
        Command,
        driven::{Driven, Setup, Tables, payloads_read},
    },
    shard::{SHARDS, Shard},
    store::{
        Ownership,
        model::{LeaseRow, WantedBatches},
    },
};

/// How long a lease lasts, and how long work on one may stand still.
pub(super) const LEASE: Duration = Duration::from_secs(5);
const STALL: Duration = Duration::from_secs(8);
/// As the engine's task has it.
const TICK: Duration = Duration::from_millis(100);
/// How long an ownership outlives its last renewal.
const LAPSE: Duration = Duration::from_secs(5);

/// A process that owns shards, or could.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) up: bool,
    /// It died together with all workers, and nobody has taken over since.
    pub(super) crashed: bool,
    /// Stopped as by SIGSTOP.
    pub(super) stalled_until: Duration,
}

impl Default for Process {
    fn default() -> Self {
        Self { up: true, crashed: false, stalled_until: Duration::ZERO }
    }
}

/// Who owns a shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShardState {
    pub(super) generation: Option<usize>,
    /// From when on another may take it over.
    pub(super) free_at: Duration,
}

impl ShardState {
    pub(super) const FREE: Self = Self { generation: None, free_at: Duration::ZERO };
}

/// What an engine wants to know of the tables.
#[derive(Debug)]
pub(super) enum Question {
    Load(Vec<WantedBatches>),
    Payloads(Uuid, Vec<u32>),
    Again(Uuid),
}

/// The questions of one engine.
#[derive(Clone, Debug, Default)]
pub(super) struct Questions(Arc<Mutex<Vec<Question>>>);

impl Questions {
    fn ask(&self, question: Question) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(question);
    }

    fn take(&self) -> Vec<Question> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Tables for Questions {
    fn load_batches(&self, wanted: Vec<WantedBatches>) {
        self.ask(Question::Load(wanted));
    }

    fn read_payloads(&self, submission: Uuid, sequences: Vec<u32>) {
        self.ask(Question::Payloads(submission, sequences));
    }

    fn read_again(&self, submission: Uuid) {
        self.ask(Question::Again(submission));
    }
}

/// One engine and all that it holds.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) process: usize,
    /// A bit for each shard.
    pub(super) shards: u64,
    pub(super) epochs: [i64; SHARDS as usize],
    /// `None`: not begun, or ended.
    pub(super) engine: Option<Driven>,
    pub(super) ended: bool,
    after_crash: bool,
    inbox: VecDeque<Command>,
    turn_planned: bool,
    pub(super) lanes: Vec<bool>,
    questions: Questions,
    pub(super) writing: bool,
    /// What its writer behind knows of `leases`, and has not written yet.
    pub(super) written: Option<BTreeSet<LeaseRow>>,
    pub(super) unwritten: Vec<(Uuid, Resolved)>,
    pub(super) connections: Vec<usize>,
}

impl Generation {
    pub(super) fn live(&self) -> bool {
        self.engine.is_some()
    }
}

impl World {
    /// Gives shards that nobody owns to processes that are up.
    pub(super) fn place(&mut self) {
        for group in 0..self.plan.groups {
            let now = self.now;
            let free = |shard: &u8| {
                shard % self.plan.groups == group && {
                    let state = self.shards[usize::from(*shard)];
                    state.generation.is_none() && state.free_at <= now
                }
            };
            let shards = (0..SHARDS).filter(free).fold(0, |shards, shard| shards | 1 << shard);
            let up: Vec<usize> = (0..self.processes.len())
                .filter(|process| self.processes[*process].up && self.processes[*process].stalled_until <= now)
                .collect();
            if shards != 0 && !up.is_empty() {
                let process = up[self.chance.index(up.len())];
                self.take_over(process, shards);
            }
        }
        self.resume_all();
        let pause = self.chance.ms(20, 250);
        self.after(pause, Event::Place);
    }

    /// The epochs rise; the new owner reads the tables a little later.
    fn take_over(&mut self, process: usize, shards: u64) {
        let number = self.generations.len();
        let mut epochs = [0; SHARDS as usize];
        for shard in (0..usize::from(SHARDS)).filter(|shard| shards >> shard & 1 == 1) {
            self.tables.epochs[shard] += 1;
            epochs[shard] = self.tables.epochs[shard];
            self.shards[shard].generation = Some(number);
        }
        let after_crash = std::mem::take(&mut self.processes[process].crashed) && shards == u64::MAX;
        self.note(format_args!("takeover g{number} by p{process} of {shards:016x} crash {after_crash}"));
        self.count("takeovers");
        self.generations.push(Generation {
            process,
            shards,
            epochs,
            engine: None,
            ended: false,
            after_crash,
            inbox: VecDeque::new(),
            turn_planned: false,
            lanes: Vec::new(),
            questions: Questions::default(),
            writing: false,
            written: None,
            unwritten: Vec::new(),
            connections: Vec::new(),
        });
        let pause = self.chance.ms(1, 30);
        self.after(pause, Event::Begin(number));
    }

    /// A new owner reads the tables and begins to serve.
    pub(super) fn begin(&mut self, number: usize) {
        if self.generations[number].ended {
            return;
        }
        if let Some(later) = self.stalled(number) {
            return self.at(later, Event::Begin(number));
        }
        let (eager, count) = (self.chance.index(4), self.chance.between(1, 8));
        let seed = self.chance.next();
        let generation = &mut self.generations[number];
        let core = CoreConfig {
            lease_duration: LEASE,
            stall_timeout: STALL,
            backoff_base: Duration::from_millis(200),
            backoff_cap: Duration::from_secs(4),
            window_batches: self.plan.window_batches,
            index_batches: self.plan.index_batches,
            after_crash: generation.after_crash,
            seed,
            ..CoreConfig::default()
        };
        let setup = Setup {
            core,
            tables: Box::new(generation.questions.clone()),
            ownership: Ownership::of(generation.epochs),
            payload_bytes: self.plan.payload_bytes,
            recent_bytes: self.plan.recent_bytes,
        };
        // What operators say reaches the owner of the first shard only, and so does what they said.
        let controls = if generation.shards & 1 == 1 { self.tables.controls() } else { Vec::new() };
        let recovered = self.tables.unfinished(generation.shards, eager, count);
        let unfinished = recovered.len();
        let engine = Driven::begin(setup, controls, recovered);
        generation.lanes = vec![false; engine.lanes()];
        generation.engine = Some(engine);
        self.note(format_args!("begin g{number} with {unfinished} unfinished"));
        self.after(Duration::ZERO, Event::Turn(number));
        let first = self.chance.ms(0, 100);
        self.after(first, Event::Tick(number));
    }

    /// Until when a generation's process stands still, if it does.
    pub(super) fn stalled(&self, number: usize) -> Option<Duration> {
        let until = self.processes[self.generations[number].process].stalled_until;
        (until > self.now).then_some(until)
    }

    /// The engine of a generation, if it serves.
    pub(super) fn serving(&self, shard: Shard) -> Option<usize> {
        let number = self.shards[usize::from(shard.number())].generation?;
        (self.generations[number].live() && self.stalled(number).is_none()).then_some(number)
    }

    /// Puts a command before an engine, which looks at it in its next turn.
    pub(super) fn post(&mut self, number: usize, command: Command) {
        let generation = &mut self.generations[number];
        if !generation.live() {
            return;
        }
        generation.inbox.push_back(command);
        if !std::mem::replace(&mut generation.turn_planned, true) {
            let pause = self.chance.micros(0, 400);
            self.after(pause, Event::Turn(number));
        }
    }

    /// An engine's turn.
    pub(super) fn turn(&mut self, number: usize) {
        if let Some(later) = self.stalled(number) {
            return self.at(later, Event::Turn(number));
        }
        self.generations[number].turn_planned = false;
        let inbox = std::mem::take(&mut self.generations[number].inbox);
        for command in inbox {
            self.observe(number, &command);
            if let Some(engine) = &mut self.generations[number].engine {
                engine.handle(command);
            }
        }
        self.end_turn(number);
    }

    /// Time passes for an engine.
    pub(super) fn tick(&mut self, number: usize) {
        if !self.generations[number].live() {
            return;
        }
        if let Some(later) = self.stalled(number) {
            return self.at(later, Event::Tick(number));
        }
        if let Some(engine) = &mut self.generations[number].engine {
            engine.tick();
        }
        self.end_turn(number);
        self.after(TICK, Event::Tick(number));
    }

    /// Carries on what a turn has caused.
    pub(super) fn end_turn(&mut self, number: usize) {
        let Some(engine) = &mut self.generations[number].engine else { return };
        engine.end_turn();
        for question in self.generations[number].questions.take() {
            let pause = self.chance.micros(200, 20_000);
            self.after(pause, Event::Answer(number, question));
        }
        for lane in 0..self.generations[number].lanes.len() {
            self.start_lane(number, lane);
        }
        self.start_writer(number);
        self.collect_frames(number);
    }

    /// The tables answer, as they are now; the answer takes a while to arrive.
    pub(super) fn answer(&mut self, number: usize, question: Question) {
        if !self.generations[number].live() {
            return;
        }
        let fails = !self.calm && self.chance.one_in(30);
        let tables: &Rows = &self.tables;
        let command = match question {
            Question::Payloads(id, sequences) => {
                let found = if fails { Vec::new() } else { tables.payloads(id, &sequences) };
                payloads_read(id, sequences, found.into_iter())
            }
            question if fails => {
                self.count("reads that fail");
                let pause = self.chance.ms(50, 400);
                return self.after(pause, Event::Answer(number, question));
            }
            Question::Load(wanted) => {
                let batches = wanted.iter().map(|wanted| (wanted.submission, tables.load(wanted))).collect();
                Command::Loaded { batches }
            }
            Question::Again(submission) => {
                let recovered = tables.unfinished_one(submission, 8).map(Box::new);
                Command::Reread { submission, recovered }
            }
        };
        let pause = self.chance.micros(0, 8_000);
        self.after(pause, Event::Deliver(number, Box::new(command)));
    }

    /// An engine is gone, and all that it held. What its transactions have sent may still arrive.
    pub(super) fn end(&mut self, number: usize, why: &str) {
        if std::mem::replace(&mut self.generations[number].ended, true) {
            return;
        }
        self.note(format_args!("end g{number}: {why}"));
        let generation = &mut self.generations[number];
        generation.inbox.clear();
        drop(generation.engine.take());
        let connections = std::mem::take(&mut generation.connections);
        let pause = if self.processes[self.generations[number].process].up { Duration::from_millis(50) } else { LAPSE };
        for state in self.shards.iter_mut().filter(|state| state.generation == Some(number)) {
            *state = ShardState { generation: None, free_at: self.now + pause };
        }
        for connection in connections {
            self.engine_gone(connection);
        }
    }
}
