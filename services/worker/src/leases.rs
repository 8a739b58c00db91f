//! The leases that a worker holds on one stream: from the frame that grants one until it is settled, revoked or given
//! back. The heartbeat's thread reads them while the session changes them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hashmesh::queue::v1::{Heartbeat, Lease, LeaseProgress};
use tokio_util::sync::CancellationToken;

use crate::config::CreditLimit;

/// A lease in hand, shared by everyone who works on it.
#[derive(Debug)]
pub(crate) struct HeldLease {
    pub(crate) lease_id: u64,
    pub(crate) epoch: u64,
    /// What it uses up of the credit.
    pub(crate) cost: CreditLimit,
    cancelled: CancellationToken,
    cancelled_at: OnceLock<Instant>,
    started: AtomicBool,
    /// Every outcome was sent; what is missing is the queue's `settled`.
    finished: AtomicBool,
    tasks_done: AtomicU32,
    bytes_read: AtomicU64,
}

impl HeldLease {
    pub(crate) fn new(lease: &Lease) -> Self {
        Self {
            lease_id: lease.lease_id,
            epoch: lease.epoch,
            cost: CreditLimit { tasks: lease.task_count, bytes: lease.cost_bytes },
            cancelled: CancellationToken::new(),
            cancelled_at: OnceLock::new(),
            started: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            tasks_done: AtomicU32::new(0),
            bytes_read: AtomicU64::new(0),
        }
    }

    /// Whoever works on it stops at the next buffer, and sends nothing more.
    pub(crate) fn cancel(&self) {
        self.cancelled_at.get_or_init(Instant::now);
        self.cancelled.cancel();
    }

    /// How long ago it was cancelled, if it was.
    pub(crate) fn cancelled_for(&self) -> Option<Duration> {
        self.cancelled_at.get().map(Instant::elapsed)
    }

    /// Asked once per buffer or group of tasks.
    pub(crate) fn cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }

    /// Waits until the lease is cancelled.
    pub(crate) async fn wait_cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    /// Work has begun. If the worker dies from now on, the queue counts it as a strike.
    pub(crate) fn start(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    pub(crate) fn finish(&self) {
        self.finished.store(true, Ordering::Relaxed);
    }

    pub(crate) fn finished(&self) -> bool {
        self.finished.load(Ordering::Relaxed)
    }

    pub(crate) fn add_tasks_done(&self, tasks: u32) {
        self.tasks_done.fetch_add(tasks, Ordering::Relaxed);
    }

    pub(crate) fn add_bytes_read(&self, bytes: u64) {
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
    }

    fn progress(&self) -> LeaseProgress {
        LeaseProgress {
            lease_id: self.lease_id,
            tasks_done: self.tasks_done.load(Ordering::Relaxed),
            bytes_read: self.bytes_read.load(Ordering::Relaxed),
            started: self.started.load(Ordering::Relaxed),
        }
    }
}

/// All leases of a stream, by id: ids are unique within an epoch, and a stream has one.
#[derive(Debug, Default)]
pub(crate) struct HeldLeases {
    by_id: Mutex<HashMap<u64, Arc<HeldLease>>>,
}

impl HeldLeases {
    /// Takes a lease; false if one with its id is held already.
    pub(crate) fn insert(&self, lease: Arc<HeldLease>) -> bool {
        let mut by_id = self.lock();
        if by_id.contains_key(&lease.lease_id) {
            return false;
        }
        by_id.insert(lease.lease_id, lease);
        true
    }

    /// Lets go of a lease, and stops the work on it if there is any left.
    pub(crate) fn remove(&self, lease_id: u64) -> Option<Arc<HeldLease>> {
        let lease = self.lock().remove(&lease_id)?;
        lease.cancel();
        Some(lease)
    }

    /// The leases on which no thread has begun.
    pub(crate) fn untouched(&self) -> Vec<Arc<HeldLease>> {
        let untouched = |lease: &&Arc<HeldLease>| !lease.started.load(Ordering::Relaxed) && !lease.finished();
        self.lock().values().filter(untouched).map(Arc::clone).collect()
    }

    /// The leases whose work is not done.
    pub(crate) fn unfinished(&self) -> Vec<Arc<HeldLease>> {
        self.lock().values().filter(|lease| !lease.finished()).map(Arc::clone).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// How far every lease is.
    pub(crate) fn heartbeat(&self) -> Heartbeat {
        Heartbeat { leases: self.lock().values().map(|lease| lease.progress()).collect() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<HeldLease>>> {
        // No code panics while it holds the lock, and the map is whole between any two calls anyway.
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the work on every lease.
    pub(crate) fn cancel_all(&self) {
        self.lock().values().for_each(|lease| lease.cancel());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(lease_id: u64) -> Arc<HeldLease> {
        Arc::new(HeldLease::new(&Lease { lease_id, task_count: 3, cost_bytes: 10, ..Lease::default() }))
    }

    #[test]
    fn a_lease_that_is_let_go_is_cancelled_and_in_no_heartbeat() {
        let held = HeldLeases::default();
        let one = lease(1);
        assert!(held.insert(Arc::clone(&one)));
        assert!(!held.insert(lease(1)), "the id is taken");
        one.start();
        one.add_tasks_done(2);
        one.add_bytes_read(7);
        let progress = LeaseProgress { lease_id: 1, tasks_done: 2, bytes_read: 7, started: true };
        assert_eq!(held.heartbeat().leases, [progress]);

        assert!(!one.cancelled());
        assert_eq!(held.remove(1).unwrap().cost, CreditLimit { tasks: 3, bytes: 10 });
        assert!(one.cancelled());
        assert!(held.remove(1).is_none() && held.is_empty() && held.heartbeat().leases.is_empty());
    }

    #[test]
    fn a_finished_lease_stays_in_heartbeats_until_it_is_settled() {
        let held = HeldLeases::default();
        held.insert(lease(1));
        held.insert(lease(2));
        held.unfinished().into_iter().find(|lease| lease.lease_id == 1).unwrap().finish();
        assert_eq!(held.unfinished().iter().map(|lease| lease.lease_id).collect::<Vec<_>>(), [2]);
        assert_eq!(held.heartbeat().leases.len(), 2);
    }
}
