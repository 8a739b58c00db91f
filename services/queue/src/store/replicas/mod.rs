//! Reads of what is stored, from replicas where there are any.
//!
//! A read sees everything that was acknowledged before it began, wherever it is answered:
//! 1. the primary is asked how far its WAL is flushed ([`primary`]): one question for all reads that wait;
//! 2. a replica is chosen that has replayed as much ([`monitor`]), within `max_lag`;
//! 3. the connection that reads asks its server the same, because the one behind it may have been restarted, and be
//!    further back than what is known of it.
//!
//! Whatever fails there, or takes too long, is answered by the primary. A replica that is away, behind, or none of this
//! database is not waited for: its monitor finds out when it can be used again.

mod choice;
mod monitor;
mod primary;
mod status;

use std::{
    future::Future,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use hashmesh::v1::ReplicaStats;
use hashmesh_database::{Database, Pooled, Replica};
use hashmesh_runtime::metrics::Watch;

use self::choice::{At, Replicas};
use super::{StoreError, reads::Sessions};

/// The longest that a replica may work on one read before the primary is asked instead.
const LONGEST_READ: Duration = Duration::from_secs(5);

/// Where reads are answered.
#[derive(Debug)]
pub(crate) struct Reads {
    primary: Database,
    pub(in crate::store) replicas: Option<Replicas>,
    by_primary: AtomicU64,
}

/// One server that can answer a read.
#[derive(Debug)]
pub(crate) enum Source {
    Primary(Database),
    Replica(At),
}

impl Sessions for Source {
    async fn session(&self, what: &'static str) -> Result<Pooled<'_>, StoreError> {
        match self {
            Self::Primary(database) => database.session(what).await,
            Self::Replica(at) => at.session(what).await,
        }
    }
}

impl Reads {
    /// Reads from the primary, and from these replicas while they are at most `max_lag` behind. Watches them until it is
    /// dropped.
    pub(crate) fn new(primary: Database, replicas: &[Replica], max_lag: Duration) -> Self {
        let replicas = (!replicas.is_empty()).then(|| Replicas::watch(&primary, replicas, max_lag));
        Self { primary, replicas, by_primary: AtomicU64::new(0) }
    }

    /// Asks a replica, else the primary; so `ask` may be called twice.
    pub(crate) async fn read<T, F>(&self, ask: impl Fn(Source) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        if let Some(replicas) = &self.replicas
            && let Some((index, at)) = replicas.choose().await
        {
            match tokio::time::timeout(LONGEST_READ, ask(Source::Replica(at))).await {
                Ok(Ok(answer)) => {
                    replicas.answered(index);
                    return Ok(answer);
                }
                // What the primary says counts.
                Ok(Err(error)) => replicas.failed(index, &error),
                Err(_) => replicas.failed(index, &StoreError::Unknown { what: "read from a replica" }),
            }
        }
        self.by_primary.fetch_add(1, Ordering::Relaxed);
        ask(Source::Primary(self.primary.clone())).await
    }

    /// Reads that the primary answered.
    pub(crate) fn by_primary(&self) -> u64 {
        self.by_primary.load(Ordering::Relaxed)
    }

    /// Has it asked for how far replicas are, and whether they are used, until what is returned is dropped.
    pub(crate) fn watch(&self) -> Vec<Watch> {
        self.replicas.as_ref().map(Replicas::watches).unwrap_or_default()
    }

    /// What is known of each replica.
    pub(crate) fn stats(&self) -> Vec<ReplicaStats> {
        self.replicas.as_ref().map(Replicas::stats).unwrap_or_default()
    }
}
