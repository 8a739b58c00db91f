use futures::{FutureExt as _, StreamExt as _};
use hashmesh::queue::v1::{Hello, lease_tasks_request::Frame};
use proptest::prelude::*;

use super::*;
use crate::outbox::{Outbox, OutgoingFrames, outbox};

const LIMIT: CreditLimit = cost(1_200);

const fn cost(amount: u32) -> CreditLimit {
    CreditLimit { tasks: amount, bytes: amount as u64 }
}

/// A queue that counts what was granted to it.
struct Queue {
    share: Share,
    frames: OutgoingFrames,
    credit: i64,
    _outbox: Outbox,
}

impl Queue {
    fn new(pool: &Arc<CreditPool>) -> Self {
        let (outbox, frames) = outbox(Hello::default());
        let share = pool.join(outbox.urgent().clone());
        Self { share, frames, credit: 0, _outbox: outbox }
    }

    fn open(pool: &Arc<CreditPool>) -> Self {
        let queue = Self::new(pool);
        queue.share.open();
        queue
    }

    /// What it may hand out.
    fn credit(&mut self) -> i64 {
        while let Some(Some(request)) = self.frames.next().now_or_never() {
            if let Some(Frame::Credit(credit)) = request.frame {
                assert_eq!(u64::from(credit.tasks), credit.bytes);
                self.credit += i64::from(credit.tasks);
            }
        }
        self.credit
    }

    /// Hands out a lease if it may. Its cost, unless the worker gave it back.
    fn lease(&mut self, amount: u32) -> Option<CreditLimit> {
        if self.credit() <= 0 {
            return None;
        }
        self.credit -= i64::from(amount);
        if self.share.take(cost(amount)) {
            return Some(cost(amount));
        }
        self.share.free(cost(amount));
        None
    }

    /// Hands out leases of one task each as long as it may, `most` at most. How many it could.
    fn lease_all(&mut self, most: u32) -> u32 {
        (0..most).take_while(|_| self.lease(1).is_some()).count() as u32
    }
}

fn pool() -> Arc<CreditPool> {
    Arc::new(CreditPool::new(LIMIT))
}

#[tokio::test]
async fn one_queue_is_granted_everything_and_gets_back_what_its_leases_used_up() {
    let pool = pool();
    let mut queue = Queue::new(&pool);
    assert_eq!(queue.credit(), 0, "not before it is opened");
    queue.share.open();
    assert_eq!(queue.credit(), 1_200);
    let lease = queue.lease(500).unwrap();
    assert_eq!(queue.credit(), 700);
    queue.share.free(lease);
    assert_eq!(queue.credit(), 1_200);
}

#[tokio::test]
async fn queues_with_little_work_tie_up_their_half_shares_and_one_with_much_is_lent_the_rest() {
    let pool = pool();
    pool.expect(3);
    let (mut one, mut two, mut three) = (Queue::open(&pool), Queue::open(&pool), Queue::open(&pool));
    assert_eq!([one.credit(), two.credit(), three.credit()], [200, 200, 200]);
    assert_eq!(one.lease_all(10_000), 800, "two thirds of all");
    assert_eq!([two.credit(), three.credit()], [200, 200]);
}

#[tokio::test]
async fn a_queue_with_more_than_its_share_gives_way_to_others_as_its_leases_end() {
    let pool = pool();
    pool.expect(2);
    let (mut one, mut two) = (Queue::open(&pool), Queue::open(&pool));
    let mut of_one = one.lease_all(10_000);
    let mut of_two = two.lease_all(10_000);
    assert_eq!((of_one, of_two), (900, 300));
    for _ in 0..10_000 {
        one.share.free(cost(1));
        of_one -= 1;
        of_one += one.lease_all(10_000);
        of_two += two.lease_all(10_000);
        assert_eq!(of_one + of_two, 1_200, "nothing lies idle meanwhile");
        if of_one == of_two {
            break;
        }
    }
    assert_eq!((of_one, of_two), (600, 600));
    // From then on each gets its own back.
    one.share.free(cost(1));
    assert_eq!((one.credit(), two.credit()), (1, 0));
}

