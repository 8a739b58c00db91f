//! The engine's loop, from taking over to losing ownership.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use hashmesh::v1::{CacheMode, QueueStats, SourceRoot, TenantSources};
use hashmesh_runtime::{
    telemetry::{self, Repeated},
    trace::TraceContext,
};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::{
    Command, EngineHandle,
    begin::EngineParts,
    controls::Heard,
    expansions::Expansions,
    handle::{SubmissionHandle, Tail},
    lane::{self, After, Committed, Queued},
    lanes::Lanes,
    moves::{Coming, Leaving, SharedShards},
    outgoing::ToWorker,
    payload::PayloadCache,
    publish::Published,
    quota::{Quotas, UsageRow},
    recent::RecentTurns,
    tables::{PostgresTables, Tables},
    traces::{LeaseSpans, UnitSpan},
};
use crate::{
    QueueConfig,
    behind::{Behind, Last, Snapshot},
    clock,
    core::{Core, CoreConfig, Grant, LeaseId, Now, WorkerId},
    error::QueueError,
    measures::Measures,
    phases::Phases,
    rates::{Rates, Samples},
    shard::{IdMint, Shard, ShardSet},
    store::{
        Lane, LaneError, Ownership, UnitError,
        model::{LeaseRow, TracedOutcomes, Unit, WantedBatches, Write},
    },
    wall::WallTime,
};

/// Of each submission that had something in a transaction that Postgres refuses.
static NOT_WRITTEN: Repeated = Repeated::at_most(10);

/// How often leases are checked for expiry.
const TICK: Duration = Duration::from_millis(100);
/// Commands handled in one turn before lanes and workers get what they caused.
const TURN: usize = 256;
/// Leases younger than this are not worth a row.
const BEHIND_AGE: Duration = Duration::from_secs(1);

/// What an engine starts from. It owns no shard before it is told to take some up.
#[derive(Debug)]
pub(crate) struct GenerationStart {
    pub(crate) config: QueueConfig,
    pub(crate) ownership: Arc<Ownership>,
    pub(crate) lanes: Vec<Lane>,
    /// What tenants have brought to this process today.
    pub(crate) usage: Vec<UsageRow>,
    pub(crate) handle: EngineHandle,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) behind: Behind,
    /// The last owner died with its workers.
    pub(crate) after_crash: bool,
    /// Where it says how things stand.
    pub(crate) measures: Arc<Measures>,
}

/// Why an ownership is over.
#[derive(Debug)]
pub(crate) enum GenerationEnd {
    /// A lane lost its connection or its right to write: what it wrote last is unknown until the next takeover.
    Lane(LaneError),
    /// Nobody can send commands any more: the process stops.
    Stopped,
}

/// An unfinished submission as the engine shares it.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) handle: Arc<SubmissionHandle>,
    pub(super) tail: watch::Sender<Tail>,
    pub(super) key: Option<(String, String)>,
    pub(super) keep_inputs: bool,
    pub(super) part_bytes: u64,
    pub(super) cache: CacheMode,
    /// Of its batches in memory, those that are traced.
    pub(super) contexts: BTreeMap<u32, TraceContext>,
    /// Of the call that created it, which the pages of its listing are linked to. A next owner does not know it.
    pub(super) listing_cause: Option<TraceContext>,
}

/// A worker as the engine talks to it.
#[derive(Debug)]
pub(super) struct ConnectedWorker {
    pub(super) name: String,
    pub(super) slots: u32,
    pub(super) sources: Vec<SourceRoot>,
    /// It lists sources when it is asked to.
    pub(super) lists: bool,
    pub(super) frames: ToWorker,
    /// Bytes of leases for it whose payload is being read.
    pub(super) awaited_bytes: u64,
    /// Leases settled in this turn.
    pub(super) settled: Vec<u64>,
    /// Its leases of the shards that were given up last. What it has sent of them meanwhile it sends to their next owner
    /// too: here it is neither taken nor refused.
    pub(super) moved: HashSet<LeaseId>,
    /// It said itself that it takes no more leases.
    pub(super) leaves: bool,
    pub(super) connected_at: Now,
    /// Outcomes recorded from it.
    pub(super) recorded: Samples,
}

