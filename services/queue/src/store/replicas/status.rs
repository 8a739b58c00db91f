//! What is known of a replica.

use std::time::Duration;

use hashmesh::v1::ReplicaState;
use hashmesh_database::postgres::types::PgLsn;

use super::primary::Identity;

/// What its monitor last found.
#[derive(Clone, Debug)]
pub(super) struct Status {
    pub(super) state: ReplicaState,
    /// It has everything that the primary had flushed up to here.
    pub(super) replayed: PgLsn,
    /// What it is a standby of, once that was found to be the database.
    pub(super) identity: Option<Identity>,
    /// How long it took to have what the primary had, or has not had it.
    pub(super) lag: Duration,
    /// Why it is not used.
    pub(super) problem: String,
}

impl Status {
    /// Before anything is known.
    pub(super) fn unknown() -> Self {
        Self {
            state: ReplicaState::Unreachable,
            replayed: PgLsn::from(0),
            identity: None,
            lag: Duration::ZERO,
            problem: "not connected to yet".to_owned(),
        }
    }

    /// It may answer reads that need no more than what it has: of this cluster and timeline, if they are known.
    pub(super) fn following(&self, identity: Option<Identity>) -> bool {
        self.state == ReplicaState::Following && (identity.is_none() || self.identity == identity)
    }
}

/// What is known of every replica, in their order.
pub(super) type Board = Vec<Status>;

/// The furthest position that a read waits for, after the timeline it is on: when a cluster is restored to an earlier
/// point, its positions begin again on a higher one.
pub(super) type Wanted = (i32, PgLsn);
