//! Threads that do not come back: an endless loop, a read that never returns. No thread can be ended from outside, so the
//! process must: it gives back what it has not begun and ends, and whoever keeps it running starts it afresh. Going on
//! with fewer threads would cost the mesh capacity that nobody misses until all is gone.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::MissedTickBehavior;

use crate::leases::HeldLease;

/// How long a thread may go on with a lease that was taken back: it looks once per task and once per buffer read. Longer
/// than any read of one buffer or inline task takes.
const GRACE: Duration = Duration::from_secs(2);
/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(500);
/// Looks in a row that must find it.
const LOOKS: u32 = 3;

/// What the threads of a worker are busy with.
#[derive(Debug, Default)]
pub(crate) struct Busy {
    next: AtomicU64,
    groups: Mutex<HashMap<u64, Arc<HeldLease>>>,
}

/// A thread that works on a group of tasks, until dropped.
#[derive(Debug)]
pub(crate) struct Working<'a> {
    busy: &'a Busy,
    number: u64,
}

impl Busy {
    /// A thread begins to work on a lease.
    pub(crate) fn enter(&self, lease: &Arc<HeldLease>) -> Working<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(number, Arc::clone(lease));
        Working { busy: self, number }
    }

    /// Threads that work.
    pub(crate) fn working(&self) -> usize {
        self.lock().len()
    }

    /// Returns when some thread has ignored for longer than the grace that its lease was taken back.
    pub(crate) async fn hung(&self) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Several looks: the first after the whole process stood still says nothing of its threads.
        let mut looks = 0;
        while looks < LOOKS {
            interval.tick().await;
            looks = if self.overdue(GRACE) { looks + 1 } else { 0 };
        }
    }

    fn overdue(&self, grace: Duration) -> bool {
        self.lock().values().any(|lease| lease.cancelled_for().is_some_and(|since| since >= grace))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<HeldLease>>> {
        // No code panics while it holds the lock.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.busy.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use hashmesh::queue::v1::Lease;

    use super::*;
    use crate::delivery::test_grant;

    #[test]
    fn only_a_thread_that_goes_on_with_a_lease_that_was_taken_back_is_overdue() {
        let busy = Busy::default();
        let lease = || Arc::new(HeldLease::new(&Lease::default(), test_grant(1)));
        let (kept, taken) = (lease(), lease());
        let _one = busy.enter(&kept);
        let two = busy.enter(&taken);
        assert_eq!(busy.working(), 2);
        assert!(!busy.overdue(Duration::ZERO));
        taken.cancel();
        assert!(busy.overdue(Duration::ZERO) && !busy.overdue(GRACE));
        drop(two);
        assert!(!busy.overdue(Duration::ZERO), "it came back");
    }
}