#[derive(Debug)]
pub(super) struct Engine {
    pub(super) core: Core,
    pub(super) tables: Box<dyn Tables>,
    pub(super) ownership: Arc<Ownership>,
    pub(super) live: HashMap<Uuid, Live>,
    /// Idempotency keys of live submissions, with the fingerprint of their options.
    pub(super) keys: HashMap<(String, String), (Uuid, [u8; 32])>,
    /// Submissions whose tasks are being listed.
    pub(super) expansions: Expansions,
    pub(super) payloads: PayloadCache,
    /// Batches that the core asked for.
    pub(super) loads: VecDeque<WantedBatches>,
    pub(super) loading: bool,
    /// Leases whose payload is being read.
    pub(super) unread: HashMap<(Uuid, u32), Vec<Grant>>,
    /// Batches whose payload is to be read, and how many reads are under way.
    pub(super) to_read: VecDeque<(Uuid, u32)>,
    pub(super) reading: usize,
    pub(super) workers: BTreeMap<WorkerId, ConnectedWorker>,
    /// Names of workers that an administrator has said to drain. Each was connected then.
    pub(super) drained: BTreeSet<String>,
    pub(super) mint: IdMint,
    pub(super) recent: RecentTurns,
    pub(super) quotas: Quotas,
    /// What tenants may name, of whom that was said.
    pub(super) sources: BTreeMap<String, TenantSources>,
    pub(super) lease_spans: LeaseSpans,
    pub(super) published: Published,
    /// What operators have said, as it was heard last.
    pub(super) heard: Heard,
    /// The shards that it works on.
    pub(super) shards: SharedShards,
    /// Shards that it is about to work on.
    pub(super) coming: Option<Coming>,
    /// Shards that it gives up, once nothing of them is under way.
    pub(super) leaving: Option<Leaving>,
    /// What is to be written of shards that were given up.
    pub(super) last_words: Vec<Last>,
    pub(super) lanes: Lanes,
    pub(super) behind: Behind,
    /// Rows to be written ahead.
    pub(super) ahead: Vec<LeaseRow>,
    pub(super) rates: Rates,
    pub(super) phases: Phases,
    pub(super) started: Instant,
}

/// Runs an ownership until it is lost or the process stops.
pub(crate) async fn run(start: GenerationStart) -> GenerationEnd {
    let GenerationStart { config, ownership, lanes, usage, handle, mut commands, behind, after_crash, measures } =
        start;
    let lane_queues = Lanes::new(lanes.len().saturating_sub(1));
    let queues: Vec<_> = lane_queues.queues().cloned().collect();
    let core = CoreConfig {
        lease_duration: config.lease_duration,
        stall_timeout: config.stall_timeout,
        backoff_base: config.backoff_base,
        index_batches: config.index_batches,
        unread_bytes: config.unread_bytes as u64,
        after_crash,
        seed: rand::random(),
        ..CoreConfig::default()
    };
    let mut engine = Engine::new(EngineParts {
        core,
        tables: Box::new(PostgresTables { database: config.database.clone(), commands: handle.commands() }),
        ownership,
        shards: handle.shards().clone(),
        lanes: lane_queues,
        behind,
        measures,
        payload_bytes: config.payload_bytes,
        recent_bytes: config.recent_bytes,
    });
    engine.begin(usage);

    // Dropping the set with the engine ends the lanes: a transaction that is cut off has an unknown outcome, which the
    // next takeover resolves.
    let mut lane_tasks = tokio::task::JoinSet::new();
    for (lane, queue) in lanes.into_iter().zip(queues) {
        let commands = handle.commands();
        lane_tasks.spawn(async move { lane::run(lane, &queue, commands).await });
    }
    drop(handle);

    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut turn = Vec::with_capacity(TURN);
    loop {
        tokio::select! {
            biased;
            ended = lane_tasks.join_next() => {
                let error = ended.and_then(Result::ok).unwrap_or_else(|| LaneError::Unknown("a lane's task failed".to_owned()));
                return GenerationEnd::Lane(error);
            }
            _ = tick.tick() => engine.tick(),
            received = commands.recv_many(&mut turn, TURN) => {
                if received == 0 {
                    return GenerationEnd::Stopped;
                }
                for command in turn.drain(..) {
                    engine.handle(command);
                }
            }
        }
        engine.end_turn();
    }
}

impl Engine {
    /// Time since the takeover.
    pub(super) fn now(&self) -> Now {
        clock::instant().saturating_duration_since(self.started)
    }

