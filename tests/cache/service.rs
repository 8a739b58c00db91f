//! The Cache service by itself, over its RPCs: layers, tenants, invalidations, values that are none of its own.

use std::sync::Arc;

use bytes::Bytes;
use hashmesh::{
    cache::v1::{
        CachedObject, ComputedEntry, FileState, GetCacheStatsRequest, GetEntriesRequest, InvalidateEntriesRequest,
        ObjectState, PutEntriesRequest, WarmEntriesRequest, cache_service_client::CacheServiceClient,
    },
    error::Reason,
    v1::{Algorithm, ByteRange, CacheStats, ObjectIdentity},
};
use tonic::{Status, transport::Channel};

use crate::support::{
    Database, Role,
    cli::program,
    raw::assert_refused,
    redis::Redis,
    rundir,
    wait::{PATIENCE, until},
};

/// Asks a Cache service for SHA-256 of objects of one machine. The service goes with the last of its clients.
#[derive(Clone)]
pub(super) struct Client {
    service: CacheServiceClient<Channel>,
    role: Arc<Role>,
}

pub(super) fn object(number: usize) -> CachedObject {
    CachedObject { domain: "machine a".to_owned(), uri: format!("file:///srv/{number}"), range: None }
}

/// What the object with this number is, in its first, second … state.
pub(super) fn state(number: usize, version: u64) -> ObjectState {
    let identity = Some(ObjectIdentity { size: 100 + version, ..ObjectIdentity::default() });
    let file = Some(FileState { inode: number as u64, change_time_ns: 1, ..FileState::default() });
    ObjectState { identity, file }
}

/// The digest that the object has in this state.
pub(super) fn digest(number: usize, version: u64) -> Bytes {
    let mut digest = vec![7; 32];
    digest[..8].copy_from_slice(&(number as u64).to_be_bytes());
    digest[8..16].copy_from_slice(&version.to_be_bytes());
    digest.into()
}

fn get(tenant: &str, objects: Vec<CachedObject>) -> GetEntriesRequest {
    let (tenant, algorithms) = (tenant.to_owned(), vec![Algorithm::Sha256.into()]);
    GetEntriesRequest { tenant, algorithms, objects, ..GetEntriesRequest::default() }
}

impl Client {
    /// Starts a Cache service.
    pub(super) async fn start(name: &str, database: &Database, redis: Option<&str>, options: &[&str]) -> Self {
        let mut arguments = vec!["--database-url".to_owned(), database.url.clone()];
        arguments.extend(redis.iter().flat_map(|url| ["--redis-url".to_owned(), (*url).to_owned()]));
        arguments.extend(options.iter().map(|option| (*option).to_owned()));
        let mut role = Role::start("cache", name, arguments, &[], rundir::directory(name)).await;
        role.ready().await;
        let channel = Channel::from_shared(role.url()).expect("a URL").connect().await.expect("it listens");
        Self { service: CacheServiceClient::new(channel), role: Arc::new(role) }
    }

    pub(super) async fn put(
        &mut self,
        tenant: &str,
        generation: u64,
        entries: Vec<ComputedEntry>,
    ) -> Result<(), Status> {
        let (tenant, algorithms) = (tenant.to_owned(), vec![Algorithm::Sha256.into()]);
        let request = PutEntriesRequest { tenant, algorithms, generation, entries, ..PutEntriesRequest::default() };
        self.service.put_entries(request).await.map(drop)
    }

    /// Puts the first states of these objects.
    pub(super) async fn put_all(&mut self, tenant: &str, numbers: std::ops::Range<usize>) {
        let generation = self.generation().await;
        self.put(tenant, generation, numbers.map(|number| computed(number, 0)).collect()).await.expect("kept");
    }

    pub(super) async fn generation(&mut self) -> u64 {
        self.service.get_entries(get("t", Vec::new())).await.expect("it answers").into_inner().generation
    }

