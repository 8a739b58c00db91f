//! Who may write: taking shards over, keeping them, and giving them back.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use hashmesh_database::{
    Database,
    postgres::{
        self, Client,
        error::SqlState,
        types::{ToSql, Type},
    },
};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::{StoreError, fence::LOCK_CLASS};
use crate::{
    picture::{Owned, Picture, Process},
    shard::{SHARDS, Shard, ShardSet},
};

/// How long an ended backend may take to be gone before the takeover starts over, in milliseconds.
const END_TIMEOUT_MS: i64 = 5_000;

const TAKE_OVER: &str = "take a shard over";
const RENEW: &str = "renew the ownership of the shards";
const LOOK: &str = "see who owns the shards";

// Short, whatever happens to us: while the exclusive lock is held or waited for, nothing of the shard can be written.
/// Whoever writes to a shard that is about to be taken is gone, or done within this time.
const QUICKLY: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '200ms'; \
    SET LOCAL idle_in_transaction_session_timeout = '2s'";
/// Those who were not have been ended.
const PATIENTLY: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '2s'; \
    SET LOCAL idle_in_transaction_session_timeout = '2s'";

/// SQLSTATE of `expect_rows`.
const WRONG_ROWS: &str = "HM002";

/// In the place of an epoch: the shard is not ours. No shard has this one.
const NOT_OURS: i64 = -1;

/// The right to write: the epochs under which this process owns shards. Worthless, not dangerous, once another has raised
/// them.
#[derive(Debug)]
pub(crate) struct Ownership {
    process: Uuid,
    /// Where it is reached.
    address: String,
    /// It takes part in sharing. Locked while that is written, so that what is written last is what holds.
    shares: Mutex<bool>,
    epochs: [AtomicI64; SHARDS as usize],
}

impl Ownership {
    /// Of no shard.
    pub(crate) fn new(process: Uuid, address: String) -> Self {
        Self {
            process,
            address,
            shares: Mutex::new(true),
            epochs: [const { AtomicI64::new(NOT_OURS) }; SHARDS as usize],
        }
    }

    /// Who owns.
    pub(crate) fn process(&self) -> Uuid {
        self.process
    }

    /// The epoch of a shard: rises with every takeover. Of a shard that is not ours one that no write passes with.
    pub(crate) fn epoch(&self, shard: Shard) -> i64 {
        self.slot(shard).load(Ordering::Acquire)
    }

    /// For a simulation, which has tables of its own. 0 stands for a shard that is not owned.
    #[cfg(test)]
    pub(crate) fn of(epochs: [i64; SHARDS as usize]) -> Self {
        let ownership = Self::new(Uuid::nil(), String::new());
        for (held, epoch) in ownership.epochs.iter().zip(epochs).filter(|(_, epoch)| *epoch > 0) {
            held.store(epoch, Ordering::Release);
        }
        ownership
    }

    /// The shards that are ours.
    pub(crate) fn held(&self) -> ShardSet {
        Shard::all().filter(|shard| self.epoch(*shard) != NOT_OURS).collect()
    }

    /// These are not ours any more: nothing may be written to them.
    fn let_go(&self, shards: ShardSet) {
        shards.iter().for_each(|shard| self.slot(shard).store(NOT_OURS, Ordering::Release));
    }

    fn slot(&self, shard: Shard) -> &AtomicI64 {
        &self.epochs[usize::from(shard.number())]
    }

    fn columns(&self, shards: ShardSet) -> (Vec<i16>, Vec<i64>) {
        (shards.numbers(), shards.iter().map(|shard| self.epoch(shard)).collect())
    }
}

