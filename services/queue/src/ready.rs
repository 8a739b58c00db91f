//! Whether this process does the Queue's work, which means: it owns the queue, and what it is given is committed.
//!
//! The ownership is renewed about once a second, by a transaction that writes. So the renewals tell, also when nobody brings
//! anything, whether Postgres commits; and an owner whose renewal fails, or has no answer for too long, is not ready before
//! one succeeds again. Streams that are open go on all the while.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hashmesh_runtime::{health::Health, telemetry::chain};

use crate::store::{AcquireWait, StoreError};

/// The health of the Queue, as its owner finds it.
#[derive(Clone, Debug)]
pub(crate) struct OwnerHealth {
    health: Health,
    /// It owns the queue and has taken everything up.
    works: Arc<AtomicBool>,
}

impl OwnerHealth {
    /// Not ready.
    pub(crate) fn new(health: Health) -> Self {
        health.not_serving("taking the queue over");
        Self { health, works: Arc::default() }
    }

    /// The queue cannot be taken over yet.
    pub(crate) fn waits(&self, what: AcquireWait<'_>) {
        self.health.not_serving(match what {
            AcquireWait::Owner => "standby: another process owns the queue".to_owned(),
            AcquireWait::Postgres(error) => format!("cannot take the queue over: {}", chain(error)),
        });
    }

    /// It was taken over, and what is unfinished is read.
    pub(crate) fn took_over(&self) {
        self.health.not_serving("took the queue over; reading what is unfinished");
    }

    /// Everything is taken up.
    pub(crate) fn works(&self) {
        self.works.store(true, Ordering::Relaxed);
        self.health.serving();
    }

    /// Postgres has committed something.
    pub(crate) fn commits(&self) {
        if self.works.load(Ordering::Relaxed) {
            self.health.serving();
        }
    }

    /// Postgres has not committed what it should have.
    pub(crate) fn fails(&self, error: &StoreError) {
        self.health.not_serving(format!("Postgres does not commit: {}", chain(error)));
    }

    /// The ownership has ended; another is waited for.
    pub(crate) fn ended(&self, error: &dyn Error) {
        self.works.store(false, Ordering::Relaxed);
        self.health.not_serving(chain(error));
    }

    /// Waits for Postgres. Not ready once that takes as long as is left of an ownership of this duration to renew it twice
    /// more.
    pub(crate) async fn in_time<T>(&self, ownership: Duration, answer: impl Future<Output = T>) -> T {
        let mut answer = std::pin::pin!(answer);
        match tokio::time::timeout(ownership * 2 / 5, &mut answer).await {
            Ok(answer) => answer,
            Err(_) => {
                self.health.not_serving("Postgres does not answer");
                answer.await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_ready_once_it_has_taken_everything_up_and_commits() {
        let health = Health::new();
        let owner = OwnerHealth::new(health.clone());
        owner.waits(AcquireWait::Owner);
        assert_eq!(health.state(), Err("standby: another process owns the queue".to_owned()));
        owner.took_over();
        owner.commits();
        assert!(health.state().is_err(), "it has not read what is unfinished");
        owner.works();
        assert_eq!(health.state(), Ok(()));
        owner.fails(&StoreError::Unknown { what: "renew" });
        assert!(health.state().unwrap_err().starts_with("Postgres does not commit: cannot renew"));
        owner.commits();
        assert_eq!(health.state(), Ok(()));
        owner.ended(&StoreError::Fenced { what: "renew" });
        owner.commits();
        assert!(health.state().unwrap_err().contains("another process owns the shard"));
    }

    #[tokio::test]
    async fn an_owner_whose_postgres_does_not_answer_is_not_ready() {
        let health = Health::new();
        let owner = OwnerHealth::new(health.clone());
        owner.works();
        owner.in_time(Duration::from_secs(600), std::future::ready(())).await;
        assert_eq!(health.state(), Ok(()));
        let mut changes = health.watch();
        let (answer, answered) = tokio::sync::oneshot::channel::<()>();
        let (waits, ()) = tokio::join!(owner.in_time(Duration::ZERO, answered), async {
            assert!(changes.changed().await);
            assert_eq!(changes.state(), Err("Postgres does not answer".to_owned()));
            answer.send(()).unwrap();
        });
        waits.unwrap();
        owner.commits();
        assert_eq!(health.state(), Ok(()));
    }
}
