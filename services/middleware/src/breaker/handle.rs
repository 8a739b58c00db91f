//! A breaker with a clock, shared by everyone who calls the same thing.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::policy::{Admission, BreakerConfig, Policy, Ticket};

/// The breaker in front of one thing.
#[derive(Debug)]
pub struct Breaker {
    name: String,
    made: Instant,
    policy: Mutex<Policy>,
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
        Arc::new(Self { name: name.into(), made: Instant::now(), policy: Mutex::new(Policy::new(config)) })
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
            Admission::Refuse(retry_after) => Err(Open { retry_after }),
        }
    }

    /// True while calls are let through as they come.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.policy().is_closed()
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
