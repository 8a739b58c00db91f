//! Processes that share a real Postgres: who owns what, and who is ready.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hashmesh_database::Database;
use hashmesh_runtime::{
    health::{Health, HealthWatch},
    shutdown::Shutdown,
};
use tokio::{sync::watch, task::JoinHandle};

use uuid::Uuid;

use super::{
    super::{Ownership, release},
    cluster::database,
    fixture::{LONG, new_submission, take_all},
};
use crate::{
    QueueConfig,
    engine::{CreateSubmission, Created, EngineHandle},
    owner::{self, Shown},
    picture::Picture,
    shard::{Shard, ShardSet},
};

/// A process that owns its part of a database's shards.
pub(super) struct Queue {
    process: Uuid,
    health: HealthWatch,
    shutdown: Shutdown,
    current: watch::Receiver<Option<EngineHandle>>,
    picture: watch::Receiver<Arc<Picture>>,
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
        let (pictures, picture) = watch::channel(Arc::default());
        let shown = Shown { storage: Arc::default(), measures: Arc::default(), current: sender, pictures };
        let process = Uuid::now_v7();
        let owner = tokio::spawn(owner::run(config, process, health.clone(), shown, shutdown.clone()));
        Self { process, health: health.watch(), shutdown, current, picture, owner }
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

    /// The shards that it works on.
    fn shards(&self) -> ShardSet {
        self.current.borrow().as_ref().map_or(ShardSet::NONE, |engine| engine.shards().now())
    }

    /// Waits until it sees a picture of this kind.
    async fn sees(&mut self, wanted: impl FnMut(&Arc<Picture>) -> bool) {
        let seen = tokio::time::timeout(Duration::from_secs(30), self.picture.wait_for(wanted)).await.is_ok();
        assert!(seen, "it does not come to see that; it works on {:?}", self.shards());
    }

    /// Waits until it works on what it owns: at first, connected workers are asked what they hold of it.
    async fn works(&self) {
        let works = async {
            while self.shards() != self.picture.borrow().owned_by(self.process) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let works = tokio::time::timeout(Duration::from_secs(30), works).await;
        assert!(works.is_ok(), "it works on {:?} only", self.shards());
    }

    /// Ends it as a crash does: nothing is given back.
    fn crash(self) {
        self.owner.abort();
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

/// Waits until these processes share all shards evenly and each works on what the tables say.
async fn shared(queues: &mut [Queue]) {
    let share = 64_usize.div_ceil(queues.len());
    let ids: Vec<Uuid> = queues.iter().map(|queue| queue.process).collect();
    for queue in queues.iter_mut() {
        queue
            .sees(|picture| {
                picture.free().is_empty() && ids.iter().all(|id| (1..=share).contains(&picture.owned_by(*id).len()))
            })
            .await;
        queue.works().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_join_and_leave_share_the_shards_and_nobody_waits_for_a_lease_to_lapse() {
    let db = database().await;
    let mut queues = vec![Queue::started(&db).await];
    assert_eq!(queues[0].shards(), ShardSet::ALL);
    for _ in 0..2 {
        queues.push(Queue::started(&db).await);
        shared(&mut queues).await;
    }
    let began = Instant::now();
    queues.remove(0).stop().await;
    shared(&mut queues).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(4), "it lapsed: {took:?}");
    for queue in queues {
        queue.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crashed_process_owned_is_shared_by_the_others_once_it_has_lapsed() {
    let db = database().await;
    let mut queues = vec![Queue::started(&db).await, Queue::started(&db).await, Queue::started(&db).await];
    shared(&mut queues).await;
    queues.remove(1).crash();
    shared(&mut queues).await;
    for queue in queues {
        queue.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_whose_lane_breaks_takes_its_own_shards_again_and_leaves_those_of_others_alone() {
    let db = database().await;
    let mut queues = vec![Queue::started(&db).await, Queue::started(&db).await];
    shared(&mut queues).await;
    let (broken, other) = (queues[0].shards(), queues[1].shards());
    let epochs = |picture: &Picture, shards: ShardSet| -> Vec<i64> {
        shards.iter().map(|shard| picture.of(shard).epoch).collect()
    };
    let before = queues[0].picture.borrow().clone();
    // Any of its lanes will do: they stand in the order in which they connected.
    let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE application_name LIKE '%lane' AND datname = current_database()
                 ORDER BY backend_start LIMIT 1";
    db.pooled().await.unwrap().execute(ended, &[]).await.unwrap();
    // It learns of that by what it wants to write next.
    let created = queues[0].engine().create(CreateSubmission { new: new_submission(), whole: None, trace: None }).await;
    assert!(matches!(created, Ok(Created::New(_))), "{created:?}");
    queues[0].sees(|picture| epochs(picture, broken) > epochs(&before, broken)).await;
    shared(&mut queues).await;
    let after = queues[1].picture.borrow().clone();
    assert_eq!(after.owned_by(queues[1].process), other);
    assert_eq!(epochs(&after, other), epochs(&before, other));
    for queue in queues {
        queue.stop().await;
    }
}

#[tokio::test]
async fn a_process_beside_one_that_shares_nothing_stands_by_and_says_so() {
    let db = database().await;
    let old = Ownership::new(Uuid::now_v7(), "http://old".to_owned());
    take_all(&db, &old, LONG).await;
    let mut queue = Queue::start(&db);
    queue.is(Err("owns no shard: others own all and have given none up yet")).await;
    assert_eq!(queue.picture.borrow().address(Shard::of(Uuid::nil())), Some("http://old"));
    release(&db, &old, ShardSet::ALL).await.unwrap();
    queue.is(Ok(())).await;
    assert_eq!(queue.shards(), ShardSet::ALL);
    queue.stop().await;
}
