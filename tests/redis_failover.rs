//! The Cache service in front of one Redis, of a primary that sentinels watch, and of a cluster: it counts right, and when a
//! primary is lost it answers in time and finds the next one.

use std::time::{Duration, Instant};

use hashmesh::cache::v1::{QuotaWindow, TakeQuotaRequest, TakeQuotaResponse, quota_service_client::QuotaServiceClient};
use tonic::{Code, Status, transport::Channel};

use crate::support::{
    Role,
    authority::Authority,
    redis::Redis,
    redis_cluster::RedisCluster,
    rundir,
    sentinel::Sentinels,
    wait::{PATIENCE, until},
};

type Client = QuotaServiceClient<Channel>;

async fn cache(url: &str, name: &str, timeout: &str) -> (Role, Client) {
    cache_with(url, name, timeout, &[]).await
}

async fn cache_with(url: &str, name: &str, timeout: &str, environment: &[(String, String)]) -> (Role, Client) {
    let arguments = ["--redis-url", url, "--redis-timeout", timeout].map(str::to_owned).to_vec();
    let mut role = Role::start("cache", name, arguments, environment, rundir::directory(name)).await;
    role.ready().await;
    let client = Client::connect(role.url()).await.expect("it listens");
    (role, client)
}

/// One call that is to be counted in these windows.
async fn take(client: &mut Client, windows: &[(&str, u32)]) -> Result<TakeQuotaResponse, Status> {
    let window = |(name, limit): &(&str, u32)| QuotaWindow {
        name: (*name).to_owned(),
        limit: *limit,
        window: Duration::from_secs(3_600).try_into().ok(),
    };
    let request = TakeQuotaRequest { windows: windows.iter().map(window).collect() };
    client.take_quota(request).await.map(tonic::Response::into_inner)
}

/// How many of a thousand calls are admitted, eight at a time.
async fn admitted(client: &Client, windows: &[(&str, u32)]) -> usize {
    let attempts = async |mut client: Client| {
        let mut count = 0;
        for _ in 0..125 {
            count += usize::from(take(&mut client, windows).await.expect("an answer").admitted);
        }
        count
    };
    futures::future::join_all((0..8).map(|_| attempts(client.clone()))).await.iter().sum()
}

async fn counts_right(client: &Client) {
    assert_eq!(admitted(client, &[("one", 100)]).await, 100);
    assert_eq!(admitted(client, &[("this", 100), ("that", 100)]).await, 100);
    // Who is refused in the narrow one is not counted in the wide one, wherever it stands.
    assert_eq!(admitted(client, &[("a wide", 2_000), ("b narrow", 100), ("c wide", 2_000)]).await, 100);
    let mut client = client.clone();
    let windows = [("a wide", 2_000), ("b narrow", 100), ("c wide", 2_000)];
    let refused = take(&mut client, &windows).await.expect("an answer");
    let told: Vec<(u32, bool)> = refused.states.iter().map(|state| (state.remaining, state.exhausted)).collect();
    assert_eq!((refused.admitted, told), (false, vec![(1_900, false), (0, true), (1_900, false)]));
    let admitted = take(&mut client, &[("a wide", 2_000), ("c wide", 2_000)]).await.expect("an answer");
    assert_eq!(admitted.states.iter().map(|state| state.remaining).collect::<Vec<_>>(), [1_899, 1_899]);
}

#[tokio::test]
async fn one_redis_counts_right() {
    let redis = Redis::start("counting-redis").await;
    let (_role, client) = cache(&redis.url(), "counting-cache", "10s").await;
    counts_right(&client).await;
}

#[tokio::test]
async fn a_redis_behind_sentinels_counts_right() {
    let sentinels = Sentinels::start("counting-sentinels").await;
    let (_role, client) = cache(&sentinels.url(), "counting-sentinels-cache", "10s").await;
    counts_right(&client).await;
}

#[tokio::test]
async fn a_redis_cluster_counts_right_in_windows_of_different_slots() {
    let cluster = RedisCluster::start("counting-cluster").await;
    let (_role, client) = cache(&cluster.url(), "counting-cluster-cache", "10s").await;
    counts_right(&client).await;
}

#[tokio::test]
async fn sentinels_and_clusters_are_reached_over_tls_and_with_a_password() {
    let directory = rundir::directory("redis-tls");
    let authority = Authority::new(&directory);
    let environment = [("SSL_CERT_FILE".to_owned(), authority.ca().display().to_string())];
    let sentinels = Sentinels::start_tls("tls-sentinels", &authority, "p@ss").await;
    let cluster = RedisCluster::start_tls("tls-cluster", &authority, "p@ss").await;
    for (name, url) in [("tls-sentinels-cache", sentinels.url()), ("tls-cluster-cache", cluster.url())] {
        let url = url.replace("redis-", "rediss-").replace("://", "://:p%40ss@");
        let (_role, client) = cache_with(&url, name, "10s", &environment).await;
        assert_eq!(admitted(&client, &[("this", 100), ("that", 100)]).await, 100);
    }
}

