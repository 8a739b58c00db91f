//! The connections of a listener: how many there may be, and who gives way.
//!
//! A peer that connects and says nothing costs it nothing, so there may be as many as it likes. Where all places are taken,
//! whoever has been silent for longest gives way to who comes: places are lost only to peers that have begun to speak, and of
//! those one address has its share at most.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::server;

/// The places of one listener.
#[derive(Debug)]
pub(crate) struct Places {
    all: usize,
    per_address: usize,
    free: Arc<Semaphore>,
    /// Whether it was said that there are none.
    full: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// Those who have not begun to speak, in the order in which they came.
    silent: BTreeMap<u64, CancellationToken>,
    by_network: HashMap<IpAddr, usize>,
    came: u64,
}

/// A connection's place, held until this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    network: Option<IpAddr>,
    wanted: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    /// `all` at a time, and `per_address` from one IPv4 address or IPv6 network (/64). Whoever is on this machine, a proxy
    /// for example, may have all.
    pub(crate) fn new(all: usize, per_address: usize) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(all));
        Arc::new(Self { all, per_address, free, full: AtomicBool::new(false), held: Mutex::default() })
    }

    /// A place, once there is one. `None`: this address has its share.
    pub(crate) async fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let network = network(address);
        if let Some(network) = network
            && self.held().by_network.get(&network).is_some_and(|taken| *taken >= self.per_address)
        {
            return None;
        }
        let permit = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => {
                self.full.store(false, Ordering::Relaxed);
                permit
            }
            Err(_) => {
                if !self.full.swap(true, Ordering::Relaxed) {
                    tracing::warn!(max_connections = self.all, "connection limit reached: who is silent gives way");
                }
                let oldest = self.held().silent.pop_first();
                if let Some((_, oldest)) = oldest {
                    oldest.cancel();
                }
                // Never closed.
                Arc::clone(&self.free).acquire_owned().await.ok()?
            }
        };
        let wanted = CancellationToken::new();
        let mut held = self.held();
        held.came += 1;
        let number = held.came;
        held.silent.insert(number, wanted.clone());
        if let Some(network) = network {
            *held.by_network.entry(network).or_default() += 1;
        }
        drop(held);
        Some(Place { places: Arc::clone(self), number, network, wanted, _permit: permit })
    }

    /// Connections that are open.
    pub(crate) fn taken(&self) -> usize {
        self.all.saturating_sub(self.free.available_permits())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // No code panics while it holds the lock.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The peer speaks our protocol: it keeps its place.
    pub(crate) fn keep(&self) {
        self.places.held().silent.remove(&self.number);
    }

    /// Waits until another wants the place.
    pub(crate) async fn wanted(&self) {
        self.wanted.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.held();
        held.silent.remove(&self.number);
        let Some(network) = self.network else { return };
        if let Some(taken) = held.by_network.get_mut(&network) {
            *taken -= 1;
            if *taken == 0 {
                held.by_network.remove(&network);
            }
        }
    }
}

/// Whose share an address counts to; `None` for those that have none.
fn network(address: IpAddr) -> Option<IpAddr> {
    (!address.to_canonical().is_loopback()).then(|| server::network(address))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const HERE: &str = "127.0.0.1";

    fn enter(places: &Arc<Places>, address: &str) -> Option<Option<Place>> {
        places.enter(address.parse().unwrap()).now_or_never()
    }

    #[tokio::test]
    async fn who_is_silent_gives_way_the_oldest_first_and_who_speaks_does_not() {
        let places = Places::new(3, 3);
        let [speaking, old, young] = [(); 3].map(|()| enter(&places, HERE).unwrap().unwrap());
        assert_eq!(places.taken(), 3);
        speaking.keep();
        let mut others = Vec::new();
        for silent in [old, young] {
            let mut coming = Box::pin(places.enter(HERE.parse().unwrap()));
            assert!(coming.as_mut().now_or_never().is_none());
            assert!(silent.wanted().now_or_never().is_some());
            assert!(speaking.wanted().now_or_never().is_none());
            drop(silent);
            let came = coming.await.unwrap();
            came.keep();
            others.push(came);
        }
        // Now all speak, and who comes waits.
        let mut coming = Box::pin(places.enter(HERE.parse().unwrap()));
        assert!(coming.as_mut().now_or_never().is_none());
        assert!(speaking.wanted().now_or_never().is_none());
        drop(speaking);
        assert!(coming.await.is_some());
    }

    #[tokio::test]
    async fn one_address_has_its_share_and_not_more() {
        let places = Places::new(100, 2);
        let mut held = Vec::new();
        for (address, fits) in [
            ("192.0.2.1", true),
            ("192.0.2.1", true),
            ("192.0.2.1", false),
            ("::ffff:192.0.2.1", false),
            ("192.0.2.2", true),
            ("2001:db8::1", true),
            ("2001:db8::ffff:1", true),
            ("2001:db8::2", false),
            ("2001:db8:0:1::1", true),
        ] {
            let place = enter(&places, address).unwrap();
            assert_eq!(place.is_some(), fits, "{address}");
            held.extend(place);
        }
        for _ in 0..10 {
            held.push(enter(&places, HERE).unwrap().unwrap());
        }
        held.remove(0);
        assert!(enter(&places, "192.0.2.1").unwrap().is_some());
        held.clear();
        assert_eq!(places.held().by_network.len(), 0);
        assert_eq!(places.held().silent.len(), 0);
    }
}
