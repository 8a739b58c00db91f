//! Whether this process does the Queue's work, which means: it owns shards, and what it is given is committed.
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

use crate::store::StoreError;

/// The health of the Queue, as its owner finds it.
#[derive(Clone, Debug)]
pub(crate) struct OwnerHealth {
    health: Health,
    /// It owns shards and has taken them up.
    works: Arc<AtomicBool>,
}

impl OwnerHealth {
    /// Not ready.
    pub(crate) fn new(health: Health) -> Self {
        health.not_serving("taking shards over");
        Self { health, works: Arc::default() }
    }

    /// A new generation begins.
    pub(crate) fn begins(&self) {
        self.health.not_serving("taking shards over");
    }

    /// Who owns the shards cannot be seen, or none can be taken.
    pub(crate) fn waits_for_postgres(&self, error: &StoreError) {
        if !self.works.load(Ordering::Relaxed) {
            self.health.not_serving(format!("cannot take shards over: {}", chain(error)));
        }
    }

    /// It works on so many shards. Others own all the rest, or not.
    pub(crate) fn owns(&self, shards: usize, rest_is_owned: bool) {
        if shards > 0 {
            if !self.works.swap(true, Ordering::Relaxed) {
                self.health.serving();
            }
            return;
        }
        self.works.store(false, Ordering::Relaxed);
        self.health.not_serving(if rest_is_owned {
            "owns no shard: others own all and have given none up yet"
        } else {
            "owns no shard yet"
        });
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
    fn an_owner_is_ready_once_it_has_taken_shards_up_and_commits() {
        let health = Health::new();
        let owner = OwnerHealth::new(health.clone());
        owner.begins();
        owner.commits();
        assert_eq!(health.state(), Err("taking shards over".to_owned()), "it has not read what is unfinished");
        owner.owns(0, true);
        owner.commits();
        assert!(health.state().unwrap_err().contains("others own all"));
        owner.owns(21, true);
        assert_eq!(health.state(), Ok(()));
        owner.fails(&StoreError::Unknown { what: "renew" });
        assert!(health.state().unwrap_err().starts_with("Postgres does not commit: cannot renew"));
        // Only what commits says that it commits again.
        owner.owns(21, true);
        assert!(health.state().is_err());
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
        owner.owns(1, true);
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