    /// What is known of these objects.
    pub(super) async fn find(
        &mut self,
        tenant: &str,
        numbers: std::ops::Range<usize>,
    ) -> Vec<Option<(ObjectState, Bytes)>> {
        self.try_find(tenant, numbers.map(object).collect()).await.expect("it answers")
    }

    pub(super) async fn try_find(
        &mut self,
        tenant: &str,
        objects: Vec<CachedObject>,
    ) -> Result<Vec<Option<(ObjectState, Bytes)>>, Status> {
        let answer = self.service.get_entries(get(tenant, objects)).await?.into_inner();
        Ok(answer.entries.into_iter().map(|entry| Some((entry.state?, entry.digests))).collect())
    }

    /// How many of them are known; each with its first state and right digest.
    pub(super) async fn known(&mut self, tenant: &str, numbers: std::ops::Range<usize>) -> usize {
        let found = self.find(tenant, numbers.clone()).await;
        let known = numbers.zip(found).filter_map(|(number, found)| Some((number, found?)));
        known.inspect(|(number, found)| assert_eq!(*found, (state(*number, 0), digest(*number, 0)))).count()
    }

    pub(super) async fn stats(&mut self) -> CacheStats {
        let answer = self.service.get_cache_stats(GetCacheStatsRequest {}).await.expect("it answers");
        answer.into_inner().stats.expect("counters")
    }

    pub(super) async fn invalidate(&mut self, tenant: &str, uri: &str, prefix: bool) -> u64 {
        let request = InvalidateEntriesRequest { tenant: tenant.to_owned(), uri: uri.to_owned(), prefix };
        self.service.invalidate_entries(request).await.expect("forgotten").into_inner().deleted_entries
    }
}

pub(super) fn computed(number: usize, version: u64) -> ComputedEntry {
    ComputedEntry {
        object: Some(object(number)),
        state: Some(state(number, version)),
        digests: digest(number, version),
        read_bytes: 100 + version,
    }
}

/// A Redis command by hand.
async fn redis(url: &str, arguments: &[&str]) -> String {
    let ended = program("redis-cli", ["-u", url].iter().chain(arguments)).run().await.succeeded();
    ended.text().trim().to_owned()
}

#[tokio::test]
async fn what_is_put_is_found_in_each_layer_and_in_postgres_alone() {
    let (database, mut server) = (Database::create().await, Redis::start("layers-redis").await);
    let url = server.url();
    let usual = ["--redis-timeout", "5s", "--cache-warm", "0"];
    let mut first = Client::start("layers-1", &database, Some(&url), &usual).await;
    assert_eq!(first.known("t", 0..1_000).await, 0);
    first.put_all("t", 0..1_000).await;
    assert_eq!(first.known("t", 0..1_000).await, 1_000);
    let stats = first.stats().await;
    assert_eq!((stats.memory_hits, stats.misses, stats.put_entries), (1_000, 1_000, 1_000), "{stats:?}");
    assert_eq!((stats.memory_entries, stats.redis_failures, stats.postgres_failures), (1_000, 0, 0), "{stats:?}");

    // Another process has nothing in its memory yet.
    let mut second = Client::start("layers-2", &database, Some(&url), &usual).await;
    assert_eq!(second.known("t", 0..1_000).await, 1_000);
    let stats = second.stats().await;
    assert_eq!((stats.redis_hits, stats.postgres_hits, stats.memory_hits), (1_000, 0, 0), "{stats:?}");
    assert_eq!(second.known("t", 0..1_000).await, 1_000);
    assert_eq!(second.stats().await.memory_hits, 1_000);

    // What Redis has forgotten comes from Postgres, and is in Redis again.
    assert_eq!(redis(&url, &["FLUSHALL"]).await, "OK");
    let mut third = Client::start("layers-3", &database, Some(&url), &usual).await;
    assert_eq!(third.known("t", 0..1_000).await, 1_000);
    assert_eq!(third.stats().await.postgres_hits, 1_000);
    assert_eq!(redis(&url, &["DBSIZE"]).await, "1000");
    server.kill();

    let mut alone = Client::start("layers-alone", &database, None, &["--cache-warm", "0"]).await;
    assert_eq!(alone.known("t", 0..1_000).await, 1_000);
    assert_eq!(alone.stats().await.postgres_hits, 1_000);

    // Each digest by itself; of an object all that are wanted or none.
    let both = GetEntriesRequest {
        algorithms: vec![Algorithm::Sha256.into(), Algorithm::Md5.into()],
        ..get("t", vec![object(1)])
    };
    let answer = alone.service.get_entries(both).await.expect("it answers").into_inner();
    assert_eq!(answer.entries[0].state, None);
    // What is said of an object last counts, in its own place.
    let generation = alone.generation().await;
    alone.put("t", generation, vec![computed(1, 0), computed(1, 5)]).await.expect("kept");
    assert_eq!(alone.find("t", 1..2).await, [Some((state(1, 5), digest(1, 5)))]);
    for other in [
        CachedObject { domain: "machine b".to_owned(), ..object(1) },
        CachedObject { range: Some(ByteRange { offset: 0, length: 9 }), ..object(1) },
    ] {
        assert_eq!(alone.try_find("t", vec![other]).await.expect("it answers"), [None]);
    }
}

