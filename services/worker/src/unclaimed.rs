//! Leases that no queue knows of: their streams are over, or their shards have left the queue of their stream. The work on
//! them goes on until the owner of their shard adopts them or says that they are over.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use crate::{credit::CreditPool, leases::HeldLease, shards::ShardSet};

/// How long a lease is kept whose shard has an owner that was never asked for it: two leases' durations, as queues have them
/// by default. The owner keeps a range for its holder for one of them at most, so it was leased again. Adoption decides in
/// any case: this only bounds for how long the credit is missing elsewhere.
const UNREACHED: Duration = Duration::from_secs(10);

/// As many as a queue listens to.
const MOST: usize = 4096;

/// Leases that no queue knows of. Shared by all streams: who owns them may be any process by then.
#[derive(Debug)]
pub(crate) struct Unclaimed {
    waiting: watch::Sender<Waiting>,
    /// They use up credit too.
    credit: Arc<CreditPool>,
}

/// What is kept.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    leases: Vec<Kept>,
    /// How often leases were added.
    pub(crate) arrivals: u64,
}

#[derive(Debug)]
struct Kept {
    lease: Arc<HeldLease>,
    /// Since when its shard has had an owner that could have been asked.
    owned_since: Option<Instant>,
}

impl Waiting {
    /// The leases of these shards. One that was cancelled meanwhile is nothing to go on with.
    pub(crate) fn of(&self, shards: ShardSet) -> Vec<Arc<HeldLease>> {
        let wanted = |kept: &&Kept| kept.lease.belongs_to(shards) && !kept.lease.cancelled();
        self.leases.iter().filter(wanted).map(|kept| Arc::clone(&kept.lease)).collect()
    }
}

impl Unclaimed {
    pub(crate) fn new(credit: Arc<CreditPool>) -> Self {
        Self { waiting: watch::Sender::default(), credit }
    }

    /// Keeps leases; those beyond the most are stopped.
    pub(crate) fn keep(&self, leases: Vec<Arc<HeldLease>>) {
        if leases.is_empty() {
            return;
        }
        for lease in &leases {
            lease.delivery.suspend();
        }
        self.waiting.send_modify(|waiting| {
            waiting.arrivals += 1;
            for lease in leases {
                if waiting.leases.len() < MOST {
                    self.credit.keep(lease.cost);
                    waiting.leases.push(Kept { lease, owned_since: None });
                } else {
                    lease.cancel();
                }
            }
        });
    }

    /// All that are kept, now and whenever that changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Waiting> {
        self.waiting.subscribe()
    }

    /// Those of these shards.
    pub(crate) fn of(&self, shards: ShardSet) -> Vec<Arc<HeldLease>> {
        self.waiting.borrow().of(shards)
    }

    /// Takes a lease, and what it uses up with it. False if it is not kept, or not any more.
    pub(crate) fn take(&self, lease: &Arc<HeldLease>) -> bool {
        self.remove(|one| Arc::ptr_eq(&one.lease, lease)) > 0
    }

    /// Stops these leases, as far as they are kept: they are another's, or done. Returns how many there were.
    pub(crate) fn stop(&self, over: impl Fn(&Arc<HeldLease>) -> bool) -> usize {
        self.remove(|kept| {
            let over = over(&kept.lease);
            if over {
                kept.lease.cancel();
            }
            over
        })
    }

    /// Stops what nobody wants any more, by what is known of the owners. `None`: nothing is, because no queue says it.
    pub(crate) fn review(&self, now: Instant, owned: Option<ShardSet>) {
        let Some(owned) = owned else {
            self.waiting.send_if_modified(|waiting| {
                waiting.leases.iter_mut().for_each(|kept| kept.owned_since = None);
                false
            });
            return;
        };
        let stopped = self.remove_mut(|kept| {
            if !kept.lease.belongs_to(owned) {
                kept.owned_since = None;
                return false;
            }
            let over = now.saturating_duration_since(*kept.owned_since.get_or_insert(now)) >= UNREACHED;
            if over {
                kept.lease.cancel();
            }
            over
        });
        if stopped > 0 {
            tracing::warn!(leases = stopped, "stopping work whose queue could not be reached in time");
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.borrow().leases.is_empty()
    }

    /// Waits until there are none.
    pub(crate) async fn none(&self) {
        // The sender lives as long as we do.
        let _ = self.waiting.subscribe().wait_for(|waiting| waiting.leases.is_empty()).await;
    }

    /// Waits until there are some.
    pub(crate) async fn some(&self) {
        // The sender lives as long as we do.
        let _ = self.waiting.subscribe().wait_for(|waiting| !waiting.leases.is_empty()).await;
    }

    fn remove(&self, which: impl Fn(&Kept) -> bool) -> usize {
        self.remove_mut(|kept| which(kept))
    }

    fn remove_mut(&self, mut which: impl FnMut(&mut Kept) -> bool) -> usize {
        let mut removed = 0;
        self.waiting.send_if_modified(|waiting| {
            for kept in waiting.leases.extract_if(.., |kept| which(kept)) {
                self.credit.forget(kept.lease.cost);
                removed += 1;
            }
            removed > 0
        });
        removed
    }
}

