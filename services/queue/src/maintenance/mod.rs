//! Looking after years of data, beside the work and never in its way: days are made ahead, what was stored before there
//! were days becomes a partition, what was forgotten while OPEN is cancelled, and what has passed its retention is
//! dropped.
//!
//! Every step is a statement that may be repeated after any failure, gives a lock up after a moment (others queue behind
//! whoever waits for one), and is judged by what the tables say, so that it does not matter where the last one stopped.

mod days;
mod idle;
mod retention;
mod status;
mod uploads;

use std::{sync::Arc, time::Duration};

use hashmesh_runtime::telemetry::{self, Repeated};

pub(crate) use self::{
    days::{adopt, make},
    idle::cancel_idle,
    retention::expire,
    status::StorageStatus,
    uploads::run_uploads,
};
use crate::{
    QueueConfig,
    engine::EngineHandle,
    store::{Maintenance, StoreError},
};

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(60);
/// Rounds from one look at what has expired to the next.
const EXPIRE_EVERY: u64 = 10;
/// How long a new owner may wait for its days before it begins to work. Without them the DEFAULT partition serves.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes the days that a new owner's first ids fall into. Failing is no reason not to work.
pub(crate) async fn prepare(config: &QueueConfig, status: &StorageStatus) {
    match tokio::time::timeout(PREPARE_TIMEOUT, make_days(config, status)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn(&error),
        Err(_) => tracing::warn!("the partitions of the next days could not be made in time; they will be"),
    }
}

async fn make_days(config: &QueueConfig, status: &StorageStatus) -> Result<(), StoreError> {
    match Maintenance::open(&config.database).await? {
        Some(tables) => make(&tables, status).await,
        None => Ok(()),
    }
}

/// Looks after the tables until it is dropped.
pub(crate) async fn run(config: QueueConfig, engine: EngineHandle, status: Arc<StorageStatus>) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for number in 0.. {
        interval.tick().await;
        if let Err(error) = round(&config, &engine, &status, number).await {
            warn(&error);
        }
    }
}

async fn round(
    config: &QueueConfig,
    engine: &EngineHandle,
    status: &StorageStatus,
    number: u64,
) -> Result<(), StoreError> {
    // Another process that is at it is an old owner's, about to end.
    let Some(tables) = Maintenance::open(&config.database).await? else { return Ok(()) };
    adopt(&tables).await?;
    make(&tables, status).await?;
    if number.is_multiple_of(EXPIRE_EVERY) {
        cancel_idle(&tables, engine, config.idle_open_timeout, status).await?;
        tables.sweep().await?;
        expire(&tables, config.retention, status).await?;
    }
    Ok(())
}

fn warn(error: &StoreError) {
    // Of all that this process owns one after the other.
    static AGAIN: Repeated = Repeated::new();
    if let Some(left_out) = AGAIN.failed() {
        tracing::warn!(error = telemetry::chain(error), left_out, "looking after the tables failed; trying again");
    }
}
