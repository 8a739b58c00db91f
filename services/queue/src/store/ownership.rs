//! Who may write: taking the shards over, keeping them, and giving them back.

use std::time::Duration;

use hashmesh_database::{
    Database,
    postgres::{Client, types::Type},
};
use hashmesh_runtime::{shutdown::Shutdown, telemetry::Repeated};
use uuid::Uuid;

use super::{StoreError, fence::LOCK_CLASS};
use crate::shard::{SHARDS, Shard};

/// Between two looks at shards that somebody else owns.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How long an ended backend may take to be gone before the takeover starts over, in milliseconds.
const END_TIMEOUT_MS: i64 = 5_000;

const TAKE_OVER: &str = "take the shards over";
const RENEW: &str = "renew the ownership of the shards";

/// SQLSTATE of `expect_rows`.
const WRONG_ROWS: &str = "HM002";

/// The right to write: the epochs under which we own the shards. Worthless, not dangerous, once another has raised them.
#[derive(Clone, Debug)]
pub(crate) struct Ownership {
    epochs: [i64; SHARDS as usize],
}

impl Ownership {
    /// The epoch of a shard: rises with every takeover.
    pub(crate) fn epoch(&self, shard: Shard) -> i64 {
        self.epochs[usize::from(shard.number())]
    }

    fn columns(&self) -> (Vec<i16>, Vec<i64>) {
        (Shard::all().map(|shard| i16::from(shard.number())).collect(), self.epochs.to_vec())
    }
}

/// What a takeover waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AcquireWait<'a> {
    /// An owner that lives.
    Owner,
    /// Postgres, which fails.
    Postgres(&'a StoreError),
}

