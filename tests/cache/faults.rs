//! Redis and Postgres go away in the middle of it.

use std::{
    fs,
    os::unix::ffi::OsStrExt as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use hashmesh::{
    tasks::file_uri,
    v1::{CacheStats, Expansion, SubmissionOptions, SubmissionState},
};

use tokio::task::JoinHandle;

use super::service::{Client, digest, object, state};
use crate::support::{
    Database, Gateway, Up,
    cli::program,
    oracle,
    redis::Redis,
    redis_cluster::RedisCluster,
    rundir,
    sentinel::Sentinels,
    wait::{PATIENCE, until},
};

/// Callers at once.
const CALLERS: usize = 16;
/// Objects of each question.
const TOGETHER: usize = 16;
const OBJECTS: usize = 2_000;

/// What callers were answered, while they ask without a pause.
#[derive(Default)]
struct Asked {
    calls: AtomicU64,
    failed: AtomicU64,
    /// Objects that were not known although they were put.
    missed: AtomicU64,
    over: AtomicBool,
}

/// Callers who ask without a pause, and check every answer.
struct Load {
    service: Client,
    asked: Arc<Asked>,
    callers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Upon a Cache service with this Redis, in whose memory nothing stays for long, so that Redis is asked again and again.
    async fn start(name: &str, redis: &str) -> Self {
        let database = Database::create().await;
        // Longer than a busy machine makes anybody wait.
        let options = ["--cache-memory-ttl", "1s", "--cache-warm", "0", "--redis-timeout", "250ms"];
        let mut service = Client::start(name, &database, Some(redis), &options).await;
        service.put_all("t", 0..1_000).await;
        service.put_all("t", 1_000..OBJECTS).await;
        let asked = Arc::new(Asked::default());
        let callers = (0..CALLERS).map(|caller| tokio::spawn(ask(service.clone(), caller, Arc::clone(&asked))));
        let callers = callers.collect();
        Self { service, asked, callers }
    }

    /// So many more answers, whatever goes on meanwhile.
    async fn goes_on(&self, what: &str) {
        let before = self.asked.calls.load(Ordering::Relaxed);
        until(what, PATIENCE, async || (self.asked.calls.load(Ordering::Relaxed) > before + 2_000).then_some(())).await;
    }

    /// Redis answers again.
    async fn is_helped_by_redis(&mut self) {
        let hits = self.service.stats().await.redis_hits;
        until("Redis to be used again", PATIENCE, async || {
            (self.service.stats().await.redis_hits > hits + 1_000).then_some(())
        })
        .await;
    }

    /// Every call was answered, every answer right, and all but a few of the objects were known.
    async fn was_served(mut self) -> CacheStats {
        self.asked.over.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.await.expect("its answers were right");
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (calls, failed, missed) = (count(&self.asked.calls), count(&self.asked.failed), count(&self.asked.missed));
        assert_eq!(failed, 0, "of {calls} calls");
        let objects = calls * TOGETHER as u64;
        assert!(missed * 20 <= objects, "{missed} of {objects} were not known");
        self.service.stats().await
    }
}

async fn ask(mut client: Client, caller: usize, asked: Arc<Asked>) {
    let mut from = caller * 97;
    while !asked.over.load(Ordering::Relaxed) {
        from = (from + 131) % (OBJECTS - TOGETHER);
        match client.try_find("t", (from..from + TOGETHER).map(object).collect()).await {
            Ok(found) => {
                for (number, found) in (from..).zip(found) {
                    match found {
                        Some(found) => assert_eq!(found, (state(number, 0), digest(number, 0))),
                        None => drop(asked.missed.fetch_add(1, Ordering::Relaxed)),
                    }
                }
            }
            Err(_) => drop(asked.failed.fetch_add(1, Ordering::Relaxed)),
        }
        asked.calls.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn promise_8_redis_is_emptied_stopped_and_killed_and_every_question_is_answered_rightly() {
    let mut redis = Redis::start("faulty-redis").await;
    let mut load = Load::start("faulty-cache", &redis.url()).await;
    load.goes_on("answers").await;
    let flushed = program("redis-cli", ["-u", &redis.url(), "FLUSHALL"]).run().await.succeeded();
    assert_eq!(flushed.text().trim(), "OK");
    load.goes_on("answers of an empty Redis").await;
    redis.freeze();
    load.goes_on("answers while Redis is stopped").await;
    redis.thaw();
    load.goes_on("answers of a Redis that goes on").await;
    redis.kill();
    load.goes_on("answers without Redis").await;
    redis.restart().await;
    load.is_helped_by_redis().await;
    let stats = load.was_served().await;
    assert!(stats.redis_failures > 0 && stats.postgres_hits > 0, "{stats:?}");
}

#[tokio::test]
async fn when_a_primary_behind_sentinels_dies_under_load_the_next_one_is_found() {
    let mut sentinels = Sentinels::start("entries-sentinels").await;
    let mut load = Load::start("entries-sentinels-cache", &sentinels.url()).await;
    load.is_helped_by_redis().await;
    sentinels.first_primary().kill();
    load.goes_on("answers while there is no primary").await;
    load.is_helped_by_redis().await;
    let stats = load.was_served().await;
    assert!(stats.redis_failures > 0, "{stats:?}");
}

#[tokio::test]
async fn when_a_primary_of_a_cluster_dies_under_load_its_replica_takes_its_place() {
    let mut cluster = RedisCluster::start("entries-cluster").await;
    let mut load = Load::start("entries-cluster-cache", &cluster.url()).await;
    load.is_helped_by_redis().await;
    cluster.primary_of("any key").kill();
    load.goes_on("answers while a primary is away").await;
    load.is_helped_by_redis().await;
    // Those of its slots, too: of 2,000 questions, each about keys of all slots, hardly one fails any more.
    until("the whole cluster to answer", PATIENCE, async || {
        let before = load.service.stats().await.redis_failures;
        load.goes_on("answers of the whole cluster").await;
        (load.service.stats().await.redis_failures <= before + 20).then_some(())
    })
    .await;
    load.was_served().await;
}

#[tokio::test]
async fn promises_2_and_7_whatever_becomes_of_the_cache_every_task_gets_its_digest() {
    let tree = rundir::directory("cacheless-tree");
    let contents: Vec<String> = (0..2_000).map(|number| format!("content {number}")).collect();
    for (number, content) in contents.iter().enumerate() {
        fs::write(tree.join(number.to_string()), content).expect("a file");
    }
    let wanted = oracle::digests("sha256", contents.iter().map(String::as_bytes));
    let mut redis = Redis::start("cacheless-redis").await;
    let options = ["--allow-source", tree.to_str().expect("UTF-8"), "--redis-url", &redis.url()];
    let up = Up::start("cacheless", &options).await;
    let mut gateway = Gateway::connect(&up.server).await;
    let database = Database::of_url(up.database_url());
    for fault in ["none", "none again", "redis stopped", "redis killed", "tables locked", "tables gone"] {
        // Let go when it is dropped.
        let lock = database.client().await;
        match fault {
            "redis stopped" => redis.freeze(),
            "redis killed" => {
                redis.thaw();
                redis.kill();
            }
            "tables locked" => {
                let sql = "BEGIN; LOCK TABLE cache_entries, cache_invalidations, cache_state IN ACCESS EXCLUSIVE MODE";
                lock.batch_execute(sql).await.expect("locked");
            }
            "tables gone" => {
                let sql = "DROP TABLE cache_entries, cache_invalidations, cache_state";
                lock.batch_execute(sql).await.expect("dropped");
            }
            _ => {}
        }
        let uri = format!("{}/", file_uri(tree.as_os_str().as_bytes()));
        let expansion = Some(Expansion { source_uri: uri.clone() });
        let options = SubmissionOptions { expansion, ..SubmissionOptions::default() };
        let request = hashmesh::gateway::v1::CreateSubmissionRequest { options: Some(options), ..Default::default() };
        let opened = gateway.create_submission(request).await.expect("created").into_inner().opened.expect("it");
        let end = gateway.reaches(&opened.submission_id, SubmissionState::Completed).await;
        assert_eq!(end.succeeded_tasks, 2_000, "{fault}: {end:?}");
        let outcomes = gateway.outcomes_after(&opened.submission_id, 0).await;
        assert_eq!(outcomes.len(), 2_000);
        for outcome in outcomes {
            let number: usize = outcome.name.rsplit('/').next().and_then(|name| name.parse().ok()).expect("a number");
            assert_eq!(outcome.digests[0].hex, hex::encode(&wanted[number]), "{fault}: {number}");
        }
    }
}
