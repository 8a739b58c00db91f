//! A way between two processes whose condition a test chooses: slow, narrow, torn, half open, a black hole, reset.
//!
//! Processes of several roles may come to the same address, as it is the one that a server tells all of: each role has a way of its
//! own then ([`Proxy::way_of`]).
//!
//! What is random in it (delays, where a connection is torn) follows from a seed and the connection's number.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};
use tokio_util::task::AbortOnDropHandle;

use super::{mesh::own_host, peer};

const BUFFER_BYTES: usize = 64 * 1024;

/// Which way something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From who connected.
    Up,
    /// To who connected.
    Down,
}

/// What becomes of the connections, those that are open and new ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Condition {
    Fair,
    /// Everything comes later, by up to twice as much.
    Slow(Duration),
    /// No more comes through in a second than so many bytes, in each direction of each connection.
    Narrow(u32),
    /// Each connection ends in the midst of what it carries, after up to so many bytes.
    Torn(u64),
    /// What goes this way is lost, the other way is open.
    HalfOpen(Direction),
    /// All is lost; new connections are taken all the same.
    BlackHole,
    /// What is sent stands still. Nothing of it is lost.
    Still,
    /// Every connection is reset, new ones at once.
    Reset,
}

impl Condition {
    fn loses(self, direction: Direction) -> bool {
        self == Self::BlackHole || self == Self::HalfOpen(direction)
    }
}

/// What a condition did so far.
#[derive(Debug, Default)]
struct Counters {
    passed_bytes: AtomicU64,
    delayed_bytes: AtomicU64,
    lost_bytes: AtomicU64,
    ended: AtomicU64,
}

/// The ways of roles that have one of their own.
type Roles = Arc<Mutex<Vec<(&'static str, watch::Receiver<Condition>, Arc<Counters>)>>>;

/// Listens on an address of its own, and passes everything on until it is told otherwise.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// `HOST:PORT`.
    pub(crate) address: String,
    target: watch::Sender<Option<SocketAddr>>,
    condition: watch::Sender<Condition>,
    counters: Arc<Counters>,
    roles: Roles,
    /// Ends with the last of its ways.
    task: Arc<AbortOnDropHandle<()>>,
}

