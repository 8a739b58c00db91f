//! Looking after years of data, beside the work and never in its way: days are made ahead, what was stored before there
//! were days becomes a partition.
//!
//! Every step is a statement that may be repeated after any failure, gives a lock up after a moment (others queue behind
//! whoever waits for one), and is judged by what the tables say, so that it does not matter where the last one stopped.

mod days;
mod status;

use std::{sync::Arc, time::Duration};

pub(crate) use self::days::{adopt, make};
pub(crate) use self::status::StorageStatus;
use crate::{
    QueueConfig,
    store::{Maintenance, StoreError},
};

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(60);
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
pub(crate) async fn run(config: QueueConfig, status: Arc<StorageStatus>) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if let Err(error) = round(&config, &status).await {
            warn(&error);
        }
    }
}

async fn round(config: &QueueConfig, status: &StorageStatus) -> Result<(), StoreError> {
    // Another process that is at it is an old owner's, about to end.
    let Some(tables) = Maintenance::open(&config.database).await? else { return Ok(()) };
    adopt(&tables).await?;
    make(&tables, status).await
}

fn warn(error: &StoreError) {
    tracing::warn!(error = error as &dyn std::error::Error, "looking after the tables failed; trying again");
}
