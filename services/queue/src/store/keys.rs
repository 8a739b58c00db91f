//! Looks up idempotency keys for many callers at once: nearly every new submission has a key, and nearly none of them is
//! known. One connection, one prepared statement; what callers ask for while a lookup is under way goes into the next.

use hashmesh_database::{
    Database, Dedicated,
    postgres::{self, Statement},
};
use hashmesh_runtime::tasks;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{StoreError, find_key};
use crate::shard::Shard;

/// Keys in one lookup.
const TOGETHER: usize = 256;
/// Callers that wait for their turn.
const WAITING: usize = 1024;
const FIND_KEYS: &str = include_str!("sql/find_keys.sql");

/// A submission, and the fingerprint of its options.
type Found = Option<(Uuid, [u8; 32])>;

#[derive(Debug)]
struct Lookup {
    shard: i16,
    tenant: String,
    key: String,
    /// Dropped if the lookup failed.
    reply: oneshot::Sender<Found>,
}

/// The way to the one who looks keys up.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    database: Database,
    lookups: mpsc::Sender<Lookup>,
}

impl Keys {
    /// Starts to look keys up; ends when the last handle is gone.
    pub(crate) fn new(database: &Database) -> Self {
        let (lookups, mut waiting) = mpsc::channel(WAITING);
        let on = database.clone();
        drop(tasks::spawn("idempotency keys", async move {
            let mut connection = None;
            let mut group = Vec::with_capacity(TOGETHER);
            while waiting.recv_many(&mut group, TOGETHER).await > 0 {
                if let Err(error) = answer(&on, &mut connection, &mut group).await {
                    // Its callers ask by themselves.
                    tracing::debug!(error = &error as &dyn std::error::Error, "keys could not be looked up together");
                    connection = None;
                }
                group.clear();
            }
        }));
        Self { database: database.clone(), lookups }
    }

    /// The submission that a key names.
    pub(crate) async fn find(&self, shard: Shard, tenant: &str, key: &str) -> Result<Found, StoreError> {
        let (reply, answer) = oneshot::channel();
        let lookup = Lookup { shard: i16::from(shard.number()), tenant: tenant.to_owned(), key: key.to_owned(), reply };
        if self.lookups.send(lookup).await.is_ok()
            && let Ok(found) = answer.await
        {
            return Ok(found);
        }
        find_key(&self.database, shard, tenant, key).await
    }
}

/// The connection with its statement.
#[derive(Debug)]
struct Prepared {
    connection: Dedicated,
    find: Statement,
}

async fn answer(
    database: &Database,
    prepared: &mut Option<Prepared>,
    group: &mut Vec<Lookup>,
) -> Result<(), StoreError> {
    let what = "find idempotency keys";
    let Prepared { connection, find } = match prepared {
        Some(prepared) => prepared,
        none => {
            let connection = database.dedicated("hashmesh keys").await.map_err(StoreError::connect(what))?;
            // For any number of keys the index is right; statistics of an empty table must not say otherwise.
            let session =
                "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off;
                           SET enable_mergejoin = off; SET jit = off";
            connection.batch_execute(session).await.map_err(StoreError::statement(what))?;
            let find = connection.prepare(FIND_KEYS).await.map_err(StoreError::statement(what))?;
            none.insert(Prepared { connection, find })
        }
    };
    let shards: Vec<i16> = group.iter().map(|lookup| lookup.shard).collect();
    let tenants: Vec<&str> = group.iter().map(|lookup| lookup.tenant.as_str()).collect();
    let keys: Vec<&str> = group.iter().map(|lookup| lookup.key.as_str()).collect();
    let rows = connection.query(&*find, &[&shards, &tenants, &keys]).await.map_err(StoreError::statement(what))?;
    let mut found: Vec<Found> = vec![None; group.len()];
    for row in &rows {
        let (place, submission) = read(row, what)?;
        if let Some(place) = found.get_mut(place) {
            *place = Some(submission);
        }
    }
    for (lookup, found) in group.drain(..).zip(found) {
        // A caller that is gone wants no answer.
        let _ = lookup.reply.send(found);
    }
    Ok(())
}

fn read(row: &postgres::Row, what: &'static str) -> Result<(usize, (Uuid, [u8; 32])), StoreError> {
    let place: i64 = row.try_get(0).map_err(StoreError::statement(what))?;
    let id: Uuid = row.try_get(1).map_err(StoreError::statement(what))?;
    let fingerprint: &[u8] = row.try_get(2).map_err(StoreError::statement(what))?;
    let fingerprint = fingerprint
        .try_into()
        .map_err(|_| StoreError::damaged(id, format!("an options fingerprint of {} bytes", fingerprint.len())))?;
    // Counted from 1; a place that does not fit is no caller's.
    Ok((usize::try_from(place - 1).unwrap_or(usize::MAX), (id, fingerprint)))
}
