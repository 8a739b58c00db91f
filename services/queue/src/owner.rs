//! A process as an owner of shards: runs the engine, renews what it owns, and begins anew when it has lost its way.
//!
//! Start, failover, a lost COMMIT and a failed lane share one path, [`crate::steward`]'s: shards are taken over. Whatever was
//! unknown is decided by that: it ends the old backends and raises the epoch, so that afterwards the tables say what was
//! committed and nothing more can be added in the old owner's name.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use hashmesh_database::{Database, Dedicated};
use hashmesh_runtime::{
    health::Health,
    shutdown::Shutdown,
    tasks,
    telemetry::{self, Repeated},
};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    QueueConfig,
    behind::{self, Behind},
    engine::{self, EngineHandle, GenerationEnd, GenerationStart},
    maintenance,
    measures::{Measures, Owned},
    picture::Picture,
    ready::OwnerHealth,
    steward::Steward,
    store::{self, Lane, Ownership, StoreError},
    wall::WallTime,
};

/// Before the ownership lapses, this much must be left, or it counts as lost: others judge it by the database's clock.
const RENEWAL_MARGIN: Duration = Duration::from_secs(1);
/// The longest pause between two generations: what is acknowledged after Postgres was away waits for it.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// A generation that lasted for so long was no failed attempt.
const LONG: Duration = Duration::from_secs(5);

/// Between two looks at how much WAL there is.
const WAL_INTERVAL: Duration = Duration::from_secs(5);

/// Where an owner shows what it finds and what it is.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) storage: Arc<maintenance::StorageStatus>,
    pub(crate) measures: Arc<Measures>,
    /// The engine, while there is one that can work.
    pub(crate) current: watch::Sender<Option<EngineHandle>>,
    /// Who owns what.
    pub(crate) pictures: watch::Sender<Arc<Picture>>,
}

/// Owns this process's part of the shards as long as it runs.
pub(crate) async fn run(config: QueueConfig, process: Uuid, health: Health, shown: Shown, shutdown: Shutdown) {
    let health = OwnerHealth::new(health);
    let mut pause = Duration::from_millis(50);
    // What this process itself held is not lost with it when it takes over again.
    let mut first = true;
    let again = Repeated::new();
    while !shutdown.begun() {
        let began = Instant::now();
        match own(&config, process, first, &health, &shown, &shutdown).await {
            Ok(()) => return,
            Err(error) => {
                health.ended(&error);
                if let Some(left_out) = again.failed() {
                    let error = telemetry::chain(&error);
                    tracing::warn!(error, left_out, "what was owned may be lost; taking it over again");
                }
            }
        }
        shown.current.send_replace(None);
        first = false;
        if began.elapsed() > LONG {
            pause = Duration::from_millis(50);
            let _ = again.fine();
        }
        tokio::select! {
            () = shutdown.wait() => return,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
        }
    }
}

/// Why a generation ended.
#[derive(Debug, thiserror::Error)]
enum GenerationLost {
    #[error("the database failed")]
    Store(#[from] StoreError),
    #[error("a commit lane failed: {0}")]
    Lane(String),
    #[error("the ownership was lost or could not be renewed in time")]
    Lapsed,
}

/// One generation: an engine, and the shards that it works on. Ok: the process stops.
async fn own(
    config: &QueueConfig,
    process: Uuid,
    first: bool,
    health: &OwnerHealth,
    shown: &Shown,
    shutdown: &Shutdown,
) -> Result<(), GenerationLost> {
    let database = &config.database;
    let Shown { storage, measures, current, pictures: _ } = shown;
    health.begins();
    let mut after_crash = false;
    if config.alone && first {
        // Whoever stops in order releases the shards: then nothing was in hand.
        after_crash = store::owned(database).await?;
    }
    if config.alone {
        store::lapse(database).await?;
    }
    let ownership = Arc::new(Ownership::new(process, config.address.clone()));
    maintenance::prepare(config, storage).await;
    let usage = store::tenant_usage(database, WallTime::now().day(), process).await?;
    // One is the express lane.
    let mut lanes = Vec::with_capacity(config.lanes + 1);
    for _ in 0..=config.lanes.max(1) {
        lanes.push(Lane::connect(database, Arc::clone(&ownership)).await?);
    }
    let (handle, commands) = EngineHandle::new(config.admission_bytes);
    let (behind, notes) = Behind::new();
    let start = GenerationStart {
        config: config.clone(),
        ownership: Arc::clone(&ownership),
        lanes,
        usage,
        handle: handle.clone(),
        commands,
        behind,
        after_crash,
        measures: Arc::clone(measures),
    };
    let renewals = tasks::spawn_owned("renewals", renew(config.clone(), Arc::clone(&ownership), health.clone()));
    let behind = behind::run(database.clone(), Arc::clone(&ownership), notes, handle.clone());
    let _writer = tasks::spawn_owned("write behind", behind);
    let looked_after = maintenance::run(config.clone(), handle.clone(), Arc::clone(storage));
    let _maintenance = tasks::spawn_owned("maintenance", looked_after);
    let _owning = measures.own();
    let mut steward = Steward::new(config, ownership, handle, health, shown);
    let stewarded = async {
        steward.begin(shutdown).await;
        steward.run(shutdown).await;
        // While the engine still runs, and before streams have ended: others go on with the work meanwhile.
        steward.leave().await;
        current.closed().await;
    };
    tokio::select! {
        end = engine::run(start) => match end {
            GenerationEnd::Lane(error) => Err(GenerationLost::Lane(error.to_string())),
            GenerationEnd::Stopped => Ok(()),
        },
        _ = renewals => Err(GenerationLost::Lapsed),
        // Not of a task of its own: what it notes must not come after the end.
        never = sample_wal(database, measures) => match never {},
        () = stewarded => Ok(()),
    }
}

/// Renews the ownership until that fails. Returns when it has lapsed.
async fn renew(config: QueueConfig, ownership: Arc<Ownership>, health: OwnerHealth) {
    let mut confirmed = Instant::now();
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
                    let error = telemetry::chain(&error);
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