#[tokio::test]
async fn promise_10_what_is_known_of_one_tenants_objects_is_nothing_to_another() {
    let database = Database::create().await;
    let mut cache = Client::start("cache-tenants", &database, None, &[]).await;
    cache.put_all("one", 0..10).await;
    assert_eq!((cache.known("one", 0..10).await, cache.known("two", 0..10).await), (10, 0));
    // Nor can another forget it.
    assert_eq!(cache.invalidate("two", "file:///srv/1", false).await, 0);
    cache.invalidate("two", "", true).await;
    assert_eq!(cache.known("one", 0..10).await, 10);
    assert_eq!(cache.invalidate("one", "file:///srv/1", false).await, 1);
    assert_eq!(cache.known("one", 0..10).await, 9);
}

#[tokio::test]
async fn promise_7_values_that_somebody_else_has_put_into_redis_are_never_answered_and_all_are_counted() {
    let (database, server) = (Database::create().await, Redis::start("poisoned-redis").await);
    let url = server.url();
    let usual = ["--redis-timeout", "5s", "--cache-warm", "0"];
    let mut first = Client::start("poisoned-1", &database, Some(&url), &usual).await;
    // One at a time, so that each one's key is known.
    let mut keys: Vec<String> = Vec::new();
    for number in 0..8 {
        first.put_all("t", number..number + 1).await;
        let all = redis(&url, &["KEYS", "hashmesh:cache:*"]).await;
        let new = all.lines().find(|key| !keys.iter().any(|known| known == key)).expect("a new key");
        keys.push(new.to_owned());
    }
    first.put_all("other", 0..1).await;
    let all = redis(&url, &["KEYS", "hashmesh:cache:*"]).await;
    let others = all.lines().find(|key| !keys.iter().any(|known| known == key)).expect("another's").to_owned();
    // Nothing but Redis could answer.
    database.client().await.batch_execute("DELETE FROM cache_entries").await.expect("deleted");

    // A wrong digest: a byte of it is changed. 7s are what the digests end with.
    let script = "local v = redis.call('GET', KEYS[1]); local at = string.find(v, string.rep('\\7', 16), 1, true); \
                  redis.call('SET', KEYS[1], string.sub(v, 1, at - 1) .. '\\8' .. string.sub(v, at + 1)); return at";
    assert_ne!(redis(&url, &["EVAL", script, "1", &keys[0]]).await, "");
    // Another tenant's, and another object's.
    let copy = "redis.call('SET', KEYS[2], redis.call('GET', KEYS[1])); return 1";
    redis(&url, &["EVAL", copy, "2", &others, &keys[1]]).await;
    redis(&url, &["EVAL", copy, "2", &keys[7], &keys[2]]).await;
    // Truncated; of 50 MB, with a right one at its beginning; of another type; something else.
    redis(&url, &["EVAL", "redis.call('SET', KEYS[1], string.sub(redis.call('GET', KEYS[1]), 1, -2))", "1", &keys[3]])
        .await;
    redis(&url, &["SETRANGE", &keys[4], "50000000", "x"]).await;
    redis(&url, &["EVAL", "redis.call('DEL', KEYS[1]); redis.call('HSET', KEYS[1], 'a', 'b')", "1", &keys[5]]).await;
    redis(&url, &["SET", &keys[6], "{\"digest\":\"0000\"}"]).await;

    let mut second = Client::start("poisoned-2", &database, Some(&url), &usual).await;
    let found = second.find("t", 0..8).await;
    assert_eq!(found[..7], vec![None; 7], "none of them is answered");
    assert_eq!(found[7], Some((state(7, 0), digest(7, 0))), "what is whole is");
    assert_eq!(second.stats().await.rejected_values, 7);
    // They are gone, and what is put takes their place.
    assert_eq!(redis(&url, &["DBSIZE"]).await, "2");
    second.put_all("t", 0..7).await;
    let mut third = Client::start("poisoned-3", &database, Some(&url), &usual).await;
    assert_eq!(third.known("t", 0..8).await, 8);
    let stats = third.stats().await;
    assert_eq!((stats.redis_hits, stats.rejected_values), (8, 0), "{stats:?}");
}

