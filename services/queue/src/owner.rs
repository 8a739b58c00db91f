//! Ownership from the process's point of view: take over, serve, lose it, take over again.
//!
//! Start, failover, a lost COMMIT and a failed lane share this one path. Whatever was unknown is decided by the takeover:
//! it ends the old backends and raises the epoch, so that afterwards the tables say what was committed and nothing more
//! can be added in the old owner's name.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use hashmesh_database::{Database, Dedicated};
use hashmesh_runtime::{health::Health, metrics::catalogue::queue::TAKEOVERS, shutdown::Shutdown, telemetry::Repeated};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    QueueConfig,
    behind::{self, Behind},
    engine::{self, Command, EngineHandle, GenerationEnd, GenerationStart},
    maintenance,
    measures::{Measures, Owned},
    ready::OwnerHealth,
    store::{self, AcquireWait, Lane, Ownership, StoreError},
    wall::WallTime,
};

/// Before the ownership lapses, this much must be left, or it counts as lost: others judge it by the database's clock.
const RENEWAL_MARGIN: Duration = Duration::from_secs(1);
/// The longest pause between two attempts to take over.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Between two looks at how much WAL there is.
const WAL_INTERVAL: Duration = Duration::from_secs(5);

/// Where an owner shows what it finds.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) storage: Arc<maintenance::StorageStatus>,
    pub(crate) measures: Arc<Measures>,
}

/// Owns the queue as long as the process runs, publishing the engine of each ownership to `current`.
pub(crate) async fn run(
    config: QueueConfig,
    health: Health,
    current: watch::Sender<Option<EngineHandle>>,
    shown: Shown,
    shutdown: Shutdown,
) {
    let owner = Uuid::now_v7();
    let health = OwnerHealth::new(health);
    let mut pause = Duration::from_millis(50);
    // What this process itself held is not lost with it when it takes over again.
    let mut first = true;
    while !shutdown.begun() {
        let began = Instant::now();
        match own(&config, owner, first, &health, &current, &shown, &shutdown).await {
            Ok(()) => return,
            Err(error) => {
                health.ended(&error);
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the queue's ownership ended; taking over again"
                );
            }
        }
        current.send_replace(None);
        first = false;
        if began.elapsed() > LONGEST_PAUSE {
            pause = Duration::from_millis(50);
        }
        tokio::select! {
            () = shutdown.wait() => return,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
        }
    }
}