#[cfg(test)]
mod tests {
    use hashmesh::queue::v1::Lease;

    use super::*;
    use crate::{config::CreditLimit, delivery::test_grant};

    fn unclaimed() -> Unclaimed {
        Unclaimed::new(Arc::new(CreditPool::new(CreditLimit { tasks: 100, bytes: 100 })))
    }

    fn lease(shard: u8) -> Arc<HeldLease> {
        let mut submission_id = vec![0; 16];
        submission_id[15] = shard;
        Arc::new(HeldLease::new(&Lease { submission_id: submission_id.into(), ..Lease::default() }, test_grant(1)))
    }

    #[tokio::test(start_paused = true)]
    async fn work_is_kept_until_its_shard_has_had_an_owner_for_long_who_never_got_to_hear_of_it() {
        let unclaimed = unclaimed();
        let (one, other) = (lease(1), lease(2));
        unclaimed.keep(vec![Arc::clone(&one), Arc::clone(&other)]);
        let owned = Some([1].into_iter().collect());
        let begin = Instant::now();
        unclaimed.review(begin, None);
        unclaimed.review(begin + 10 * UNREACHED, owned);
        assert!(!one.cancelled(), "there was nobody to claim it from until now");
        unclaimed.review(begin + 10 * UNREACHED + UNREACHED / 2, None);
        unclaimed.review(begin + 11 * UNREACHED, owned);
        assert!(!one.cancelled(), "what was known then says nothing of the time between");
        unclaimed.review(begin + 12 * UNREACHED, owned);
        assert!(one.cancelled() && !other.cancelled());
        assert_eq!(unclaimed.of(ShardSet::ALL).len(), 1);
    }

    #[tokio::test]
    async fn a_lease_is_taken_once_and_only_what_goes_on_is_claimed() {
        let unclaimed = unclaimed();
        let (one, other) = (lease(1), lease(2));
        unclaimed.keep(vec![Arc::clone(&one), Arc::clone(&other)]);
        other.cancel();
        assert_eq!(unclaimed.of(ShardSet::ALL).len(), 1, "nobody works on the other");
        assert!(unclaimed.of([2].into_iter().collect()).is_empty());
        assert!(unclaimed.take(&one) && !unclaimed.take(&one));
        assert_eq!(unclaimed.stop(|_| true), 1);
        assert!(unclaimed.is_empty() && !one.cancelled());
    }

    #[tokio::test]
    async fn no_more_leases_are_kept_than_a_queue_listens_to() {
        let unclaimed = unclaimed();
        let leases: Vec<_> = (0..=MOST).map(|_| lease(1)).collect();
        unclaimed.keep(leases.clone());
        assert!(leases[MOST].cancelled() && !leases[MOST - 1].cancelled());
        assert_eq!(unclaimed.of(ShardSet::ALL).len(), MOST);
    }
}
