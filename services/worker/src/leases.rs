//! The leases that a worker holds on one stream: from the frame that grants one until it is settled, revoked or given
//! back. The heartbeat's thread reads them while the session changes them.

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use hashmesh::{
    queue::v1::{self as queue, Heartbeat, Lease, LeaseProgress},
    shards,
    v1::Algorithm,
};
use hashmesh_hash::kernel_of;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    account::{Account, End},
    config::CreditLimit,
    delivery::{Delivery, Grant},
    shards::ShardSet,
};

/// Which tasks a lease is a hold on. The same whoever grants it.
#[derive(Debug, Default)]
pub(crate) struct LeaseRange {
    pub(crate) submission_id: Bytes,
    pub(crate) sequence: u32,
    pub(crate) first_task: u32,
    pub(crate) task_count: u32,
    pub(crate) attempt: u32,
    pub(crate) fingerprint: Bytes,
    /// What computes its digests on this machine.
    pub(crate) kernel: Cow<'static, str>,
}

/// A lease in hand, shared by everyone who works on it.
#[derive(Debug)]
pub(crate) struct HeldLease {
    pub(crate) range: LeaseRange,
    /// What it uses up of the credit.
    pub(crate) cost: CreditLimit,
    /// Where its outcomes go.
    pub(crate) delivery: Delivery,
    /// What becomes of it.
    pub(crate) account: Account,
    /// It may kill its worker: nothing else is worked on meanwhile, and its queue is told before.
    pub(crate) alone: bool,
    /// The queue has been told that work on it begins.
    begun: Notify,
    /// The queue has recorded what came of it, or wants nothing of it.
    settled: CancellationToken,
    cancelled: CancellationToken,
    cancelled_at: OnceLock<Instant>,
    started: AtomicBool,
    /// Every outcome was sent; what is missing is the queue's `settled`.
    finished: AtomicBool,
    tasks_done: AtomicU32,
    bytes_read: AtomicU64,
}

