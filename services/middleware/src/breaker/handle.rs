//! A breaker with a clock, shared by everyone who calls the same thing.

use std::{
    any::Any,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::policy::{Admission, BreakerConfig, BreakerState, Policy, Ticket};

/// The breaker in front of one thing.
#[derive(Debug)]
pub struct Breaker {
    name: String,
    made: Instant,
    policy: Mutex<Policy>,
    refused: AtomicU64,
    opened: AtomicU64,
    kept: OnceLock<Box<dyn Any + Send + Sync>>,
}

/// What a breaker does now and has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerStats {
    /// Now.
    pub state: BreakerState,
    /// Calls that were refused.
    pub refused: u64,
    /// Times that it opened, probes that failed included.
    pub opened: u64,
}

/// A call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// When another try may be let through, at the earliest.
    pub retry_after: Duration,
}

/// A call that was let through. Given up without a word it leaves its place to another, unless it had waited so long that
/// this is a word too.
#[derive(Debug)]
#[must_use]
pub struct Attempt {
    breaker: Arc<Breaker>,
    ticket: Ticket,
    began: Instant,
    told: bool,
}

impl Breaker {
    /// A closed one. `name` is for the log: what it stands in front of.
    #[must_use]
    pub fn new(name: impl Into<String>, config: BreakerConfig) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            made: Instant::now(),
            policy: Mutex::new(Policy::new(config)),
            refused: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            kept: OnceLock::new(),
        })
    }

    /// Whether a call may be made now.
    ///
    /// # Errors
    /// If not: the caller answers at once.
    pub fn enter(self: &Arc<Self>) -> Result<Attempt, Open> {
        match self.policy().admit(self.made.elapsed()) {
            Admission::Pass(ticket) => {
                Ok(Attempt { breaker: Arc::clone(self), ticket, began: Instant::now(), told: false })
            }
            Admission::Refuse(retry_after) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Err(Open { retry_after })
            }
        }
    }

    /// True while calls are let through as they come.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.policy().is_closed()
    }

    /// What it does now and has done so far.
    #[must_use]
    pub fn stats(&self) -> BreakerStats {
        BreakerStats {
            state: self.policy().state(self.made.elapsed()),
            refused: self.refused.load(Ordering::Relaxed),
            opened: self.opened.load(Ordering::Relaxed),
        }
    }

    /// Keeps this for as long as there is the breaker, for example what reads its [`stats`](Self::stats). The first only.
    pub fn keep(&self, kept: impl Any + Send + Sync) {
        let _ = self.kept.set(Box::new(kept));
    }

    fn policy(&self) -> MutexGuard<'_, Policy> {
        // No code panics while it holds the lock.
        self.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, ticket: Ticket, failed: bool) {
        let mut policy = self.policy();
        let was_closed = policy.is_closed();
        let opened = policy.record(self.made.elapsed(), ticket, failed, rand::random());
        let is_closed = policy.is_closed();
        drop(policy);
        self.opened.fetch_add(u64::from(opened), Ordering::Relaxed);
        if opened && was_closed {
            tracing::warn!(breaker = self.name, "open: calls are refused until a probe succeeds");
        } else if is_closed && !was_closed {
            tracing::info!(breaker = self.name, "closed again");
        }
    }
}

impl Attempt {
    /// It has answered, whatever it said.
    pub fn succeeded(&mut self) {
        self.tell(false);
    }

    /// It has failed.
    pub fn failed(&mut self) {
        self.tell(true);
    }

    fn tell(&mut self, failed: bool) {
        self.told = true;
        self.breaker.record(self.ticket, failed);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.told {
            return;
        }
        let hangs_after = self.breaker.policy().config().hangs_after;
        if self.began.elapsed() >= hangs_after {
            self.tell(true);
        } else {
            self.breaker.policy().release(self.ticket);
        }
    }
}