#[tokio::test]
async fn what_a_stream_that_ends_had_is_granted_to_the_others() {
    let pool = pool();
    let (mut one, two) = (Queue::open(&pool), Queue::open(&pool));
    one.lease_all(10_000);
    drop(two);
    one.lease_all(10_000);
    assert_eq!(one.credit(), 0);
    assert_eq!(pool.lock().held().tasks, 1_200);
}

#[tokio::test]
async fn a_stream_that_drains_is_granted_nothing_and_frees_for_others() {
    let pool = pool();
    let (mut one, mut two) = (Queue::open(&pool), Queue::open(&pool));
    let lease = one.lease(100).unwrap();
    one.share.close();
    let before = one.credit();
    one.share.free(lease);
    assert_eq!((one.credit(), two.credit()), (before, 1_200));
}

#[tokio::test]
async fn a_stream_that_joins_late_gets_its_half_share_though_all_was_granted() {
    let pool = pool();
    let mut one = Queue::open(&pool);
    assert_eq!(one.credit(), 1_200);
    let mut two = Queue::open(&pool);
    assert_eq!(two.credit(), 300);
    assert_eq!(two.lease_all(10_000), 300);
    // Should both use what they have, it is no more than there may be.
    assert_eq!(one.lease_all(10_000), 900, "and the next is given back");
    assert_eq!((one.lease_all(10_000), two.lease_all(10_000)), (0, 0));
}

#[tokio::test]
async fn what_no_queue_knows_of_is_missing_until_it_is_adopted_or_over() {
    let pool = pool();
    let mut one = Queue::open(&pool);
    let lease = one.lease(1_000).unwrap();
    pool.keep(lease);
    one.share.free(lease);
    assert_eq!(one.lease_all(10_000), 200, "the rest is still in hand");
    // Another queue adopts it: it counts as its credit.
    let mut two = Queue::new(&pool);
    pool.forget(lease);
    two.share.adopt(lease);
    two.credit -= 1_000;
    two.share.open();
    assert!(two.credit() <= 0, "it has more than its share");
    two.share.free(lease);
    assert!(two.credit() > 0);
}

#[tokio::test]
async fn a_lease_may_overdraw_once() {
    let pool = pool();
    let mut one = Queue::open(&pool);
    let huge = one.lease(5_000).unwrap();
    assert!(one.credit() < 0 && one.lease(1).is_none());
    one.credit -= 1;
    assert!(!one.share.take(cost(1)), "and a queue that does not count gets it back");
    one.share.free(cost(1));
    one.share.free(huge);
    assert_eq!(one.credit(), 1_200);
}

proptest! {
    /// Whatever the queues do: what is held never exceeds the limit by more than a lease, no queue is left without credit
    /// once there is room, and what we think they have is what they have.
    #[test]
    fn what_is_held_stays_within_the_limit_and_nobody_is_shut_out(
        steps in prop::collection::vec((0_usize..4, 0_u8..4, 1_u32..200), 1..400),
    ) {
        let pool = pool();
        let mut queues: Vec<(Queue, Vec<CreditLimit>)> = Vec::new();
        for (which, step, amount) in steps {
            let place = which % queues.len().max(1);
            match step {
                0 if queues.len() < 4 => queues.push((Queue::open(&pool), Vec::new())),
                0 => drop(queues.remove(place)),
                _ => {
                    let Some((queue, leases)) = queues.get_mut(place) else { continue };
                    if step < 3 {
                        leases.extend(queue.lease(amount));
                    } else if let Some(lease) = leases.pop() {
                        queue.share.free(lease);
                    }
                }
            }
            let held: u32 = queues.iter().flat_map(|(_, leases)| leases).map(|lease| lease.tasks).sum();
            prop_assert!(held < LIMIT.tasks + 200, "{held}");
            prop_assert_eq!(pool.lock().held().tasks, i128::from(held));
            for (queue, _) in &mut queues {
                let credit = queue.credit();
                let left = pool.lock().members[&queue.share.number].left.tasks;
                prop_assert_eq!(i128::from(credit), left);
            }
        }
        for (queue, leases) in &mut queues {
            leases.drain(..).for_each(|lease| queue.share.free(lease));
        }
        for (queue, _) in &mut queues {
            prop_assert!(queue.credit() >= 150, "an eighth of the limit: half of what a fourth stream is due");
        }
    }
}
