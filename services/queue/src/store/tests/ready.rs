//! Readiness against a real Postgres: it is there and does not commit, or belongs to another.

use std::{sync::Arc, time::Duration};

use hashmesh_database::Database;
use hashmesh_runtime::{
    health::{Health, HealthWatch},
    shutdown::Shutdown,
};
use tokio::{sync::watch, task::JoinHandle};

use super::cluster::database;
use crate::{
    QueueConfig,
    engine::EngineHandle,
    owner::{self, Shown},
};

/// An owner of a database's queue.
pub(super) struct Queue {
    health: HealthWatch,
    shutdown: Shutdown,
    current: watch::Receiver<Option<EngineHandle>>,
    owner: JoinHandle<()>,
}

impl Queue {
    fn start(db: &Database) -> Self {
        let (health, shutdown) = (Health::new(), Shutdown::new());
        let (sender, current) = watch::channel(None);
        let config = QueueConfig {
            ownership_duration: Duration::from_secs(4),
            ..QueueConfig::new(db.clone(), "http://here".to_owned())
        };
        let shown = Shown { storage: Arc::default(), measures: Arc::default() };
        let owner = tokio::spawn(owner::run(config, health.clone(), sender, shown, shutdown.clone()));
        Self { health: health.watch(), shutdown, current, owner }
    }

    pub(super) async fn started(db: &Database) -> Self {
        let mut queue = Self::start(db);
        queue.is(Ok(())).await;
        queue
    }

    async fn is(&mut self, wanted: Result<(), &str>) {
        let reached = async {
            while self.health.state() != wanted.map_err(str::to_owned) {
                assert!(self.health.changed().await);
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(30), reached).await;
        assert!(reached.is_ok(), "wanted {wanted:?}, found {:?}", self.health.state());
    }

    /// The way to its engine, while it is ready.
    pub(super) fn engine(&self) -> EngineHandle {
        self.current.borrow().clone().unwrap()
    }

    pub(super) async fn stop(self) {
        drop(self.current);
        self.shutdown.begin();
        self.owner.await.unwrap();
    }
}

#[tokio::test]
async fn a_queue_whose_postgres_does_not_commit_is_not_ready_until_it_does_again() {
    let db = database().await;
    let mut queue = Queue::started(&db).await;
    let blocker = db.dedicated("blocker").await.unwrap();
    blocker.batch_execute("BEGIN; LOCK TABLE shard_leases IN ACCESS EXCLUSIVE MODE").await.unwrap();
    queue.is(Err("Postgres does not answer")).await;
    blocker.batch_execute("ROLLBACK").await.unwrap();
    queue.is(Ok(())).await;
    queue.stop().await;
}

#[tokio::test]
async fn a_queue_that_another_process_owns_says_so_and_takes_over_when_that_goes() {
    let db = database().await;
    let first = Queue::started(&db).await;
    let mut second = Queue::start(&db);
    second.is(Err("standby: another process owns the queue")).await;
    first.stop().await;
    second.is(Ok(())).await;
    second.stop().await;
}