#[tokio::test]
async fn what_was_computed_before_an_invalidation_is_not_answered_whoever_put_it_wherever() {
    let (database, server) = (Database::create().await, Redis::start("invalid-redis").await);
    let usual = ["--redis-timeout", "5s"];
    let mut one = Client::start("invalid-1", &database, Some(&server.url()), &usual).await;
    let mut other = Client::start("invalid-2", &database, Some(&server.url()), &usual).await;
    one.put_all("t", 0..30).await;
    assert_eq!(other.known("t", 0..30).await, 30, "they are in its memory now");
    let before = one.generation().await;

    assert_eq!(one.invalidate("t", "file:///srv/1", false).await, 1);
    assert_eq!(one.invalidate("t", "file:///srv/2", true).await, 0, "2, and 20 to 29");
    assert_eq!(one.known("t", 0..30).await, 18);
    until("the other to hear of it", PATIENCE, async || (other.known("t", 0..30).await == 18).then_some(())).await;

    // Somebody began to read before, and is through now.
    one.put("t", before, vec![computed(1, 0), computed(25, 0), computed(3, 0)]).await.expect("taken");
    assert_eq!((one.known("t", 1..2).await, one.known("t", 25..26).await, one.known("t", 3..4).await), (0, 0, 1));
    // And somebody after.
    one.put_all("t", 1..2).await;
    one.put_all("t", 25..26).await;
    assert_eq!(one.known("t", 0..30).await, 20);
    assert_eq!(other.known("t", 25..26).await, 1);

    // Everybody's, and by who starts later.
    one.invalidate("", "file:///srv/", true).await;
    assert_eq!(one.known("t", 0..30).await, 0);
    let mut late = Client::start("invalid-3", &database, Some(&server.url()), &usual).await;
    assert_eq!(late.known("t", 0..30).await, 0);
    assert!(late.generation().await >= one.generation().await);
}

