//! The engine: one task that owns the [`crate::core`] and carries out its effects. Callers talk to it by commands,
//! lanes report to it, workers get their frames from it. It never waits for Postgres or for a peer.

mod admission;
mod begin;
mod controls;
mod drain;
#[cfg(test)]
pub(crate) mod driven;
mod expansions;
mod group;
mod handle;
mod intake;
mod lane;
mod lanes;
mod leases;
mod listing;
mod load;
mod measure;
mod moves;
mod outgoing;
mod payload;
mod publish;
mod quota;
mod read;
mod recent;
mod reread;
mod run;
mod tables;
mod traces;

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use hashmesh::{
    queue::v1::{Heartbeat, LeaseOutcomes, Welcome},
    v1::{Algorithm, EndReason, PackedNames, QueueStats, SourceRoot, WorkerStats},
};
use hashmesh_runtime::trace::TraceContext;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

pub(crate) use admission::{Admission, Admitted, Busy};
pub(crate) use controls::{Refreshed, TenantStanding};
pub(crate) use handle::{SubmissionHandle, Tail};
pub(crate) use listing::{Listed, ListedPage, Standing};
pub(crate) use moves::SharedShards;
pub(crate) use outgoing::{ToWorker, to_worker};
pub(crate) use quota::{Usage, UsageRow};
pub(crate) use recent::weight;
pub(crate) use run::{GenerationEnd, GenerationStart, run};

use crate::{
    core::{Claim, LeaseId, NewBatchMeta, WorkerId, WorkerInfo},
    error::QueueError,
    shard::ShardSet,
    store::model::{ControlsChange, LeaseRow, LoadedBatches, NewSubmission, Recovered},
};

/// A validated batch from a caller.
#[derive(Debug)]
pub(crate) struct IncomingBatch {
    pub(crate) meta: NewBatchMeta,
    /// An encoded `PackedTasks` without names.
    pub(crate) tasks: Bytes,
    pub(crate) names: Option<PackedNames>,
    /// When its frame was read.
    pub(crate) received: Instant,
    /// What caused it.
    pub(crate) trace: Option<TraceContext>,
}

impl IncomingBatch {
    /// The memory that it takes: what was counted when it was validated may be less, so it is counted again.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.tasks.len() + self.names.as_ref().map_or(0, |names| names.data.len() + 4 * names.lengths.len())
    }

    /// The same batch once more; its large fields are shared.
    pub(crate) fn again(&self) -> Self {
        let Self { meta, tasks, names, received, trace } = self;
        let (tasks, names) = (tasks.clone(), names.clone());
        Self { meta: meta.clone(), tasks, names, received: *received, trace: *trace }
    }
}

/// What a new submission is to be.
#[derive(Debug)]
pub(crate) struct CreateSubmission {
    pub(crate) new: NewSubmission,
    /// Its only batch: stored, with the seal, in the transaction that creates it.
    pub(crate) whole: Option<(IncomingBatch, Admitted)>,
    /// The call, if it is traced.
    pub(crate) trace: Option<TraceContext>,
}

/// What becomes of a create.
#[derive(Clone, Debug)]
pub(crate) enum Created {
    /// It is on its way to Postgres.
    New(Arc<SubmissionHandle>),
    /// A submission with the same key is unfinished in memory, with this fingerprint of its options.
    Found(Arc<SubmissionHandle>, [u8; 32]),
}

/// A batch has its place; that it is stored shows in the tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is new, or known to be the same as before.
    Taken,
    /// Tasks were sent before under its number. Whether they are the same, the table tells once they are stored.
    Compare,
}

type Reply<T> = oneshot::Sender<T>;

/// What the engine is asked to do or told.
#[derive(Debug)]
pub(crate) enum Command {
    Find {
        id: Uuid,
        reply: Reply<Option<Arc<SubmissionHandle>>>,
    },
    Create {
        create: Box<CreateSubmission>,
        reply: Reply<Result<Created, QueueError>>,
    },
    /// Makes the caller the writer; the one before is replaced. Answers with the writer's number.
    ClaimWriter {
        id: Uuid,
        reply: Reply<Option<u64>>,
    },
    Append {
        id: Uuid,
        batch: Box<IncomingBatch>,
        permit: Admitted,
        reply: Reply<Result<Taken, QueueError>>,
    },
    Seal {
        id: Uuid,
        batch_count: u32,
        reply: Reply<Result<(), QueueError>>,
    },
    Cancel {
        id: Uuid,
        reason: EndReason,
        reply: Reply<Result<(), QueueError>>,
    },
    Standing {
        id: Uuid,
        reply: Reply<Standing>,
    },
    /// Answers once the change is committed and holds.
    Control {
        change: ControlsChange,
        reply: Reply<Result<(), QueueError>>,
    },
    Controls {
        tenant: String,
        reply: Reply<TenantStanding>,
    },
    DrainWorker {
        name: String,
        draining: bool,
        reply: Reply<Result<Vec<WorkerStats>, QueueError>>,
    },
    Stats {
        reply: Reply<QueueStats>,
    },
    WorkerConnected(Box<NewWorker>),
    WorkerFrame {
        worker: WorkerId,
        frame: WorkerFrame,
    },
    /// A worker has listed what it was asked to.
    Page {
        worker: WorkerId,
        page: Box<ListedPage>,
    },
    /// `handed_over`: because this process is stopping. What the worker holds it will claim from the next owner.
    WorkerDisconnected {
        worker: WorkerId,
        handed_over: bool,
    },
    /// Work on these shards too, whose unfinished submissions were read. Answers once that is so.
    TakeUp {
        shards: ShardSet,
        submissions: Vec<Recovered>,
        reply: Reply<()>,
    },
    /// Give these shards up. Answers once nothing of them is under way, and what was in hand is written.
    GiveUp {
        shards: ShardSet,
        reply: Reply<()>,
    },
    /// What was heard of other owners and of operators.
    Refresh(Box<Refreshed>),
    Committed(lane::Committed),
    /// Rows of `leases` that the core waits for are in the table.
    WrittenAhead {
        rows: Vec<LeaseRow>,
    },
    PayloadsRead {
        submission: Uuid,
        /// What was to be read.
        sequences: Vec<u32>,
        /// What of it was found.
        payloads: Vec<(u32, payload::Payload)>,
    },
    /// Batches were read as the core asked.
    Loaded {
        batches: Vec<(Uuid, LoadedBatches)>,
    },
    /// A submission that failed was read again from Postgres; `None`: it is finished or unknown there.
    Reread {
        submission: Uuid,
        recovered: Option<Box<Recovered>>,
    },
}