/// Waits until every shard is free and takes them all. `None` once the shutdown has begun. Says what it `waits` for.
///
/// Free is what nobody owns, what `owner` owns already, and what was not renewed in time by the database's clock. The
/// old owner's transactions are ended before the epochs rise. Failures that pass are waited out.
pub(crate) async fn acquire(
    db: &Database,
    owner: Uuid,
    address: &str,
    lease: Duration,
    shutdown: &Shutdown,
    waits: &(dyn Fn(AcquireWait<'_>) + Sync),
) -> Result<Option<Ownership>, StoreError> {
    let mut waiting = false;
    let again = Repeated::new();
    while !shutdown.begun() {
        match take_all(db, owner, address, lease).await {
            Ok(Some(ownership)) => return Ok(Some(ownership)),
            Ok(None) => {
                waits(AcquireWait::Owner);
                if !std::mem::replace(&mut waiting, true) {
                    tracing::info!(%owner, "another process owns the shards, waiting for it to go");
                }
            }
            Err(error) if error.passes() => {
                waits(AcquireWait::Postgres(&error));
                if let Some(left_out) = again.failed() {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(%owner, error, left_out, "cannot take the shards over yet");
                }
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = shutdown.wait() => {}
            () = tokio::time::sleep(POLL_INTERVAL) => {}
        }
    }
    Ok(None)
}

/// True if some shard has an owner: it is alive, or did not stop in order.
pub(crate) async fn owned(db: &Database) -> Result<bool, StoreError> {
    let what = "see whether the shards have an owner";
    let connection = db.pooled().await.map_err(StoreError::connect(what))?;
    let rows = connection.query_typed(include_str!("sql/owned.sql"), &[]).await.map_err(StoreError::statement(what))?;
    let owned = rows.first().map(|row| row.try_get("owned")).transpose().map_err(StoreError::statement(what))?;
    Ok(owned.unwrap_or_default())
}

/// Makes whatever ownership there is lapse. Only for who knows that no owner can be alive.
pub(crate) async fn lapse(db: &Database) -> Result<(), StoreError> {
    let what = "make an old ownership lapse";
    let connection = db.pooled().await.map_err(StoreError::connect(what))?;
    connection.batch_execute(include_str!("sql/lapse.sql")).await.map_err(StoreError::statement(what))
}

/// Gives up the shards that are still ours, so that the next owner need not wait. Nothing may be written after it.
pub(crate) async fn release(db: &Database, ownership: &Ownership) -> Result<(), StoreError> {
    let what = "give the shards back";
    let (shards, epochs) = ownership.columns();
    let connection = db.pooled().await.map_err(StoreError::connect(what))?;
    connection
        .execute_typed(include_str!("sql/release.sql"), &[(&shards, Type::INT2_ARRAY), (&epochs, Type::INT8_ARRAY)])
        .await
        .map_err(StoreError::statement(what))?;
    Ok(())
}

/// The address of the process that owns the shards now, if one does.
pub(crate) async fn owner_address(db: &Database) -> Result<Option<String>, StoreError> {
    let what = "find the owner of the shards";
    let connection = db.pooled().await.map_err(StoreError::connect(what))?;
    let row = connection
        .query_typed_opt(include_str!("sql/owner_address.sql"), &[])
        .await
        .map_err(StoreError::statement(what))?;
    row.map(|row| row.try_get(0)).transpose().map_err(StoreError::statement(what))
}

/// Takes every shard, in ascending order, so that of several processes one gets past the first. `None` if one is not
/// free; shards taken before it are free for us the next time.
async fn take_all(db: &Database, owner: Uuid, address: &str, lease: Duration) -> Result<Option<Ownership>, StoreError> {
    if !all_free(db, owner).await? {
        return Ok(None);
    }
    // Of its own and thrown away: a failed takeover leaves no open transaction behind.
    let connection = db.dedicated("takeover").await.map_err(StoreError::connect(TAKE_OVER))?;
    let mut epochs = [0; SHARDS as usize];
    for shard in Shard::all() {
        let Some(epoch) = take(&connection, shard, owner, address, lease).await? else {
            return Ok(None);
        };
        epochs[usize::from(shard.number())] = epoch;
    }
    let ownership = Ownership { epochs };
    // The first shards were taken a while ago.
    let ours = renew(&connection, &ownership, lease).await?;
    Ok(ours.then_some(ownership))
}

/// Makes every shard ours for another `lease` from now. False if at least one is somebody else's by now; then nothing is
/// renewed.
pub(crate) async fn renew(connection: &Client, ownership: &Ownership, lease: Duration) -> Result<bool, StoreError> {
    let (shards, epochs) = ownership.columns();
    let renewed = connection
        .execute_typed(
            include_str!("sql/renew.sql"),
            &[(&shards, Type::INT2_ARRAY), (&epochs, Type::INT8_ARRAY), (&milliseconds(lease), Type::INT8)],
        )
        .await;
    match renewed {
        Ok(_) => Ok(true),
        Err(error) if error.code().is_some_and(|code| code.code() == WRONG_ROWS) => Ok(false),
        Err(source) => Err(StoreError::Statement { what: RENEW, source }),
    }
}

async fn all_free(db: &Database, owner: Uuid) -> Result<bool, StoreError> {
    let connection = db.pooled().await.map_err(StoreError::connect(TAKE_OVER))?;
    let row = connection
        .query_typed_one(include_str!("sql/count_free_shards.sql"), &[(&owner, Type::UUID)])
        .await
        .map_err(StoreError::statement(TAKE_OVER))?;
    let free: i64 = row.try_get(0).map_err(StoreError::statement(TAKE_OVER))?;
    Ok(free == i64::from(SHARDS))
}

/// Takes one shard in one transaction: its new epoch, or `None` if it is not free.
async fn take(
    connection: &Client,
    shard: Shard,
    owner: Uuid,
    address: &str,
    lease: Duration,
) -> Result<Option<i64>, StoreError> {
    let failed = StoreError::statement(TAKE_OVER);
    let number = i32::from(shard.number());
    connection
        .execute_typed(
            include_str!("sql/end_lock_holders.sql"),
            &[(&LOCK_CLASS, Type::INT4), (&number, Type::INT4), (&END_TIMEOUT_MS, Type::INT8)],
        )
        .await
        .map_err(&failed)?;
    connection.batch_execute(include_str!("sql/begin_takeover.sql")).await.map_err(&failed)?;
    connection
        .execute_typed(include_str!("sql/lock_shard.sql"), &[(&LOCK_CLASS, Type::INT4), (&number, Type::INT4)])
        .await
        .map_err(&failed)?;
    let taken = connection
        .query_typed_opt(
            include_str!("sql/take_shard.sql"),
            &[
                (&i16::from(shard.number()), Type::INT2),
                (&owner, Type::UUID),
                (&address, Type::TEXT),
                (&milliseconds(lease), Type::INT8),
            ],
        )
        .await
        .map_err(&failed)?;
    connection.batch_execute("COMMIT").await.map_err(&failed)?;
    taken.map(|row| row.try_get(0)).transpose().map_err(&failed)
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