#[tokio::test]
async fn of_a_thousand_who_ask_for_what_is_not_in_memory_one_looks_it_up() {
    let database = Database::create().await;
    let mut cache = Client::start("stampede", &database, None, &["--cache-warm", "0"]).await;
    cache.put_all("t", 0..1).await;
    let mut fresh = Client::start("stampede-2", &database, None, &["--cache-warm", "0"]).await;
    // So that none is through before all have come.
    let lock = database.client().await;
    lock.batch_execute("BEGIN; LOCK TABLE cache_entries IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    let asked = (0..1_000).map(|_| {
        let mut cache = fresh.clone();
        tokio::spawn(async move { cache.known("t", 0..1).await })
    });
    let asked: Vec<_> = asked.collect();
    until("all to wait for one", PATIENCE, async || (fresh.stats().await.joined_requests == 999).then_some(())).await;
    lock.batch_execute("COMMIT").await.expect("unlocked");
    for one in asked {
        // In time or not at all: never wrong, and never stuck.
        one.await.expect("it ends");
    }
    let stats = fresh.stats().await;
    assert!(stats.postgres_hits <= 1 && stats.memory_hits == 0, "{stats:?}");
}

#[tokio::test]
async fn what_is_used_most_is_in_memory_after_a_start_and_on_demand() {
    let database = Database::create().await;
    let mut cache = Client::start("warm-1", &database, None, &["--cache-warm", "0"]).await;
    cache.put_all("t", 0..100).await;
    cache.put_all("u", 0..5).await;
    let sql = database.client().await;
    sql.batch_execute(
        "UPDATE cache_entries SET uses = 1 + right(uri, 1)::int WHERE tenant = 't' AND uri ~ '/[0-9]$'; \
                       UPDATE cache_entries SET uses = 100 WHERE tenant = 'u'",
    )
    .await
    .expect("used");
    let mut warm = Client::start("warm-2", &database, None, &["--cache-warm", "8"]).await;
    let stats = until("it to be warm", PATIENCE, async || {
        let stats = warm.stats().await;
        (stats.warmed_entries > 0).then_some(stats)
    })
    .await;
    assert_eq!((stats.warmed_entries, stats.memory_entries), (8, 8), "{stats:?}");
    assert_eq!((warm.known("u", 0..5).await, warm.known("t", 7..10).await), (5, 3));
    assert_eq!(warm.stats().await.memory_hits, 8, "of the other tenant, and those that are used most");
    let request = WarmEntriesRequest { tenant: "t".to_owned(), max_entries: 10 };
    assert_eq!(warm.service.warm_entries(request).await.expect("warmed").into_inner().entries, 10);
    assert_eq!(warm.known("t", 0..10).await, 10);
    assert_eq!(warm.stats().await.memory_hits, 18);
}

#[tokio::test]
async fn what_is_not_used_for_long_and_what_is_worth_least_of_too_much_is_deleted() {
    let database = Database::create().await;
    let mut cache = Client::start("tidy-1", &database, None, &[]).await;
    cache.put_all("t", 0..100).await;
    let generation = cache.generation().await;
    let dear = ComputedEntry { read_bytes: 1 << 40, ..computed(100, 0) };
    cache.put("t", generation, vec![dear]).await.expect("kept");
    cache.invalidate("t", "file:///srv/9", true).await;
    // As if some had not been used for a year, and the dear one not for a day.
    let sql = "UPDATE cache_entries SET worth = worth - interval '365 days' WHERE uri ~ '/[1-4].$'; \
               UPDATE cache_entries SET worth = worth - interval '1 day' WHERE uri ~ '/100$'";
    database.client().await.batch_execute(sql).await.expect("aged");
    // It tidies when it starts, and each minute.
    let _tidy = Client::start("tidy-2", &database, None, &["--cache-entries", "20"]).await;
    let count = "SELECT count(*) FROM cache_entries";
    until("the tables to be tidy", PATIENCE, async || (database.value(count).await == "20").then_some(())).await;
    let left = database.value("SELECT string_agg(uri, ' ') FROM cache_entries").await;
    assert!(left.contains("/100"), "what saves most is worth most: {left}");
    assert!(!left.contains("/9") && !left.contains("/41"), "{left}");
}