    pub(super) fn handle(&mut self, command: Command) {
        // A caller that no longer waits for its answer is gone; what it asked for stands all the same.
        match command {
            Command::Find { id, reply } => drop(reply.send(self.live.get(&id).map(|live| Arc::clone(&live.handle)))),
            Command::Create { create, reply } => drop(reply.send(self.create(*create))),
            Command::ClaimWriter { id, reply } => drop(reply.send(self.claim_writer(id))),
            Command::Append { id, batch, permit, reply } => drop(reply.send(self.append(id, *batch, permit))),
            Command::Seal { id, batch_count, reply } => self.seal(id, batch_count, reply),
            Command::Cancel { id, reason, reply } => self.cancel(id, reason, reply),
            Command::Standing { id, reply } => drop(reply.send(self.standing(id))),
            Command::Control { change, reply } => self.control(change, reply),
            Command::Controls { tenant, reply } => drop(reply.send(self.tenant_standing(&tenant))),
            Command::DrainWorker { name, draining, reply } => drop(reply.send(self.set_draining(&name, draining))),
            Command::Stats { reply } => drop(reply.send(self.stats())),
            Command::WorkerConnected(new) => self.worker_connected(*new),
            Command::WorkerFrame { worker, frame } => self.worker_frame(worker, frame),
            Command::Page { worker, page } => self.page(worker, *page),
            Command::WorkerDisconnected { worker, handed_over: false } => self.worker_disconnected(worker),
            Command::WorkerDisconnected { worker, handed_over: true } => self.worker_left(worker),
            Command::TakeUp { shards, submissions, reply } => self.take_up(shards, submissions, reply),
            Command::GiveUp { shards, reply } => self.give_up(shards, reply),
            Command::Refresh(heard) => self.refresh(*heard),
            Command::Committed(committed) => self.committed(committed),
            Command::PayloadsRead { submission, sequences, payloads } => {
                self.payloads_read(submission, &sequences, payloads);
            }
            Command::Loaded { batches } => self.loaded(&batches),
            Command::WrittenAhead { rows } => {
                let now = self.now();
                rows.iter().for_each(|row| self.core.written_ahead(now, row));
            }
            Command::Reread { submission, recovered } => self.reread(submission, recovered.as_deref()),
        }
    }

    pub(super) fn tick(&mut self) {
        let now = self.now();
        self.core.clock(WallTime::now());
        self.core.tick(now);
        self.expansions.tick(now);
        self.rates.tick(now);
        self.sample_workers(now);
        self.publish(now);
        let (core, live, quotas, shards) = (&mut self.core, &self.live, &mut self.quotas, self.shards.now());
        self.behind.offer(now, || snapshot(core, live, Some(quotas), shards, now, BEHIND_AGE));
    }

    /// Carries out everything that the commands of a turn caused.
    pub(super) fn end_turn(&mut self) {
        self.go_on_coming();
        loop {
            let mut effects = self.core.take_effects();
            if effects.is_empty() {
                self.note_unread();
                effects = self.core.take_effects();
            }
            if effects.is_empty() {
                break;
            }
            self.carry_out(effects);
        }
        self.go_on_leaving();
        self.behind.offer_last(&mut self.last_words);
        self.behind.offer_ahead(&mut self.ahead);
        self.ask_for_pages();
        self.flush_settled();
        self.load_next();
        self.read_next();
        self.count();
    }

    /// Puts a unit into a lane, behind all others of its submission.
    pub(super) fn push(&mut self, id: Uuid, writes: Vec<Write>, after: After) {
        let unit = Unit { submission: id, shard: Shard::of(id), writes };
        let tenant = self.live.get(&id).map_or("", |live| &live.handle.tenant);
        self.lanes.push(tenant, Queued { unit, after, gave_way: 0 });
    }

    /// A transaction is over: tells everyone who waited for it.
    fn committed(&mut self, committed: Committed) {
        self.rates.commits += 1;
        for (id, after, result) in committed.units {
            match result {
                Ok(at) => {
                    self.lanes.committed(id);
                    self.unit_committed(id, after, at);
                }
                Err(error) => {
                    self.lanes.failed(id);
                    self.unit_failed(id, after, &error);
                }
            }
        }
    }

