//! Whose group of tasks is next on the threads.
//!
//! A worker holds far more leases than it has threads: what is committed comes back late, and credit must last until
//! then. So what is urgent, or of a tenant with little to do, must not stand behind all of it. Groups of leases enter
//! here before they enter the pool: the highest priority first; among equals each tenant in its turn by cost (start-time
//! fair queueing, as at the queue); and one in [`OLDEST_EVERY`] goes to whoever has waited longest, so that nobody waits
//! for ever.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// One in this many entries goes to who has waited longest.
const OLDEST_EVERY: u32 = 16;

/// Where the work of a lease stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The higher the sooner.
    pub(crate) priority: u32,
    /// Equal for leases of one tenant.
    pub(crate) flow: u64,
}

/// Lets a bounded number of groups in at once.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    shared: Arc<Mutex<State>>,
}

type Key = (Reverse<u32>, u64, u64);

#[derive(Debug)]
struct State {
    free: usize,
    /// By priority, virtual start time and arrival.
    waiting: BTreeMap<Key, oneshot::Sender<Permit>>,
    by_arrival: BTreeMap<u64, Key>,
    /// When each flow's last group will have been served, in virtual time. Those of the past are dropped.
    flows: HashMap<u64, u64>,
    virtual_time: u64,
    arrivals: u64,
    entries: u32,
}

/// A place within. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    shared: Option<Arc<Mutex<State>>>,
}

impl Door {
    /// A door with so many places behind it.
    pub(crate) fn new(places: usize) -> Self {
        let state = State {
            free: places.max(1),
            waiting: BTreeMap::new(),
            by_arrival: BTreeMap::new(),
            flows: HashMap::new(),
            virtual_time: 0,
            arrivals: 0,
            entries: 0,
        };
        Self { shared: Arc::new(Mutex::new(state)) }
    }

    /// Waits for a place. `cost` is what the group costs the threads, in any unit.
    pub(crate) async fn enter(&self, standing: Standing, cost: u64) -> Permit {
        let waiting = {
            let mut state = lock(&self.shared);
            if state.free > 0 {
                state.free -= 1;
                return Permit { shared: Some(Arc::clone(&self.shared)) };
            }
            state.wait(standing, cost)
        };
        // The sender lives in the state, which lives as long as we do.
        waiting.await.unwrap_or(Permit { shared: None })
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        // Who has gone away stays on the list until its turn.
        lock(&self.shared).waiting.values().filter(|waiting| !waiting.is_closed()).count()
    }
}

impl State {
    fn wait(&mut self, standing: Standing, cost: u64) -> oneshot::Receiver<Permit> {
        let (sender, receiver) = oneshot::channel();
        let finish = self.flows.entry(standing.flow).or_insert(0);
        let start = self.virtual_time.max(*finish);
        *finish = start.saturating_add(cost.max(1));
        let key = (Reverse(standing.priority), start, self.arrivals);
        self.by_arrival.insert(self.arrivals, key);
        self.waiting.insert(key, sender);
        self.arrivals += 1;
        receiver
    }

    /// Who enters next.
    fn next(&mut self) -> Option<oneshot::Sender<Permit>> {
        self.entries = self.entries.wrapping_add(1);
        let longest = self.entries.is_multiple_of(OLDEST_EVERY);
        let key = if longest { self.by_arrival.first_key_value().map(|(_, key)| *key) } else { None };
        let key = key.or_else(|| self.waiting.first_key_value().map(|(key, _)| *key));
        let Some(key) = key else {
            self.flows.clear();
            return None;
        };
        self.by_arrival.remove(&key.2);
        if !longest {
            self.virtual_time = self.virtual_time.max(key.1);
        }
        self.waiting.remove(&key)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else { return };
        loop {
            let next = {
                let mut state = lock(&shared);
                let next = state.next();
                if next.is_none() {
                    state.free += 1;
                }
                next
            };
            let Some(next) = next else { return };
            // One that has gone away gives its place back by hand: dropping its permit here would come back to here.
            match next.send(Permit { shared: Some(Arc::clone(&shared)) }) {
                Ok(()) => return,
                Err(mut unwanted) => drop(unwanted.shared.take()),
            }
        }
    }
}

fn lock(shared: &Mutex<State>) -> MutexGuard<'_, State> {
    // No code panics while it holds the lock.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn standing(priority: u32, flow: u64) -> Standing {
        Standing { priority, flow }
    }

    /// Lets `entrants` wait, then opens the door for one after the other. Returns their order.
    fn order(entrants: &[(Standing, u64)]) -> Vec<usize> {
        let door = Door::new(1);
        let mut permit = door.enter(Standing::default(), 1).now_or_never();
        assert!(permit.is_some());
        let mut waiting: Vec<_> =
            entrants.iter().map(|(standing, cost)| Some(Box::pin(door.enter(*standing, *cost)))).collect();
        for entrant in waiting.iter_mut().flatten() {
            assert!(entrant.as_mut().now_or_never().is_none());
        }
        let mut order = Vec::new();
        while order.len() < entrants.len() {
            drop(permit.take());
            for (index, slot) in waiting.iter_mut().enumerate() {
                if let Some(entered) = slot.as_mut().and_then(|entrant| entrant.as_mut().now_or_never()) {
                    *slot = None;
                    permit = Some(entered);
                    order.push(index);
                    break;
                }
            }
            assert!(permit.is_some(), "somebody enters whenever a place is free");
        }
        order
    }

    #[test]
    fn the_highest_priority_enters_first_and_equals_in_the_order_of_their_arrival() {
        let entrants = [(standing(0, 1), 1), (standing(5, 1), 1), (standing(9, 1), 1), (standing(5, 1), 1)];
        assert_eq!(order(&entrants), [2, 1, 3, 0]);
    }

    #[test]
    fn a_tenant_with_little_to_do_does_not_stand_behind_all_of_another() {
        let mut entrants = vec![(standing(5, 1), 1000); 10];
        entrants.push((standing(5, 2), 1));
        assert_eq!(order(&entrants)[..2], [0, 10]);
    }

    #[test]
    fn who_has_waited_longest_gets_a_turn_however_urgent_others_are() {
        let mut entrants = vec![(standing(0, 1), 1)];
        entrants.extend(vec![(standing(9, 2), 1); 100]);
        let place = order(&entrants).iter().position(|index| *index == 0);
        assert!(place.is_some_and(|place| place < OLDEST_EVERY as usize), "{place:?}");
    }

    #[test]
    fn one_that_goes_away_takes_no_place_with_it() {
        let door = Door::new(1);
        let inside = door.enter(Standing::default(), 1).now_or_never().unwrap();
        let mut gone = Box::pin(door.enter(Standing::default(), 1));
        let mut stays = Box::pin(door.enter(Standing::default(), 1));
        assert!(gone.as_mut().now_or_never().is_none() && stays.as_mut().now_or_never().is_none());
        assert_eq!(door.waiting(), 2);
        drop(gone);
        assert_eq!(door.waiting(), 1);
        drop(inside);
        let entered = stays.as_mut().now_or_never();
        assert!(entered.is_some());
        drop(entered);
        assert!(door.enter(Standing::default(), 1).now_or_never().is_some());
    }
}
