//! apalis-postgres: pushed in bulk, notified and polled; it stores each task's result itself, as JSON.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
    time::Duration,
};

use apalis::prelude::*;
use apalis_postgres::{Config, PostgresStorage, queries::push_tasks};
use peer_frame::{Peer, Task, measure, phase, setting, variable};
use sqlx::postgres::{PgPool, PgPoolOptions};

const VIEW: &str = "create view results_v as
    select (convert_from(job, 'UTF8')::jsonb->>'i')::bigint task_id,
           decode(coalesce(last_result->>'Ok', last_result#>>'{}'), 'hex') digest
    from apalis.jobs where status = 'Done'";
const UNFINISHED: &str = "select exists(select 1 from apalis.jobs where status in ('Pending', 'Queued', 'Running'))";

#[derive(Clone)]
struct Apalis {
    pool: PgPool,
    /// Handlers that have returned.
    ran: Arc<AtomicI64>,
}

impl Peer for Apalis {
    async fn insert(&self, from: i64, to: i64) {
        let encoded = |i| serde_json::to_vec(&Task::new(i)).unwrap();
        let tasks = (from..to).map(|i| TaskBuilder::new(encoded(i)).build()).collect();
        let mut transaction = self.pool.begin().await.unwrap();
        push_tasks(&mut *transaction, "q", tasks).await.unwrap();
        transaction.commit().await.unwrap();
    }

    /// A handler returns before its result is committed, so the end is looked for in the table.
    async fn wait(&self, results: i64, phase: &str) {
        let every = if phase == "latency" { Duration::from_micros(500) } else { Duration::from_millis(20) };
        while self.ran.load(SeqCst) < results {
            tokio::time::sleep(every).await;
        }
        while sqlx::query_scalar::<_, bool>(UNFINISHED).fetch_one(&self.pool).await.unwrap() {
            tokio::time::sleep(every).await;
        }
    }
}

async fn hash(task: Task, ran: Data<Arc<AtomicI64>>) -> Result<String, BoxDynError> {
    let digest = hex::encode(task.digest());
    ran.fetch_add(1, SeqCst);
    Ok(digest)
}

fn start_worker(peer: &Apalis, number: usize) {
    let config =
        Config::default().queue("q").batch_size(setting("claim", 2000)).lock_tasks(false).persist_results(true);
    let backend = PostgresStorage::<Task>::new(&peer.pool)
        .with_config(config)
        .with_pubsub()
        .poll_with_interval(Duration::from_millis(10));
    let worker = WorkerBuilder::new(format!("w{number}"))
        .backend(backend)
        .data(peer.ran.clone())
        .concurrency(setting("concurrency", 2000))
        .build(hash);
    tokio::spawn(async move { worker.run().await.unwrap() });
}

#[tokio::main]
async fn main() {
    let phase = phase();
    let pool = PgPoolOptions::new().max_connections(24).connect(&variable("DATABASE_URL")).await.unwrap();
    if phase == "setup" {
        PostgresStorage::setup(&pool).await.unwrap();
        sqlx::raw_sql(VIEW).execute(&pool).await.unwrap();
        return;
    }
    let peer = Apalis { pool, ran: Arc::default() };
    (0..setting("workers", 1)).for_each(|number| start_worker(&peer, number));
    measure(&peer, &phase).await;
}
