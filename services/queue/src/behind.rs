//! What is written behind, at most once a second and never waited for: who holds which lease, failed attempts, and up to
//! where submissions are resolved. Losing the last second of it costs a new owner some repeated work, nothing else.
//!
//! Few rows are written ahead and waited for: of ranges that may kill whoever works on them (`core/poison.rs`). They go
//! through the same writer, so that one knows what the table holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use hashmesh_database::Database;
use hashmesh_runtime::telemetry::Repeated;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::{
    core::Resolved,
    engine::{Command, EngineHandle, UsageRow},
    shard::{Shard, ShardSet},
    store::{self, Also, Ownership, StoreError, model::LeaseRow},
};

/// Between two writes, at least.
const INTERVAL: Duration = Duration::from_secs(1);

/// All that is to be written behind, as it is now.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// What it speaks of. What the table says of other shards stands.
    pub(crate) shards: ShardSet,
    pub(crate) leases: BTreeSet<LeaseRow>,
    /// Submissions some of whose batches were found and are not in memory yet, from this sequence number on: what the
    /// table says of those stands.
    pub(crate) not_loaded: BTreeMap<Uuid, u32>,
    /// How far submissions are resolved that got further.
    pub(crate) resolved: Vec<(Uuid, Resolved)>,
    /// What tenants have brought today, of those that brought something since the last time.
    pub(crate) usage: Vec<UsageRow>,
}

/// What the writer is asked for, in the order in which it became true: a snapshot must not undo what was written ahead
/// after it was taken.
#[derive(Debug)]
pub(crate) enum Note {
    Snapshot(Snapshot),
    Ahead(Vec<LeaseRow>),
    /// Of shards that are given up.
    Last(Vec<Last>),
}

/// What is written of shards that are given up, and who waits for it.
#[derive(Debug)]
pub(crate) struct Last {
    pub(crate) snapshot: Snapshot,
    pub(crate) reply: oneshot::Sender<()>,
}

/// The engine's side: offers a snapshot when the writer is idle.
#[derive(Debug)]
pub(crate) struct Behind {
    writer: mpsc::Sender<Note>,
    next: Duration,
}

impl Behind {
    /// The engine's side and the writer's.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Note>) {
        let (writer, notes) = mpsc::channel(1);
        (Self { writer, next: INTERVAL }, notes)
    }

    /// Hands over rows to be written ahead, if the last note is taken. The engine hears of it when they are written.
    pub(crate) fn offer_ahead(&mut self, rows: &mut Vec<LeaseRow>) {
        if rows.is_empty() {
            return;
        }
        if let Ok(place) = self.writer.try_reserve() {
            place.send(Note::Ahead(std::mem::take(rows)));
        }
    }

    /// Hands over what is to be written of shards that are given up, if the last note is taken.
    pub(crate) fn offer_last(&mut self, last: &mut Vec<Last>) {
        if last.is_empty() {
            return;
        }
        if let Ok(place) = self.writer.try_reserve() {
            place.send(Note::Last(std::mem::take(last)));
        }
    }

    /// Takes a snapshot if it is time and the last note is taken.
    pub(crate) fn offer(&mut self, now: Duration, take: impl FnOnce() -> Snapshot) {
        if now < self.next {
            return;
        }
        if let Ok(place) = self.writer.try_reserve() {
            place.send(Note::Snapshot(take()));
            self.next = now + INTERVAL;
        }
    }
}

/// How long the last write may take.
const LAST_WRITE: Duration = Duration::from_secs(2);
/// Before what could not be written ahead is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// Writes until the engine is gone.
pub(crate) async fn run(
    database: Database,
    ownership: Arc<Ownership>,
    mut notes: mpsc::Receiver<Note>,
    engine: EngineHandle,
) {
    // What the table holds of these shards; unknown at first and after an error.
    let mut written: Option<(ShardSet, BTreeSet<LeaseRow>)> = None;
    let mut unwritten: Vec<(Uuid, Resolved)> = Vec::new();
    let mut unwritten_usage: Vec<UsageRow> = Vec::new();
    let again = Repeated::new();
    while let Some(note) = notes.recv().await {
        let Snapshot { shards, leases, not_loaded, resolved, usage } = match note {
            Note::Snapshot(snapshot) => snapshot,
            Note::Last(all) => {
                for Last { snapshot, reply } in all {
                    write_last(&database, &ownership, snapshot).await;
                    let _ = reply.send(());
                }
                continue;
            }
            Note::Ahead(rows) => {
                write_ahead(&database, &ownership, &rows).await;
                if let Some((_, written)) = &mut written {
                    replace(written, &rows);
                }
                if engine.tell(Command::WrittenAhead { rows }).await.is_err() {
                    return;
                }
                continue;
            }
        };
        // What was given back meanwhile is another's to speak of.
        let shards = shards.and(ownership.held());
        unwritten.extend(resolved);
        unwritten.retain(|(id, _)| shards.contains(Shard::of(*id)));
        unwritten_usage.extend(usage);
        let also = Also { resolved: &unwritten, usage: &unwritten_usage };
        let known = written.take().filter(|(of, _)| *of == shards).map(|(_, known)| known);
        let result = write(&database, &ownership, shards, known, leases, &not_loaded, also).await;
        match result {
            Ok(holds) => {
                written = Some((shards, holds));
                unwritten.clear();
                unwritten_usage.clear();
            }
            Err(error) => {
                if let Some(left_out) = again.failed() {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, left_out, "writing leases behind failed; trying again");
                }
            }
        }
    }
}