impl HeldLease {
    pub(crate) fn new(lease: &Lease, grant: Grant) -> Self {
        let algorithms = lease.algorithms.iter().filter_map(|number| Algorithm::known(*number));
        let range = LeaseRange {
            submission_id: lease.submission_id.clone(),
            sequence: lease.sequence,
            first_task: lease.first_task,
            task_count: lease.task_count,
            attempt: lease.attempt,
            fingerprint: lease.fingerprint.clone(),
            kernel: kernel_of(&algorithms.collect::<Vec<_>>()),
        };
        Self {
            range,
            delivery: Delivery::new(grant),
            account: Account::open(&lease.traceparent),
            cost: CreditLimit { tasks: lease.task_count, bytes: lease.cost_bytes },
            alone: lease.alone,
            begun: Notify::new(),
            settled: CancellationToken::new(),
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
        // One that is done is let go of by the same way.
        if !self.finished() {
            self.end(End::Revoked);
        }
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

    /// Tells the queue that work on it begins, and nothing else is worked on, and waits until the queue knows it. False if
    /// there is no stream for it any more.
    pub(crate) async fn begin_alone(&self) -> bool {
        if !self.delivery.begin().await {
            return false;
        }
        self.begun.notified().await;
        true
    }

    /// The queue knows that work on it begins.
    pub(crate) fn may_begin(&self) {
        self.begun.notify_one();
    }

    /// Nothing more is wanted of it.
    pub(crate) fn settle(&self) {
        self.settled.cancel();
    }

    /// Waits until nothing more is wanted of it.
    pub(crate) async fn wait_settled(&self) {
        self.settled.cancelled().await;
    }

    /// Work has begun. If the worker dies from now on, the queue counts it as a strike.
    pub(crate) fn start(&self) {
        self.account.start();
        self.started.store(true, Ordering::Relaxed);
    }

    pub(crate) fn finish(&self) {
        self.finished.store(true, Ordering::Relaxed);
    }

    pub(crate) fn finished(&self) -> bool {
        self.finished.load(Ordering::Relaxed)
    }

    /// It is over, unless it was before.
    pub(crate) fn end(&self, end: End) {
        self.account.end(&self.range, end);
    }

    pub(crate) fn add_tasks_done(&self, tasks: u32) {
        self.tasks_done.fetch_add(tasks, Ordering::Relaxed);
    }

    pub(crate) fn add_bytes_read(&self, bytes: u64) {
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Work on it has begun, or is done.
    fn touched(&self) -> bool {
        self.started.load(Ordering::Relaxed) || self.finished()
    }

    /// True if its submission is of one of these shards. One whose id makes no sense belongs to whoever is asked.
    pub(crate) fn belongs_to(&self, owned: ShardSet) -> bool {
        let id: Result<&[u8; 16], _> = self.range.submission_id.as_ref().try_into();
        id.map_or(true, |id| owned.contains(shards::of_submission(id)))
    }

    /// What a queue must know to let us go on.
    pub(crate) fn claim(&self) -> queue::HeldLease {
        let LeaseRange { submission_id, sequence, first_task, task_count, attempt, fingerprint, kernel: _ } =
            &self.range;
        queue::HeldLease {
            submission_id: submission_id.clone(),
            sequence: *sequence,
            first_task: *first_task,
            task_count: *task_count,
            attempt: *attempt,
            fingerprint: fingerprint.clone(),
            cost_bytes: self.cost.bytes,
        }
    }

    fn progress(&self, lease_id: u64) -> LeaseProgress {
        LeaseProgress {
            lease_id,
            tasks_done: self.tasks_done.load(Ordering::Relaxed),
            bytes_read: self.bytes_read.load(Ordering::Relaxed),
            started: self.started.load(Ordering::Relaxed),
        }
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        // The worker ends with it in hand.
        self.end(End::Revoked);
    }
}

/// All leases of a stream, by id: a queue gives each id once as long as a stream lasts.
#[derive(Debug, Default)]
pub(crate) struct HeldLeases {
    by_id: Mutex<HashMap<u64, Arc<HeldLease>>>,
}

impl HeldLeases {
    /// Takes a lease; false if one with its id is held already.
    pub(crate) fn insert(&self, lease_id: u64, lease: Arc<HeldLease>) -> bool {
        match self.lock().entry(lease_id) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(lease);
                true
            }
        }
    }

    /// Lets go of a lease, and stops the work on it if there is any left.
    pub(crate) fn remove(&self, lease_id: u64) -> Option<Arc<HeldLease>> {
        let lease = self.lock().remove(&lease_id)?;
        lease.cancel();
        Some(lease)
    }

    /// The queue knows that work on a lease begins.
    pub(crate) fn may_begin(&self, lease_id: u64) {
        if let Some(lease) = self.lock().get(&lease_id) {
            lease.may_begin();
        }
    }

    /// The leases on which no thread has begun.
    pub(crate) fn untouched(&self) -> Vec<(u64, Arc<HeldLease>)> {
        self.filtered(|lease| !lease.touched())
    }

    /// The leases whose work is not done.
    pub(crate) fn unfinished(&self) -> Vec<(u64, Arc<HeldLease>)> {
        self.filtered(|lease| !lease.finished())
    }

    fn filtered(&self, wanted: impl Fn(&HeldLease) -> bool) -> Vec<(u64, Arc<HeldLease>)> {
        self.lock().iter().filter(|(_, lease)| wanted(lease)).map(|(id, lease)| (*id, Arc::clone(lease))).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// How far every lease is.
    pub(crate) fn heartbeat(&self) -> Heartbeat {
        Heartbeat { leases: self.lock().iter().map(|(id, lease)| lease.progress(*id)).collect() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<HeldLease>>> {
        // No code panics while it holds the lock, and the map is whole between any two calls anyway.
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of leases: of all of a stream that is over, or of those whose shards are another queue's now.
    pub(crate) fn suspend(&self, which: impl Fn(&HeldLease) -> bool) -> Suspended {
        let gone: Vec<_> = self.lock().extract_if(|_, lease| which(lease)).map(|(_, lease)| lease).collect();
        let (begun, stopped): (Vec<_>, Vec<_>) =
            gone.into_iter().partition(|lease| lease.touched() && !lease.cancelled());
        for lease in &stopped {
            lease.cancel();
            lease.delivery.suspend();
        }
        Suspended { begun, stopped }
    }
}

/// Leases that were let go of.
#[derive(Debug)]
pub(crate) struct Suspended {
    /// Work on them has begun or ended: whoever owns them next is told of it.
    pub(crate) begun: Vec<Arc<HeldLease>>,
    /// That on the others was stopped: whoever owns them leases them anew.
    pub(crate) stopped: Vec<Arc<HeldLease>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::test_grant;

    fn lease() -> Arc<HeldLease> {
        Arc::new(HeldLease::new(&Lease { task_count: 3, cost_bytes: 10, ..Lease::default() }, test_grant(1)))
    }

    #[test]
    fn a_lease_that_is_let_go_is_cancelled_and_in_no_heartbeat() {
        let held = HeldLeases::default();
        let one = lease();
        assert!(held.insert(1, Arc::clone(&one)));
        assert!(!held.insert(1, lease()), "the id is taken");
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
        let one = lease();
        held.insert(1, Arc::clone(&one));
        held.insert(2, lease());
        one.finish();
        assert_eq!(held.unfinished().iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2]);
        assert_eq!(held.heartbeat().leases.len(), 2);
    }

    #[test]
    fn a_lease_belongs_to_the_shard_of_its_submission_and_to_anybody_if_that_makes_no_sense() {
        let of = |id: Vec<u8>| HeldLease::new(&Lease { submission_id: id.into(), ..Lease::default() }, test_grant(1));
        let five: ShardSet = [5].into_iter().collect();
        assert!(of([vec![0; 15], vec![0b1100_0101]].concat()).belongs_to(five));
        assert!(!of(vec![0; 16]).belongs_to(five));
        assert!(of(vec![0; 3]).belongs_to(five));
    }

    #[test]
    fn what_has_begun_outlives_its_stream_and_what_has_not_stops() {
        let held = HeldLeases::default();
        let leases: Vec<_> = (0..4).map(|_| lease()).collect();
        for (id, lease) in (0..).zip(&leases) {
            held.insert(id, Arc::clone(lease));
        }
        leases[1].start();
        leases[2].finish();
        leases[3].start();
        leases[3].cancel();
        let suspended = held.suspend(|_| true);
        assert!(held.is_empty());
        assert_eq!(leases.iter().map(|lease| lease.cancelled()).collect::<Vec<_>>(), [true, false, false, true]);
        assert_eq!((suspended.begun.len(), suspended.stopped.len()), (2, 2));
    }
}