    fn unit_committed(&mut self, id: Uuid, after: After, at: SystemTime) {
        self.measure_commit(id, &after);
        if let Some((worker, lease)) = after.settle {
            self.settle(worker, LeaseId(lease.0));
        }
        if let Some((stored, _)) = after.stored {
            self.payloads.commit((id, stored - 1));
            self.core.stored(id, stored);
        }
        if let Some(live) = self.live.get(&id) {
            let before = *live.tail.borrow();
            let trace_context = after.span.as_ref().and_then(UnitSpan::sampled_context);
            for outcomes in after.outcomes {
                self.recent.keep(&live.handle, TracedOutcomes { outcomes, trace_context });
            }
            let tail = Tail {
                created: before.created || after.created,
                stored: after.stored.map_or(before.stored, |(stored, _)| stored),
                accepted: after.stored.map_or(before.accepted, |(_, accepted)| accepted),
                position: after.position.unwrap_or(before.position),
                totals: after.totals.unwrap_or(before.totals),
                created_at: if after.created { Some(at) } else { before.created_at },
                ended_at: if after.ended { Some(at) } else { before.ended_at },
                sealed: before.sealed || after.sealed,
                ended: before.ended || after.ended,
                writer: before.writer,
            };
            self.published.accepted(tail.accepted - before.accepted);
            self.published.recorded(&before.totals, &tail.totals);
            self.rates.accepted += tail.accepted - before.accepted;
            self.rates.recorded += tail.position - before.position;
            live.tail.send_replace(tail);
        }
        if let Some(span) = after.span {
            span.committed();
        }
        if let Some(change) = &after.controls {
            self.apply_controls(change);
        }
        if after.ended {
            self.let_go(id);
        }
        if let Some(reply) = after.reply {
            let _ = reply.send(Ok(()));
        }
    }

    /// A unit was refused by Postgres, so nothing of it is stored. The submission's memory runs ahead of the tables now;
    /// it is thrown away and read again. Callers are told, and resume from what is stored.
    fn unit_failed(&mut self, id: Uuid, after: After, error: &UnitError) {
        if let Some(span) = after.span {
            span.failed(error);
        }
        // Its outcomes are lost, and the tasks are leased again: its worker need not keep them.
        if let Some((worker, lease)) = after.settle {
            self.settle(worker, lease);
        }
        let error = match error {
            UnitError::DuplicateKey => QueueError::DuplicateKey,
            other => {
                if let Some(left_out) = NOT_WRITTEN.failed() {
                    let error = telemetry::chain(other);
                    tracing::error!(%id, error, left_out, "a write failed; reading the submission again");
                }
                QueueError::Recovering
            }
        };
        if let Some(live) = self.live.get(&id) {
            live.handle.fail(error.clone());
            self.payloads.forget(id);
            self.let_go(id);
            self.read_again(id);
        } else {
            self.lanes.pardon(id);
        }
        if let Some(reply) = after.reply {
            let _ = reply.send(Err(error));
        }
    }

    /// Drops a submission from memory. Followers that still read keep its handle.
    pub(super) fn let_go(&mut self, id: Uuid) {
        if self.core.phase(id) == Some(crate::core::Phase::Cancelling) {
            self.payloads.forget(id);
        }
        self.core.forget(id);
        self.expansions.end(id);
        if let Some(live) = self.live.remove(&id)
            && let Some(key) = live.key
        {
            self.keys.remove(&key);
        }
    }

    fn stats(&self) -> QueueStats {
        let now = self.now();
        let core = self.core.stats(now);
        let workers = self.workers.keys().filter_map(|id| self.worker_stats(*id));
        QueueStats {
            unfinished_submissions: core.unfinished_submissions,
            ready_tasks: core.ready_tasks,
            leased_tasks: core.leased_tasks,
            oldest_ready_ms: u64::try_from(core.oldest_ready.as_millis()).unwrap_or(u64::MAX),
            accepted_tasks: self.rates.accepted,
            recorded_tasks: self.rates.recorded,
            refused_tasks: core.refused_tasks,
            retried_tasks: core.retried_tasks,
            rescued_leases: core.rescued_leases,
            commits: self.rates.commits,
            accepted_tasks_per_second: self.rates.accepted_per_second(),
            recorded_tasks_per_second: self.rates.recorded_per_second(),
            payload_bytes: self.payloads.bytes() as u64,
            workers: workers.collect(),
            phases: self.phases.stats(now),
        }
    }
}

/// What is to be written behind of these shards; of leases those that are older than `age`.
pub(super) fn snapshot(
    core: &mut Core,
    live: &HashMap<Uuid, Live>,
    quotas: Option<&mut Quotas>,
    shards: ShardSet,
    now: Now,
    age: Duration,
) -> Snapshot {
    // Of other shards nothing is known to be committed: what there is to say of them stays for their own snapshot.
    let of_these = |id| live.get(&id).filter(|_| shards.contains(Shard::of(id)));
    let committed = |id| of_these(id).map(|live: &Live| live.tail.borrow().position);
    Snapshot {
        shards,
        leases: core.lease_rows(now, age).into_iter().collect(),
        not_loaded: core.not_loaded().collect(),
        resolved: core.take_resolved(committed),
        usage: quotas.map(Quotas::unwritten).unwrap_or_default(),
    }
}