/// How long Redis is waited for in these tests.
const BUDGET: Duration = Duration::from_millis(100);
/// Calls answer within that, and what a busy machine needs besides.
const SLACK: Duration = Duration::from_secs(2);
/// So many that every primary of a cluster has some.
const NAMES: usize = 24;

/// How long calls took, and how many of them were told to count without Redis.
#[derive(Default)]
struct Seen {
    took: Vec<Duration>,
    failed: usize,
}

impl Seen {
    fn note(&mut self, began: Instant, answer: Result<TakeQuotaResponse, Status>) -> Option<TakeQuotaResponse> {
        self.took.push(began.elapsed());
        let failed = |status: Status| assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        let answer = answer.map_err(failed).ok();
        self.failed += usize::from(answer.is_none());
        answer
    }

    fn in_time(mut self) {
        self.took.sort_unstable();
        let (median, longest) = (self.took[self.took.len() / 2], self.took[self.took.len() - 1]);
        assert!(median < BUDGET, "{median:?}");
        assert!(longest < 2 * BUDGET + SLACK, "{longest:?}");
    }
}

/// Calls of new names, until all of a round are counted from the beginning.
async fn counted_again(client: &mut Client) -> Seen {
    let (mut seen, mut round) = (Seen::default(), 0);
    until("every name to be counted again", PATIENCE, async || {
        round += 1;
        let mut complete = true;
        for number in 0..NAMES {
            let (name, other) = (format!("{round}/{number}"), format!("other {round}/{number}"));
            for left in [9, 8] {
                let began = Instant::now();
                let answer = take(client, &[(&name, 10), (&other, 10)]).await;
                complete &= seen
                    .note(began, answer)
                    .is_some_and(|answer| answer.states.iter().all(|state| state.remaining == left));
            }
        }
        complete.then_some(())
    })
    .await;
    seen
}

/// While calls are under way the primary is lost, and counted is again without anybody doing anything.
async fn survives(client: &mut Client, lose: impl FnOnce()) {
    counted_again(client).await;
    let mut load = client.clone();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let load = tokio::spawn(async move {
        let mut seen = Seen::default();
        for number in 0_u64.. {
            if stopped.try_recv().is_ok() {
                break;
            }
            let name = format!("load {}", number % 16);
            let began = Instant::now();
            let answer = take(&mut load, &[(&name, 1_000_000)]).await;
            seen.note(began, answer);
            tokio::task::yield_now().await;
        }
        seen
    });
    lose();
    let seen = counted_again(client).await;
    assert!(seen.failed > 0, "nothing was lost");
    seen.in_time();
    stop.send(()).expect("it goes on until then");
    load.await.expect("it ends").in_time();
}

#[tokio::test]
async fn one_redis_that_is_killed_and_started_again_counts_again() {
    let mut redis = Redis::start("killed-redis").await;
    let (_role, mut client) = cache(&redis.url(), "killed-redis-cache", "100ms").await;
    counted_again(&mut client).await;
    redis.kill();
    take(&mut client, &[("lost", 10)]).await.expect_err("it is gone");
    redis.restart().await;
    counted_again(&mut client).await.in_time();
}

#[tokio::test]
async fn sentinels_name_the_next_primary_when_one_is_killed() {
    let mut sentinels = Sentinels::start("killed-primary").await;
    let (_role, mut client) = cache(&sentinels.url(), "killed-primary-cache", "100ms").await;
    survives(&mut client, || sentinels.first_primary().kill()).await;
}

#[tokio::test]
async fn sentinels_name_the_next_primary_when_one_is_frozen_and_it_is_not_believed_when_it_thaws() {
    let mut sentinels = Sentinels::start("frozen-primary").await;
    let (_role, mut client) = cache(&sentinels.url(), "frozen-primary-cache", "100ms").await;
    survives(&mut client, || sentinels.first_primary().freeze()).await;
    sentinels.first_primary().thaw();
    counted_again(&mut client).await.in_time();
}

#[tokio::test]
async fn a_cluster_counts_again_when_a_primary_is_killed() {
    let mut cluster = RedisCluster::start("killed-cluster").await;
    let (_role, mut client) = cache(&cluster.url(), "killed-cluster-cache", "100ms").await;
    survives(&mut client, || cluster.primary_of("anything").kill()).await;
}

#[tokio::test]
async fn a_cluster_counts_again_when_a_primary_is_frozen_and_when_it_thaws() {
    let mut cluster = RedisCluster::start("frozen-cluster").await;
    let (_role, mut client) = cache(&cluster.url(), "frozen-cluster-cache", "100ms").await;
    let mut frozen = None;
    survives(&mut client, || {
        let primary = cluster.primary_of("anything");
        primary.freeze();
        frozen = Some(primary);
    })
    .await;
    frozen.expect("one").thaw();
    counted_again(&mut client).await.in_time();
}
