//! awa: its queue storage, filled by COPY. It keeps no results, so handlers put their digests into a table of ours, grouped
//! as they come.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
    time::Duration,
};

use awa::{
    Client, InsertOpts, InsertParams, JobArgs, JobError, JobResult, PartitionedQueue, QueueConfig, QueueStorage,
    QueueStorageConfig, migrations,
};
use peer_frame::{Peer, Task, measure, phase, setting, variable};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::sync::{Mutex, Notify, mpsc, oneshot};

const RESULTS: &str = "create table results(task_id bigint primary key, digest bytea not null);
    create view results_v as select * from results";
const SHARDS: &str = "insert into awa.queue_meta (queue, enqueue_shards) values ('q', $1)
    on conflict (queue) do update set enqueue_shards = excluded.enqueue_shards";
const INSERT: &str = "insert into results select * from unnest($1::bigint[], $2::bytea[]) on conflict do nothing";

#[derive(Debug, Serialize, Deserialize)]
struct Hash(Task);

impl JobArgs for Hash {
    fn kind() -> &'static str {
        "hash"
    }
}

#[derive(Clone)]
struct Awa {
    pool: PgPool,
    storage: Arc<QueueStorage>,
    queue: PartitionedQueue,
    /// Digests that are committed.
    done: Arc<AtomicI64>,
    more_done: Arc<Notify>,
}

impl Peer for Awa {
    async fn insert(&self, from: i64, to: i64) {
        let queues = self.queue.physical_queues();
        let queue = &queues[(from / (to - from)) as usize % queues.len()];
        let tasks: Vec<_> = (from..to)
            .map(|i| InsertParams {
                kind: Hash::kind().into(),
                args: serde_json::to_value(Task::new(i)).unwrap(),
                opts: InsertOpts { queue: queue.clone(), ..Default::default() },
            })
            .collect();
        self.storage.enqueue_params_copy(&self.pool, &tasks).await.unwrap();
    }

    async fn wait(&self, results: i64, _phase: &str) {
        while self.done.load(SeqCst) < results {
            self.more_done.notified().await;
        }
    }
}

/// A digest, and whom to tell once it is committed.
type Digest = (i64, Vec<u8>, oneshot::Sender<()>);

/// Commits whatever has come, up to 2,000 digests at a time.
async fn write_digests(peer: Awa, digests: Arc<Mutex<mpsc::Receiver<Digest>>>) {
    loop {
        let mut group = Vec::new();
        if digests.lock().await.recv_many(&mut group, 2000).await == 0 {
            return;
        }
        let numbers: Vec<i64> = group.iter().map(|digest| digest.0).collect();
        let bytes: Vec<&[u8]> = group.iter().map(|digest| &digest.1[..]).collect();
        sqlx::query(INSERT).bind(&numbers).bind(&bytes).execute(&peer.pool).await.unwrap();
        peer.done.fetch_add(group.len() as i64, SeqCst);
        for (_, _, committed) in group {
            let _ = committed.send(());
        }
        peer.more_done.notify_one();
    }
}

async fn hash(task: Task, digests: mpsc::Sender<Digest>) -> Result<JobResult, JobError> {
    let (committed, wait) = oneshot::channel();
    digests.send((task.i, task.digest(), committed)).await.map_err(|_| JobError::terminal("no writer"))?;
    wait.await.map_err(|_| JobError::terminal("not committed"))?;
    Ok(JobResult::Completed)
}

fn storage_config() -> QueueStorageConfig {
    QueueStorageConfig { queue_stripe_count: setting("stripes", 1), ..Default::default() }
}

async fn set_up(pool: &PgPool) {
    migrations::run(pool).await.unwrap();
    sqlx::raw_sql(RESULTS).execute(pool).await.unwrap();
    let shards = setting("enqueue_shards", 1);
    if shards > 1 {
        sqlx::query(SHARDS).bind(shards as i16).execute(pool).await.unwrap();
    }
}

fn main() {
    for (name, variable) in [("completion", "AWA_COMPLETION_BATCH_SIZE"), ("shards", "AWA_COMPLETION_SHARDS")] {
        let value = setting(name, 0);
        if value > 0 {
            // SAFETY: there is no other thread yet.
            unsafe { std::env::set_var(variable, value.to_string()) }
        }
    }
    tokio::runtime::Runtime::new().unwrap().block_on(run());
}

async fn run() {
    let phase = phase();
    let pool = PgPoolOptions::new().max_connections(24).connect(&variable("DATABASE_URL")).await.unwrap();
    if phase == "setup" {
        return set_up(&pool).await;
    }
    let storage = Arc::new(QueueStorage::new(storage_config()).unwrap());
    let queue = PartitionedQueue::new("q", setting("partitions", 1)).unwrap();
    let peer = Awa { pool, storage, queue, done: Arc::default(), more_done: Arc::default() };
    let (sender, digests) = mpsc::channel(20_000);
    let digests = Arc::new(Mutex::new(digests));
    for _ in 0..2 {
        tokio::spawn(write_digests(peer.clone(), digests.clone()));
    }
    let config = QueueConfig {
        max_workers: setting("workers", 4096) as u32,
        claimers: 1,
        claim_batch_size: setting("claim", 2048),
        poll_interval: Duration::from_millis(50),
        deadline_duration: Duration::ZERO,
        ..Default::default()
    };
    let second = Duration::from_secs(1);
    let client = Client::builder(peer.pool.clone())
        .partitioned_queue(&peer.queue, config)
        .queue_storage(storage_config(), second, second)
        .register::<Hash, _, _>(move |Hash(task), _| hash(task, sender.clone()))
        .build()
        .unwrap();
    client.start().await.unwrap();
    measure(&peer, &phase).await;
    client.shutdown(Duration::from_secs(10)).await;
}
