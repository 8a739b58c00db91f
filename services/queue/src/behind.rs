//! What is written behind, at most once a second and never waited for: who holds which lease, failed attempts, and up to
//! where submissions are resolved. Losing the last second of it costs a new owner some repeated work, nothing else.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use hashmesh_database::Database;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    core::Resolved,
    store::{self, Ownership, StoreError, model::LeaseRow},
};

/// Between two writes, at least.
const INTERVAL: Duration = Duration::from_secs(1);

/// All that is to be written behind, as it is now.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) leases: BTreeSet<LeaseRow>,
    /// How far submissions are resolved that got further.
    pub(crate) resolved: Vec<(Uuid, Resolved)>,
}

/// The engine's side: offers a snapshot when the writer is idle.
#[derive(Debug)]
pub(crate) struct Behind {
    writer: mpsc::Sender<Snapshot>,
    next: Duration,
}

impl Behind {
    /// The engine's side and the writer's.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Snapshot>) {
        let (writer, snapshots) = mpsc::channel(1);
        (Self { writer, next: INTERVAL }, snapshots)
    }

    /// Takes a snapshot if it is time and the last one is written.
    pub(crate) fn offer(&mut self, now: Duration, take: impl FnOnce() -> Snapshot) {
        if now < self.next {
            return;
        }
        if let Ok(place) = self.writer.try_reserve() {
            place.send(take());
            self.next = now + INTERVAL;
        }
    }
}

/// Writes snapshots until the engine is gone.
pub(crate) async fn run(database: Database, ownership: Arc<Ownership>, mut snapshots: mpsc::Receiver<Snapshot>) {
    // What the table holds; unknown at first and after an error.
    let mut written: Option<BTreeSet<LeaseRow>> = None;
    let mut unwritten: Vec<(Uuid, Resolved)> = Vec::new();
    while let Some(Snapshot { leases, resolved }) = snapshots.recv().await {
        unwritten.extend(resolved);
        let result = write(&database, &ownership, written.as_ref(), &leases, &unwritten).await;
        match result {
            Ok(()) => {
                written = Some(leases);
                unwritten.clear();
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "writing leases behind failed; trying again");
                written = None;
            }
        }
    }
}

async fn write(
    database: &Database,
    ownership: &Ownership,
    written: Option<&BTreeSet<LeaseRow>>,
    leases: &BTreeSet<LeaseRow>,
    resolved: &[(Uuid, Resolved)],
) -> Result<(), StoreError> {
    let unchanged = written.is_some_and(|written| written == leases);
    if unchanged && resolved.is_empty() {
        return Ok(());
    }
    let known = match written {
        Some(written) => written.clone(),
        None => store::lease_rows(database).await?,
    };
    let upserts: Vec<LeaseRow> = leases.difference(&known).cloned().collect();
    let key = |row: &LeaseRow| (row.submission, row.sequence, row.first_task);
    let kept: BTreeSet<_> = leases.iter().map(key).collect();
    let deletes: Vec<_> = known.iter().map(key).filter(|key| !kept.contains(key)).collect();
    store::write_behind(database, ownership, &upserts, &deletes, resolved).await
}
