//! The engine for who drives it by hand: a simulation that is its lanes, its tables, its writer behind and its peers.

use std::sync::Arc;

use bytes::Bytes;
use hashmesh::v1::PackedNames;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{
    Command,
    begin::EngineParts,
    controls::Refreshed,
    lane::{After, LaneQueue},
    lanes::Lanes,
    moves::SharedShards,
    payload::Payload,
    run::Engine,
};
pub(crate) use super::{outgoing::WorkerFrames, tables::Tables};
use crate::{
    behind::{Behind, Note},
    core::CoreConfig,
    store::{
        Ownership, UnitError,
        model::{ControlsChange, Recovered, Unit},
    },
};

/// Lanes beside the express lane.
const LANES: usize = 2;

/// An engine without a task, a lane or a clock of its own.
#[derive(Debug)]
pub(crate) struct Driven {
    engine: Engine,
    queues: Vec<Arc<LaneQueue>>,
    notes: mpsc::Receiver<Note>,
}

/// What an engine starts from.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) core: CoreConfig,
    pub(crate) tables: Box<dyn Tables>,
    pub(crate) ownership: Ownership,
    pub(crate) payload_bytes: usize,
    pub(crate) recent_bytes: usize,
}

/// What one transaction of a lane commits.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) lane: usize,
    pub(crate) units: Vec<Unit>,
    afters: Vec<After>,
}

impl Driven {
    pub(crate) fn begin(setup: Setup, controls: Vec<ControlsChange>, recovered: Vec<Recovered>) -> Self {
        let Setup { core, tables, ownership, payload_bytes, recent_bytes } = setup;
        let held = ownership.held();
        let lanes = Lanes::new(LANES);
        let queues = lanes.queues().cloned().collect();
        let (behind, notes) = Behind::new();
        let (ownership, shards, measures) = (Arc::new(ownership), SharedShards::default(), Arc::default());
        let parts =
            EngineParts { core, tables, ownership, shards, lanes, behind, measures, payload_bytes, recent_bytes };
        let mut engine = Engine::new(parts);
        engine.begin(Vec::new());
        engine.refresh(Refreshed { controls, usage: Vec::new(), processes: 1 });
        engine.take_up(held, recovered, oneshot::channel().0);
        engine.end_turn();
        Self { engine, queues, notes }
    }

    pub(crate) fn lanes(&self) -> usize {
        self.queues.len()
    }

    pub(crate) fn handle(&mut self, command: Command) {
        self.engine.handle(command);
    }

    pub(crate) fn tick(&mut self) {
        self.engine.tick();
    }

    pub(crate) fn end_turn(&mut self) {
        self.engine.end_turn();
    }

    /// What a lane commits next. `None`: nothing waits for it.
    pub(crate) fn take_group(&self, lane: usize) -> Option<Group> {
        let group = self.queues[lane].take_now();
        let (units, afters): (Vec<Unit>, Vec<After>) =
            group.into_iter().map(|queued| (queued.unit, queued.after)).unzip();
        (!units.is_empty()).then_some(Group { lane, units, afters })
    }

    /// A transaction has its answer, as the lane would pass it on.
    pub(crate) fn answered(&self, group: Group, results: Vec<Result<std::time::SystemTime, UnitError>>) -> Command {
        Command::Committed(self.queues[group.lane].answered(&group.units, group.afters, results))
    }

    /// What is to be written behind or ahead.
    pub(crate) fn note(&mut self) -> Option<Note> {
        self.notes.try_recv().ok()
    }
}

/// The answer to a question for payload.
pub(crate) fn payloads_read(
    submission: Uuid,
    sequences: Vec<u32>,
    found: impl Iterator<Item = (u32, Bytes, Option<PackedNames>)>,
) -> Command {
    let payloads = found.map(|(sequence, tasks, names)| (sequence, Payload::new(tasks, names))).collect();
    Command::PayloadsRead { submission, sequences, payloads }
}