/// Everything about who owns what, as the tables say it now.
pub(crate) async fn look(connection: &Client) -> Result<Picture, StoreError> {
    let failed = StoreError::statement(LOOK);
    let (processes, shards) = tokio::try_join!(
        connection.query_typed(include_str!("sql/processes.sql"), &[]),
        connection.query_typed(include_str!("sql/shards.sql"), &[]),
    )
    .map_err(&failed)?;
    let mut picture = Picture::default();
    for row in processes {
        let process =
            Process { id: row.try_get(0).map_err(&failed)?, address: row.try_get(1).map_err(&failed)?, shares: true };
        picture.processes.push(process);
    }
    for row in shards {
        let number: i16 = row.try_get("shard").map_err(&failed)?;
        let Some(shard) = Shard::numbered(number) else { continue };
        let owner: Option<Uuid> = row.try_get("owner").map_err(&failed)?;
        let in_time: bool = row.try_get("in_time").map_err(&failed)?;
        let by = owner.filter(|_| in_time);
        if let Some(id) = by
            && !picture.processes.iter().any(|process| process.id == id)
        {
            let address = row.try_get("address").map_err(&failed)?;
            picture.processes.push(Process { id, address, shares: false });
        }
        picture.shards[usize::from(shard.number())] =
            Owned { epoch: row.try_get("epoch").map_err(&failed)?, by, lapsed: owner.is_some() && !in_time };
    }
    Ok(picture)
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

/// Takes no part in sharing any more, so that the others take what is given up.
pub(crate) async fn leave(db: &Database, ownership: &Ownership) -> Result<(), StoreError> {
    let what = "leave the processes that share the shards";
    let mut shares = ownership.shares.lock().await;
    *shares = false;
    let connection = db.pooled().await.map_err(StoreError::connect(what))?;
    connection
        .execute_typed(include_str!("sql/leave.sql"), &[(&ownership.process, Type::UUID)])
        .await
        .map_err(StoreError::statement(what))?;
    Ok(())
}

/// Gives up those of the shards that are still ours, so that the next owner need not wait. Nothing may be under way in them,
/// and nothing may be written to them afterwards.
pub(crate) async fn release(db: &Database, ownership: &Ownership, shards: ShardSet) -> Result<(), StoreError> {
    let what = "give shards back";
    let (shards, (numbers, epochs)) = (shards, ownership.columns(shards.and(ownership.held())));
    // Whatever becomes of it: if it fails, they lapse. No renewal is under way meanwhile.
    ownership.let_go(shards);
    let _quiet = ownership.shares.lock().await;
    let connection = db.pooled().await.map_err(StoreError::connect(what))?;
    connection
        .execute_typed(include_str!("sql/release.sql"), &[(&numbers, Type::INT2_ARRAY), (&epochs, Type::INT8_ARRAY)])
        .await
        .map_err(StoreError::statement(what))?;
    Ok(())
}

/// Makes every shard that is held ours for another `lease` from now, and this process one of those that share. False if at
/// least one is somebody else's by now; then nothing is renewed.
pub(crate) async fn renew(connection: &Client, ownership: &Ownership, lease: Duration) -> Result<bool, StoreError> {
    let shares = ownership.shares.lock().await;
    loop {
        let held = ownership.held();
        let (shards, epochs) = ownership.columns(held);
        let address = shares.then_some(&ownership.address);
        let renewed = connection
            .execute_typed(
                include_str!("sql/renew.sql"),
                &[
                    (&shards, Type::INT2_ARRAY),
                    (&epochs, Type::INT8_ARRAY),
                    (&milliseconds(lease), Type::INT8),
                    (&ownership.process, Type::UUID),
                    (&address, Type::TEXT),
                ],
            )
            .await;
        match renewed {
            Ok(_) => return Ok(true),
            Err(error) if error.code().is_some_and(|code| code.code() == WRONG_ROWS) => {
                // What was given back meanwhile may be another's by now.
                if held.without(ownership.held()).is_empty() {
                    return Ok(false);
                }
            }
            Err(source) => return Err(StoreError::Statement { what: RENEW, source }),
        }
    }
}

/// Takes one shard over, in one transaction, if it is free: nobody's, ours, or not renewed in time by the database's clock.
/// From then on it is held. False if it is not free.
///
/// The epoch rises under the exclusive lock, so after every transaction of the old owner. One that does not end by itself is
/// ended, but only if the shard is free: who finds out late that another was faster must not end what that one writes.
///
/// The connection must be of its own and thrown away after a failure: an open transaction goes with it.
pub(crate) async fn take(
    connection: &Client,
    ownership: &Ownership,
    shard: Shard,
    lease: Duration,
) -> Result<bool, StoreError> {
    let failed = StoreError::statement(TAKE_OVER);
    let taken = match lock_and_take(connection, ownership, shard, lease, QUICKLY).await {
        Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
            connection
                .execute_typed(
                    include_str!("sql/end_lock_holders.sql"),
                    &[
                        (&LOCK_CLASS, Type::INT4),
                        (&i32::from(shard.number()), Type::INT4),
                        (&END_TIMEOUT_MS, Type::INT8),
                        (&ownership.process, Type::UUID),
                    ],
                )
                .await
                .map_err(&failed)?;
            lock_and_take(connection, ownership, shard, lease, PATIENTLY).await
        }
        taken => taken,
    };
    let epoch = taken.map_err(&failed)?;
    if let Some(epoch) = epoch {
        ownership.slot(shard).store(epoch, Ordering::Release);
    }
    Ok(epoch.is_some())
}

/// The new epoch, or `None` if the shard is not free. All statements are sent at once: nobody waits for us while the lock is
/// held. `COMMIT` rolls back what an error ended.
async fn lock_and_take(
    connection: &Client,
    ownership: &Ownership,
    shard: Shard,
    lease: Duration,
    begin: &str,
) -> Result<Option<i64>, postgres::Error> {
    let (number, lease) = (shard.number(), milliseconds(lease));
    let (lock, place) = (i32::from(number), i16::from(number));
    let locked: [(&(dyn ToSql + Sync), Type); 2] = [(&LOCK_CLASS, Type::INT4), (&lock, Type::INT4)];
    let taken: [(&(dyn ToSql + Sync), Type); 5] = [
        (&place, Type::INT2),
        (&ownership.process, Type::UUID),
        (&ownership.address, Type::TEXT),
        (&lease, Type::INT8),
        (&LOCK_CLASS, Type::INT4),
    ];
    let (begun, locked, taken, committed) = tokio::join!(
        biased;
        connection.batch_execute(begin),
        connection.execute_typed(include_str!("sql/lock_shard.sql"), &locked),
        connection.query_typed_opt(include_str!("sql/take_shard.sql"), &taken),
        connection.batch_execute("COMMIT"),
    );
    begun?;
    locked?;
    let epoch = taken?.map(|row| row.try_get(0)).transpose()?;
    committed?;
    Ok(epoch)
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