/// A worker that said hello.
#[derive(Debug)]
pub(crate) struct NewWorker {
    pub(crate) info: WorkerInfo,
    /// What it still holds of an owner before.
    pub(crate) claims: Vec<Claim>,
    /// Its first frame; what it goes on with is filled in.
    pub(crate) welcome: Welcome,
    pub(crate) sources: Vec<SourceRoot>,
    /// It lists sources when it is asked to.
    pub(crate) lists: bool,
    /// The way to it.
    pub(crate) frames: ToWorker,
    pub(crate) reply: Reply<WorkerId>,
}

/// A frame from a connected worker.
#[derive(Debug)]
pub(crate) enum WorkerFrame {
    Credit {
        tasks: u32,
        bytes: u64,
    },
    /// With the time of their arrival.
    Outcomes(Box<LeaseOutcomes>, Instant),
    Nack {
        lease: LeaseId,
        retry_after: std::time::Duration,
    },
    Heartbeat(Heartbeat),
    /// It begins what was leased to it alone.
    Begin {
        lease: LeaseId,
    },
    Draining,
    /// What it holds of shards that have come.
    Claims(Vec<Claim>),
}

/// The way to the engine of the current ownership.
#[derive(Clone, Debug)]
pub(crate) struct EngineHandle {
    commands: mpsc::Sender<Command>,
    admission: Admission,
    shards: SharedShards,
}

impl EngineHandle {
    /// A handle, and the receiver for the engine. `admission_bytes` of payload may be on their way to Postgres at once.
    pub(crate) fn new(admission_bytes: usize) -> (Self, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(4096);
        let (admission, shards) = (Admission::new(admission_bytes), SharedShards::default());
        (Self { commands, admission, shards }, receiver)
    }

    /// The shards that it works on.
    pub(crate) fn shards(&self) -> &SharedShards {
        &self.shards
    }

    /// The sender for lanes and readers.
    pub(crate) fn commands(&self) -> mpsc::Sender<Command> {
        self.commands.clone()
    }

    /// Waits until the engine is gone.
    pub(crate) async fn closed(&self) {
        self.commands.closed().await;
    }

    /// Tells the engine something.
    pub(crate) async fn tell(&self, command: Command) -> Result<(), QueueError> {
        self.commands.send(command).await.map_err(|_| QueueError::Recovering)
    }

    /// Asks the engine something.
    pub(crate) async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, QueueError> {
        let (reply, answer) = oneshot::channel();
        self.tell(command(reply)).await?;
        answer.await.map_err(|_| QueueError::Recovering)
    }

    /// The unfinished submission with this id.
    pub(crate) async fn find(&self, id: Uuid) -> Result<Option<Arc<SubmissionHandle>>, QueueError> {
        self.ask(|reply| Command::Find { id, reply }).await
    }

    /// Memory for batches.
    pub(crate) fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Takes a batch once there is memory for it. Answers as soon as its place is decided, before it is committed.
    pub(crate) async fn append(&self, id: Uuid, batch: IncomingBatch) -> Result<Taken, QueueError> {
        let permit = self.admission.admit(batch.memory_bytes()).await?;
        self.append_admitted(id, batch, permit).await
    }

    /// The same for a batch that has its memory.
    pub(crate) async fn append_admitted(
        &self,
        id: Uuid,
        batch: IncomingBatch,
        permit: Admitted,
    ) -> Result<Taken, QueueError> {
        self.ask(|reply| Command::Append { id, batch: Box::new(batch), permit, reply }).await?
    }

    /// Seals a submission. Answers once that is committed.
    pub(crate) async fn seal(&self, id: Uuid, batch_count: u32) -> Result<(), QueueError> {
        self.ask(|reply| Command::Seal { id, batch_count, reply }).await?
    }

    /// Cancels a submission. Answers once that is committed.
    pub(crate) async fn cancel(&self, id: Uuid, reason: EndReason) -> Result<(), QueueError> {
        self.ask(|reply| Command::Cancel { id, reason, reply }).await?
    }

    /// The algorithms and everything else of a new submission are on their way to Postgres.
    pub(crate) async fn create(&self, create: CreateSubmission) -> Result<Created, QueueError> {
        self.ask(|reply| Command::Create { create: Box::new(create), reply }).await?
    }
}

/// The numbers of algorithms in frames.
pub(crate) fn numbers(algorithms: &[Algorithm]) -> Vec<i32> {
    algorithms.iter().map(|algorithm| *algorithm as i32).collect()
}