#[tokio::test]
async fn a_cache_refuses_what_makes_no_sense_and_needs_something_to_keep_it_in() {
    let database = Database::create().await;
    let mut cache = Client::start("cache-bounds", &database, None, &[]).await;
    let objects = (0..1_024).map(object).collect();
    cache.service.get_entries(get("t", objects)).await.expect("as many as may be");
    let objects = (0..1_025).map(object).collect();
    let status = cache.service.get_entries(get("t", objects)).await.expect_err("one too many");
    assert_refused(&status, Reason::InvalidArgument);
    let status = cache.put("t", 0, vec![ComputedEntry { digests: vec![1; 31].into(), ..computed(1, 0) }]).await;
    assert_refused(&status.expect_err("too short"), Reason::InvalidArgument);
    // The longest URI there is; and an entry that is longer than one may be is left out.
    let long = CachedObject { uri: format!("file:///{}", "u".repeat(8_184)), ..object(0) };
    let entry = ComputedEntry { object: Some(long.clone()), ..computed(0, 0) };
    let etag = ObjectIdentity { etag: "e".repeat(5_000), ..ObjectIdentity::default() };
    let huge = ComputedEntry { state: Some(ObjectState { identity: Some(etag), file: None }), ..computed(1, 0) };
    cache.put("t", 0, vec![entry, huge]).await.expect("kept");
    let found = cache.try_find("t", vec![long, object(1)]).await.expect("it answers");
    assert!(found[0].is_some() && found[1].is_none(), "{found:?}");

    let directory = rundir::directory("cache-of-nothing");
    let ended = crate::support::cli::hashmesh(["cache", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    let ended = ended.in_directory(directory).run().await.exits(1);
    assert!(ended.stderr.contains("--redis-url or --database-url"), "{}", ended.stderr);
    // A duration that would outlive what is remembered.
    let ended = crate::support::cli::hashmesh(["cache", "--cache-redis-ttl", "13h"]).run().await.exits(2);
    assert!(ended.stderr.contains("wanted 1s to 12h"), "{}", ended.stderr);
}

#[tokio::test]
async fn an_object_stores_notification_has_its_objects_forgotten_for_every_tenant() {
    let database = Database::create().await;
    let mut cache = Client::start("notified", &database, None, &[]).await;
    let of_store =
        |key: &str| CachedObject { domain: "http://store".to_owned(), uri: format!("s3://bucket/{key}"), range: None };
    for tenant in ["one", "two"] {
        let entry = |key| ComputedEntry { object: Some(of_store(key)), ..computed(1, 0) };
        cache.put(tenant, 0, vec![entry("a%20b"), entry("c")]).await.expect("kept");
    }
    let notify = async |body: &str| {
        let url = format!("http://{}/cache/events", cache.role.admin);
        let mut curl = tokio::process::Command::new("curl");
        curl.args(["--silent", "--noproxy", "*", "--write-out", " %{http_code}", "--data-binary", body, &url]);
        String::from_utf8(curl.output().await.expect("curl").stdout).expect("text")
    };
    let record = r#"{"s3":{"bucket":{"name":"bucket"},"object":{"key":"a+b"}}}"#;
    assert_eq!(notify(&format!(r#"{{"Records":[{record}]}}"#)).await, r#"{"objects":1} 200"#);
    for tenant in ["one", "two"] {
        let found = cache.clone().try_find(tenant, vec![of_store("a%20b"), of_store("c")]).await.expect("it answers");
        assert!(found[0].is_none() && found[1].is_some(), "{tenant}: {found:?}");
    }
    let refused = notify("{}").await;
    assert!(refused.ends_with(" 400") && refused.contains("neither Records nor detail"), "{refused}");
    let large = rundir::directory("notified-large").join("body");
    std::fs::write(&large, " ".repeat(1_100_000)).expect("a file");
    assert!(notify(&format!("@{}", large.display())).await.ends_with(" 413"));
}
