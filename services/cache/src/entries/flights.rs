//! Many who look for the same entry at the same time cause one look-up.

use std::{
    collections::{HashMap, hash_map},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::watch;

use super::{entry::Entry, key::Key};

/// What a look-up has found.
pub(crate) type Looked = HashMap<Key, Arc<Entry>>;

/// The look-ups that are under way.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    by_key: Mutex<HashMap<Key, Arc<Flight>>>,
    joined: AtomicU64,
}

/// One look-up, of some keys.
#[derive(Debug)]
struct Flight {
    found: OnceLock<Looked>,
    over: watch::Sender<bool>,
}

/// Who looks keys up. Dropped without a word it has found nothing.
#[derive(Debug)]
pub(crate) struct Leader<'a> {
    flights: &'a Flights,
    flight: Arc<Flight>,
    pub(crate) keys: Vec<Key>,
}

/// Keys that others are looking up.
#[derive(Debug, Default)]
pub(crate) struct Followed(Vec<(Arc<Flight>, Vec<Key>)>);

impl Flights {
    /// Divides keys into those that nobody is looking up, for which the caller is the leader, and the others.
    pub(crate) fn enter(&self, keys: impl IntoIterator<Item = Key>) -> (Option<Leader<'_>>, Followed) {
        let flight = Arc::new(Flight { found: OnceLock::new(), over: watch::Sender::new(false) });
        let (mut mine, mut followed) = (Vec::new(), Followed::default());
        let mut by_key = self.lock();
        for key in keys {
            match by_key.entry(key) {
                hash_map::Entry::Vacant(place) => {
                    place.insert(Arc::clone(&flight));
                    mine.push(key);
                }
                // Named twice by the same caller.
                hash_map::Entry::Occupied(place) if Arc::ptr_eq(place.get(), &flight) => {}
                hash_map::Entry::Occupied(place) => followed.add(place.get(), key),
            }
        }
        drop(by_key);
        let joined: usize = followed.0.iter().map(|(_, keys)| keys.len()).sum();
        self.joined.fetch_add(joined as u64, Ordering::Relaxed);
        let leader = (!mine.is_empty()).then_some(Leader { flights: self, flight, keys: mine });
        (leader, followed)
    }

    /// Keys that were found by somebody else's look-up.
    pub(crate) fn joined(&self) -> u64 {
        self.joined.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Flight>>> {
        // No code panics while it holds the lock.
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Followed {
    fn add(&mut self, flight: &Arc<Flight>, key: Key) {
        match self.0.iter_mut().find(|(known, _)| Arc::ptr_eq(known, flight)) {
            Some((_, keys)) => keys.push(key),
            None => self.0.push((Arc::clone(flight), vec![key])),
        }
    }

    /// Waits for the others, and adds what they have found.
    pub(crate) async fn wait(self, found: &mut Looked) {
        for (flight, keys) in self.0 {
            let mut over = flight.over.subscribe();
            // The sender lives as long as the flight.
            let _ = over.wait_for(|over| *over).await;
            let theirs = flight.found.get();
            found.extend(keys.iter().filter_map(|key| Some((*key, Arc::clone(theirs?.get(key)?)))));
        }
    }
}

impl Leader<'_> {
    /// Tells the others.
    pub(crate) fn finish(self, found: &Looked) {
        // Nobody else sets it.
        let _ = self.flight.found.set(found.clone());
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        let mut by_key = self.flights.lock();
        self.keys.iter().for_each(|key| drop(by_key.remove(key)));
        drop(by_key);
        self.flight.over.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use hashmesh::cache::v1::ObjectState;

    use super::*;

    fn found(key: Key) -> Looked {
        let entry = Entry { state: ObjectState::default(), digest: vec![1].into(), generation: 0, read_bytes: 0 };
        HashMap::from([(key, Arc::new(entry))])
    }

    const KEYS: [Key; 3] = [Key([1; 32]), Key([2; 32]), Key([3; 32])];

    #[tokio::test]
    async fn of_many_who_look_for_a_key_one_looks_it_up() {
        let flights = Flights::default();
        let (leader, nobody) = flights.enter([KEYS[0], KEYS[0], KEYS[1]]);
        let leader = leader.unwrap();
        assert_eq!((leader.keys.len(), nobody.0.len()), (2, 0));
        let followers: Vec<_> = (0..999).map(|_| flights.enter([KEYS[0]])).collect();
        assert!(followers.iter().all(|(leader, followed)| leader.is_none() && followed.0.len() == 1));
        let (second, followed) = flights.enter(KEYS);
        assert_eq!(second.unwrap().keys, [KEYS[2]]);
        assert_eq!(flights.joined(), 999 + 2);
        let mut looked = Looked::new();
        let mut waiting = Box::pin(followed.wait(&mut looked));
        assert!(waiting.as_mut().now_or_never().is_none());
        leader.finish(&found(KEYS[0]));
        waiting.await;
        assert_eq!(looked.keys().collect::<Vec<_>>(), [&KEYS[0]]);
        for (_, followed) in followers {
            let mut looked = Looked::new();
            followed.wait(&mut looked).await;
            assert_eq!(looked.len(), 1);
        }
        assert!(flights.enter(KEYS).0.is_some_and(|leader| leader.keys.len() == 3), "all is forgotten");
    }

    #[tokio::test]
    async fn a_leader_who_goes_away_keeps_nobody_waiting() {
        let flights = Flights::default();
        let (leader, _) = flights.enter(KEYS);
        let (_, followed) = flights.enter(KEYS);
        drop(leader);
        let mut looked = Looked::new();
        followed.wait(&mut looked).now_or_never().unwrap();
        assert!(looked.is_empty());
    }
}