/// Why an ownership ended.
#[derive(Debug, thiserror::Error)]
enum OwnershipEnded {
    #[error("the database failed")]
    Store(#[from] StoreError),
    #[error("a commit lane failed: {0}")]
    Lane(String),
    #[error("the ownership was lost or could not be renewed in time")]
    Lapsed,
}

/// One ownership. Ok: the process stops.
async fn own(
    config: &QueueConfig,
    owner: Uuid,
    first: bool,
    health: &OwnerHealth,
    current: &watch::Sender<Option<EngineHandle>>,
    shown: &Shown,
    shutdown: &Shutdown,
) -> Result<(), OwnershipEnded> {
    let database = &config.database;
    let Shown { storage, measures } = shown;
    let mut after_crash = false;
    if config.alone && first {
        // Whoever stops in order releases the shards: then nothing was in hand.
        after_crash = store::owned(database).await?;
    }
    if config.alone {
        store::lapse(database).await?;
    }
    let lease = config.ownership_duration;
    let waits = |what: AcquireWait<'_>| health.waits(what);
    let Some(ownership) = store::acquire(database, owner, &config.address, lease, shutdown, &waits).await? else {
        return Ok(());
    };
    TAKEOVERS.add(1, &[]);
    health.took_over();
    let ownership = Arc::new(ownership);
    let renewals = tokio::spawn(renew(config.clone(), Arc::clone(&ownership), health.clone(), Instant::now()));
    let renewals = AbortOnDrop(renewals);

    maintenance::prepare(config, storage).await;
    let began = Instant::now();
    let recovered = store::load_unfinished(database, config.index_batches).await?;
    let controls = store::tenant_controls(database).await?;
    let usage = store::tenant_usage(database, WallTime::now().day()).await?;
    tracing::info!(submissions = recovered.len(), elapsed = ?began.elapsed(), "took over the queue");
    // One is the express lane.
    let mut lanes = Vec::with_capacity(config.lanes + 1);
    for _ in 0..=config.lanes.max(1) {
        lanes.push(Lane::connect(database, Arc::clone(&ownership)).await?);
    }
    let (handle, commands) = EngineHandle::new(config.admission_bytes);
    let (behind, notes) = Behind::new();
    let writer =
        AbortOnDrop(tokio::spawn(behind::run(database.clone(), Arc::clone(&ownership), notes, handle.clone())));
    let maintenance = AbortOnDrop(tokio::spawn(maintenance::run(config.clone(), handle.clone(), Arc::clone(storage))));
    current.send_replace(Some(handle.clone()));
    let _owning = measures.own();
    health.works();
    let engine = handle.clone();
    let start = GenerationStart {
        config: config.clone(),
        ownership: Arc::clone(&ownership),
        lanes,
        recovered,
        controls,
        usage,
        handle,
        commands,
        behind,
        after_crash,
        measures: Arc::clone(measures),
    };
    let last = async {
        stopped(current, shutdown).await;
        // While the engine still runs.
        engine.ask(|reply| Command::LastSnapshot { reply }).await.ok()
    };
    let (end, snapshot) = tokio::select! {
        end = engine::run(start) => (end, None),
        () = renewals.ended() => return Err(OwnershipEnded::Lapsed),
        // Not of a task of its own: what it notes must not come after the end.
        never = sample_wal(database, measures) => match never {},
        snapshot = last => (GenerationEnd::Stopped, snapshot),
    };
    drop(maintenance);
    drop(writer);
    match end {
        GenerationEnd::Lane(error) => Err(OwnershipEnded::Lane(error.to_string())),
        GenerationEnd::Stopped => {
            if let Some(snapshot) = snapshot {
                behind::write_last(database, &ownership, snapshot).await;
            }
            // Streams have been drained: what is not committed now was not acknowledged either.
            if let Err(error) = store::release(database, &ownership).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the ownership could not be released; it will lapse"
                );
            }
            Ok(())
        }
    }
}

/// Waits until the process stops and every caller has let go of the engine.
async fn stopped(current: &watch::Sender<Option<EngineHandle>>, shutdown: &Shutdown) {
    shutdown.wait().await;
    current.closed().await;
}

/// Renews the ownership until that fails. Returns when it has lapsed.
async fn renew(config: QueueConfig, ownership: Arc<Ownership>, health: OwnerHealth, acquired_at: Instant) {
    let mut confirmed = acquired_at;
    let mut interval = tokio::time::interval(config.ownership_duration / 5);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Not of the pool: readers that fill it must not cost us the ownership.
    let mut connection = None;
    let again = Repeated::new();
    loop {
        interval.tick().await;
        let began = Instant::now();
        let left = (confirmed + config.ownership_duration).saturating_duration_since(began + RENEWAL_MARGIN);
        let renewed = health.in_time(config.ownership_duration, renew_once(&config, &ownership, &mut connection));
        match tokio::time::timeout(left, renewed).await {
            Ok(Ok(true)) => {
                confirmed = began;
                health.commits();
            }
            Ok(Ok(false)) | Err(_) => return,
            Ok(Err(error)) => {
                connection = None;
                health.fails(&error);
                if let Some(left_out) = again.failed() {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, left_out, "renewing the ownership failed; trying again");
                }
            }
        }
    }
}

async fn renew_once(
    config: &QueueConfig,
    ownership: &Ownership,
    connection: &mut Option<Dedicated>,
) -> Result<bool, StoreError> {
    let connection = match connection {
        Some(connection) => connection,
        none => {
            let opened = config.database.dedicated("hashmesh renewal").await;
            none.insert(opened.map_err(StoreError::connect("renew the ownership of the shards"))?)
        }
    };
    store::renew(connection, ownership, config.ownership_duration).await
}

/// Notes how much WAL there is, as long as the ownership lasts.
async fn sample_wal(database: &Database, measures: &Measures) -> Infallible {
    let mut interval = tokio::time::interval(WAL_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        // Whoever needs Postgres for more says so if it fails.
        if let Ok(bytes) = store::wal_bytes(database).await {
            measures.note(Owned::WalBytes, bytes);
        }
    }
}

/// A task that ends with its owner.
#[derive(Debug)]
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl AbortOnDrop {
    /// Waits until the task ends by itself.
    async fn ended(&self) {
        while !self.0.is_finished() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