impl Proxy {
    /// One that holds connections up until it knows whom they are for.
    pub(crate) async fn open(seed: u64) -> Self {
        let listener = TcpListener::bind((own_host(), 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (target, targeted) = watch::channel(None);
        let (condition, conditioned) = watch::channel(Condition::Fair);
        let counters = Arc::new(Counters::default());
        let counted = Arc::clone(&counters);
        let roles = Roles::default();
        let known = Arc::clone(&roles);
        let task = tokio::spawn(async move {
            let mut number: u64 = 0;
            while let Ok((client, from)) = listener.accept().await {
                number += 1;
                let own = of_role(&known, from);
                let (condition, counters) = own.unwrap_or_else(|| (conditioned.clone(), Arc::clone(&counted)));
                let way = Way {
                    condition,
                    counters,
                    spoilt: Arc::default(),
                    // Another sequence for each connection; the odd factor spreads their numbers over all bits.
                    seed: seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
                };
                tokio::spawn(way.pass(client, targeted.clone()));
            }
        });
        Self { address, target, condition, counters, roles, task: Arc::new(AbortOnDropHandle::new(task)) }
    }

    /// The way of those who come as this role from now on: the same address, and a condition of its own.
    pub(crate) fn way_of(&self, role: &'static str) -> Self {
        let (condition, conditioned) = watch::channel(Condition::Fair);
        let counters = Arc::new(Counters::default());
        self.roles.lock().expect("nobody panics with it").push((role, conditioned, Arc::clone(&counters)));
        let (address, target, task) = (self.address.clone(), self.target.clone(), Arc::clone(&self.task));
        Self { address, target, condition, counters, roles: Arc::clone(&self.roles), task }
    }

    /// Whom the connections are for.
    pub(crate) fn leads_to(&self, server: &str) {
        self.target.send_replace(Some(server.parse().expect("an address")));
    }

    /// `http://HOST:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on. A connection that has lost something is reset once the condition is fair again: nothing sensible could follow.
    pub(crate) fn becomes(&self, condition: Condition) {
        self.condition.send_replace(condition);
    }

    pub(crate) fn passed_bytes(&self) -> u64 {
        self.counters.passed_bytes.load(Ordering::Relaxed)
    }

    /// How often the present condition and those before have hit: bytes delayed or lost, and connections ended.
    pub(crate) fn hits(&self) -> [u64; 3] {
        let Counters { delayed_bytes, lost_bytes, ended, .. } = &*self.counters;
        [delayed_bytes, lost_bytes, ended].map(|counter| counter.load(Ordering::Relaxed))
    }
}

/// The way of whoever comes from this address, if its role has one of its own.
fn of_role(roles: &Roles, from: SocketAddr) -> Option<(watch::Receiver<Condition>, Arc<Counters>)> {
    let roles = roles.lock().expect("nobody panics with it");
    // To look is not free.
    let arguments = if roles.is_empty() { None } else { peer::arguments_of(from) }?;
    let own = roles.iter().find(|(role, ..)| arguments.iter().any(|argument| argument == role));
    own.map(|(_, condition, counters)| (condition.clone(), Arc::clone(counters)))
}

/// One connection's way.
#[derive(Clone, Debug)]
struct Way {
    condition: watch::Receiver<Condition>,
    counters: Arc<Counters>,
    /// Something of it is lost.
    spoilt: Arc<AtomicBool>,
    seed: u64,
}

impl Way {
    async fn pass(self, client: TcpStream, mut target: watch::Receiver<Option<SocketAddr>>) {
        let Ok(target) = target.wait_for(Option::is_some).await.map(|target| *target) else { return };
        let Ok(server) = TcpStream::connect(target.expect("it is some")).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
            (client.into_split(), server.into_split());
        let (mut up, mut down) = (self.clone(), self.clone());
        let reset = tokio::select! {
            // Whoever ends first takes the other along, as a network does not; but both ends have closed by then.
            reset = up.copy(&mut from_client, &mut to_server, Direction::Up) => reset,
            reset = down.copy(&mut from_server, &mut to_client, Direction::Down) => reset,
            () = self.broken() => true,
        };
        if reset {
            self.counters.ended.fetch_add(1, Ordering::Relaxed);
            for stream in [from_client.as_ref(), from_server.as_ref()] {
                // One that is gone is as good as reset.
                let _ = stream.set_zero_linger();
            }
        }
        drop((to_client, to_server));
    }

    /// Waits until this connection cannot go on.
    async fn broken(&self) {
        let spoilt = || self.spoilt.load(Ordering::Relaxed);
        let broken =
            |condition: &Condition| *condition == Condition::Reset || (*condition == Condition::Fair && spoilt());
        if self.condition.clone().wait_for(broken).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// True: the connection is to be reset.
    async fn copy(&mut self, from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, direction: Direction) -> bool {
        let mut random = StdRng::seed_from_u64(self.seed ^ direction as u64);
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut torn_after: Option<u64> = None;
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let mut bytes = &buffer[..length];
            let condition = *self.condition.borrow();
            let counters = Arc::clone(&self.counters);
            let count = bytes.len() as u64;
            if condition.loses(direction) {
                self.spoilt.store(true, Ordering::Relaxed);
                counters.lost_bytes.fetch_add(count, Ordering::Relaxed);
                continue;
            }
            match condition {
                Condition::Slow(latency) => {
                    counters.delayed_bytes.fetch_add(count, Ordering::Relaxed);
                    tokio::time::sleep(latency.mul_f64(random.random_range(1.0..2.0))).await;
                }
                Condition::Narrow(bytes_per_second) => {
                    counters.delayed_bytes.fetch_add(count, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_secs(1).mul_f64(count as f64 / f64::from(bytes_per_second)))
                        .await;
                }
                Condition::Still => {
                    counters.delayed_bytes.fetch_add(count, Ordering::Relaxed);
                    if self.condition.wait_for(|condition| *condition != Condition::Still).await.is_err() {
                        return false;
                    }
                }
                Condition::Torn(within) => {
                    let left = torn_after.get_or_insert_with(|| random.random_range(1..=within));
                    if count >= *left {
                        bytes = &bytes[..usize::try_from(*left - 1).expect("it is less than what was read")];
                        let _ = to.write_all(bytes).await;
                        // Half of them end as a process that closes ends them, half without a word.
                        if random.random() {
                            return true;
                        }
                        counters.ended.fetch_add(1, Ordering::Relaxed);
                        return false;
                    }
                    *left -= count;
                }
                _ => {}
            }
            counters.passed_bytes.fetch_add(count, Ordering::Relaxed);
            if to.write_all(bytes).await.is_err() {
                break;
            }
        }
        if self.condition.borrow().loses(direction) {
            // An end is news too.
            std::future::pending::<()>().await;
        }
        false
    }
}
