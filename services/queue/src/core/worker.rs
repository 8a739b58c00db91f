//! Connected workers and their leases in the owner's memory.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use hashmesh::tasks::ANY_SOURCE;
use uuid::Uuid;

use super::{
    AlgorithmSet, LeaseId, Now, WorkerId,
    order::{LEVELS, TenantId, classes::KindId},
    poison::Place,
    ranges::RunSet,
};

/// Leases in one worker's hands, however small they are and whatever its credit: its stream holds more frames than this,
/// so that a burst never makes it look like a worker that does not read.
pub(super) const MAX_LEASES: usize = 4096;

/// What a worker said in its hello.
#[derive(Clone, Debug)]
pub(crate) struct WorkerInfo {
    pub(crate) name: String,
    /// Of its process: the same in all its streams.
    pub(crate) session: Uuid,
    pub(crate) slots: u32,
    pub(crate) algorithms: AlgorithmSet,
    /// URI prefixes, each ending with `/`, that it may read below.
    pub(crate) source_prefixes: Vec<String>,
    /// It works on what is leased alone while it does nothing else for anybody, and says so before it begins.
    pub(crate) begins_alone: bool,
}

impl WorkerInfo {
    /// True if it can do exactly what another can.
    pub(super) fn same_kind(&self, other: &Self) -> bool {
        self.algorithms == other.algorithms && self.source_prefixes == other.source_prefixes
    }

    /// True if it may be able to read a batch whose URIs have this common prefix. A prefix above one of its roots means a
    /// batch over several roots: it takes what it can and gives the rest back uncharged.
    pub(crate) fn reaches(&self, reference_prefix: Option<&str>) -> bool {
        let Some(prefix) = reference_prefix else { return true };
        if prefix == ANY_SOURCE {
            return !self.source_prefixes.is_empty();
        }
        self.source_prefixes.iter().any(|root| prefix.starts_with(root.as_str()) || root.starts_with(prefix))
    }
}

/// A connected worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) info: WorkerInfo,
    /// How much more it takes. One lease may overdraw either.
    pub(crate) credit_tasks: i64,
    pub(crate) credit_bytes: i64,
    /// When its last frame came.
    pub(crate) heard_at: Now,
    /// It said that it is stopping.
    pub(crate) draining: bool,
    pub(crate) leases: BTreeSet<LeaseId>,
    /// Which other workers can do the same.
    pub(super) kind: KindId,
    /// What its leases have used up of its credit.
    pub(super) held_tasks: i64,
    pub(super) held_bytes: i64,
    /// The most that its credit and its leases have come to lately: its whole credit.
    pub(super) most_tasks: Peak,
    pub(super) most_bytes: Peak,
    /// How many leases it holds of each level of priority, and of each tenant.
    pub(super) levels: [u32; LEVELS],
    pub(super) tenants: HashMap<TenantId, u32>,
    /// Bytes of its leases that it has not read yet (see [`super::unread`]).
    pub(super) unread_bytes: u64,
    /// It has not read so much that it gets no more for now.
    pub(super) behind: bool,
    /// It gets nothing but this suspect: set aside for it, or holding it.
    pub(crate) aside: Option<Place>,
    /// When it last finished a lease: the next one kept it busy since then.
    pub(crate) last_finish: Now,
    pub(crate) recorded_tasks: u64,
}

/// The most that something has come to lately: it follows a rise at once, and a fall within two [`LATELY`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peak {
    most: i64,
    /// Of the time since `since` alone.
    newest: i64,
    since: Now,
}

/// Longer than any lease is answered for without a word.
const LATELY: Duration = Duration::from_secs(10);

impl Peak {
    pub(super) fn note(&mut self, now: Now, value: i64) {
        if now >= self.since + LATELY {
            *self = Self { most: self.newest, newest: value, since: now };
        }
        self.newest = self.newest.max(value);
        self.most = self.most.max(value);
    }

    pub(super) const fn most(&self) -> i64 {
        self.most
    }
}

impl Worker {
    /// True if it may be given a lease now. One that has been silent for `silence` is not given more, so that what was
    /// taken back from it does not go to it again.
    pub(crate) fn takes_leases(&self, now: Now, silence: Duration) -> bool {
        self.aside.is_none() && self.may_be_leased_to(now, silence)
    }

    /// The same, whether or not it is set aside.
    pub(crate) fn may_be_leased_to(&self, now: Now, silence: Duration) -> bool {
        let has_credit = self.credit_tasks > 0 && self.credit_bytes > 0 && self.leases.len() < MAX_LEASES;
        !self.draining && has_credit && !self.behind && now < self.heard_at + silence
    }
}

/// How a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseEnd {
    /// Its last outcomes came.
    Outcomes,
    /// Its worker gave it back, or it could not be sent.
    Nack,
    /// Its worker's stream ended.
    Disconnected,
    /// No heartbeat named it in time.
    Expired,
    /// Work on it stood still.
    Stalled,
    /// Its submission is over, or is read again.
    Cancelled,
}

impl LeaseEnd {
    /// In the order of their declaration.
    pub(crate) const ALL: [Self; 6] =
        [Self::Outcomes, Self::Nack, Self::Disconnected, Self::Expired, Self::Stalled, Self::Cancelled];
}

/// A time-limited hold of a worker on tasks.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) worker: WorkerId,
    pub(crate) submission: Uuid,
    pub(crate) sequence: u32,
    pub(crate) task_count: u32,
    pub(super) cost_bytes: u64,
    pub(super) level: usize,
    pub(super) tenant: TenantId,
    pub(crate) attempt: u32,
    /// How many workers were lost with it (see [`super::poison`]).
    pub(crate) strikes: u32,
    /// Tasks that have had no outcome yet.
    pub(crate) unresolved: RunSet,
    pub(crate) granted_at: Now,
    /// It goes on with one of an owner before: its work began earlier than it was granted.
    pub(super) adopted: bool,
    /// Taken back after this unless a heartbeat names the lease before.
    pub(crate) expires_at: Now,
    /// The last sign of work on it, once begun: (tasks done, bytes read, when).
    pub(crate) progress: Option<(u32, u64, Now)>,
    /// It is leased alone, and its worker has not said yet that it begins: nothing that happens is its fault.
    pub(super) awaits_begin: bool,
}