/// Writes what is held of shards that are given up: the next owner keeps it for whoever holds it.
async fn write_last(database: &Database, ownership: &Ownership, snapshot: Snapshot) {
    let Snapshot { shards, leases, not_loaded, resolved, usage } = snapshot;
    let also = Also { resolved: &resolved, usage: &usage };
    let written = write(database, ownership, shards, None, leases, &not_loaded, also);
    let failed = match tokio::time::timeout(LAST_WRITE, written).await {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("not within {LAST_WRITE:?}"),
    };
    tracing::warn!(error = failed, "what workers hold could not be written; the next owner may lease it to others");
}

/// Until it works: what the rows speak of is not leased before. A lost ownership ends this task; rows of shards that were
/// given back meanwhile are the next owner's to write.
async fn write_ahead(database: &Database, ownership: &Ownership, rows: &[LeaseRow]) {
    let again = Repeated::new();
    loop {
        let held = ownership.held();
        let ours: Vec<LeaseRow> = rows.iter().filter(|row| held.contains(Shard::of(row.submission))).cloned().collect();
        let Err(error) = store::write_behind(database, ownership, &ours, &[], Also::default()).await else { return };
        if let Some(left_out) = again.failed() {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, left_out, "writing leases ahead failed; trying again");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Puts rows in the place of those with the same key.
pub(crate) fn replace(written: &mut BTreeSet<LeaseRow>, rows: &[LeaseRow]) {
    let replaced: BTreeSet<_> = rows.iter().map(key).collect();
    written.retain(|row| !replaced.contains(&key(row)));
    written.extend(rows.iter().cloned());
}

pub(crate) fn key(row: &LeaseRow) -> (Uuid, u32, u32) {
    (row.submission, row.sequence, row.first_task)
}

/// Brings the table in line with a snapshot of these shards. Returns what it holds of them then.
async fn write(
    database: &Database,
    ownership: &Ownership,
    shards: ShardSet,
    written: Option<BTreeSet<LeaseRow>>,
    mut leases: BTreeSet<LeaseRow>,
    not_loaded: &BTreeMap<Uuid, u32>,
    also: Also<'_>,
) -> Result<BTreeSet<LeaseRow>, StoreError> {
    leases.retain(|row| shards.contains(Shard::of(row.submission)));
    let unchanged = written.as_ref().is_some_and(|written| *written == leases);
    if unchanged && also.is_empty() {
        return Ok(leases);
    }
    let known = match written {
        Some(written) => written,
        None => store::lease_rows(database, shards).await?,
    };
    let Changes { upserts, deletes, holds } = Changes::of(known, leases, not_loaded);
    store::write_behind(database, ownership, &upserts, &deletes, also).await?;
    Ok(holds)
}

/// What brings the table in line with a snapshot.
#[derive(Debug)]
pub(crate) struct Changes {
    pub(crate) upserts: Vec<LeaseRow>,
    /// Submission, sequence, first task.
    pub(crate) deletes: Vec<(Uuid, u32, u32)>,
    /// What the table holds then.
    pub(crate) holds: BTreeSet<LeaseRow>,
}

impl Changes {
    /// Of a table that holds what is `known`.
    pub(crate) fn of(known: BTreeSet<LeaseRow>, leases: BTreeSet<LeaseRow>, not_loaded: &BTreeMap<Uuid, u32>) -> Self {
        let upserts: Vec<LeaseRow> = leases.difference(&known).cloned().collect();
        let kept: BTreeSet<_> = leases.iter().map(key).collect();
        let others = known.into_iter().filter(|row| !kept.contains(&key(row)));
        let stands = |row: &LeaseRow| not_loaded.get(&row.submission).is_some_and(|from| row.sequence >= *from);
        let (standing, over): (Vec<LeaseRow>, Vec<LeaseRow>) = others.partition(stands);
        let deletes = over.iter().map(key).collect();
        let mut holds = leases;
        holds.extend(standing);
        Self { upserts, deletes, holds }
    }
}
