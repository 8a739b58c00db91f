//! How fast a Cache service answers, and what becomes of it while its Redis fails: `cache URL REDIS_URL REDIS_PID SECONDS`.
//!
//! Puts OBJECTS digests, of which the service's memory holds a part (it is started with little), and has 64 callers ask for
//! single ones, drawn at random, at a constant rate (an open loop; latencies count from when a call was due, but for what a timer is late). Then the same
//! while Redis is emptied, stopped (SIGSTOP) and killed (SIGKILL), each for SECONDS: an answer that is right and comes within
//! 50 ms is a good one.
//!
//! Prints a row for each, and fails where the p99 with Redis is not below 1 ms, where fewer than 95 % of the answers are good,
//! or where a single one is wrong.

use std::{
    error::Error,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use hashmesh::{
    cache::v1::{
        CachedObject, ComputedEntry, GetCacheStatsRequest, GetEntriesRequest, ObjectState, PutEntriesRequest,
        cache_service_client::CacheServiceClient,
    },
    v1::{Algorithm, CacheStats, ObjectIdentity},
};
use tokio::{task::JoinSet, time::sleep_until};
use tonic::transport::Channel;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;
type Client = CacheServiceClient<Channel>;

const OBJECTS: u64 = 20_000;
const CALLERS: u64 = 64;
/// Of all callers together.
const CALLS_PER_SECOND: u64 = 1_000;
/// Later answers are none.
const GOOD_WITHIN: Duration = Duration::from_millis(50);
/// How late a timer is.
const TIMER: Duration = Duration::from_millis(2);

#[tokio::main]
async fn main() -> Outcome<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, redis_url, redis_pid, seconds] = &arguments[..] else {
        return Err("usage: cache URL REDIS_URL REDIS_PID SECONDS".into());
    };
    let length = Duration::from_secs(seconds.parse()?);
    let mut client = Client::connect(url.clone()).await?;
    let numbers: Vec<u64> = (0..OBJECTS).collect();
    for some in numbers.chunks(1_000) {
        client.put_entries(put(some)).await?;
    }
    let mut failed = false;
    for (what, fault) in [
        ("warming up", None),
        ("memory and Redis", None),
        ("Redis emptied", Some(("redis-cli", vec!["-u", redis_url, "FLUSHALL"]))),
        ("Redis stopped", Some(("kill", vec!["-STOP", redis_pid]))),
        ("Redis goes on", Some(("kill", vec!["-CONT", redis_pid]))),
        ("Redis killed", Some(("kill", vec!["-KILL", redis_pid]))),
    ] {
        let before = stats(&mut client).await?;
        let load = tokio::spawn(load(url.clone(), length));
        if let Some((program, arguments)) = fault {
            // In the middle of it.
            tokio::time::sleep(length / 4).await;
            if !Command::new(program).args(arguments).stdout(std::process::Stdio::null()).status()?.success() {
                return Err(format!("{program} failed").into());
            }
        }
        let seen = load.await??;
        let after = stats(&mut client).await?;
        let hits = [
            after.memory_hits - before.memory_hits,
            after.redis_hits - before.redis_hits,
            after.postgres_hits - before.postgres_hits,
        ];
        let share = seen.good as f64 / seen.calls as f64;
        println!(
            "{{\"what\": \"{what}\", \"callers\": {CALLERS}, \"calls\": {}, \"good\": {share:.4}, \"wrong\": {}, \"p50_us\": {}, \
             \"p99_us\": {}, \"memory\": {}, \"redis\": {}, \"postgres\": {}}}",
            seen.calls,
            seen.wrong,
            seen.quantile(0.5).as_micros(),
            seen.quantile(0.99).as_micros(),
            hits[0],
            hits[1],
            hits[2]
        );
        let slow = what == "memory and Redis" && seen.quantile(0.99) >= Duration::from_millis(1);
        failed |= slow || share < 0.95 || seen.wrong > 0;
    }
    println!("{}", if failed { "FAIL" } else { "PASS" });
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What callers were answered.
#[derive(Default)]
struct Seen {
    calls: u64,
    good: u64,
    wrong: u64,
    took: Vec<Duration>,
}

impl Seen {
    fn quantile(&self, share: f64) -> Duration {
        let place = ((self.took.len() as f64 * share) as usize).min(self.took.len().saturating_sub(1));
        self.took.get(place).copied().unwrap_or_default()
    }
}

async fn load(url: String, length: Duration) -> Outcome<Seen> {
    let began = Instant::now() + Duration::from_millis(50);
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let client = Client::connect(url.clone()).await?;
        callers.spawn(call(client, caller, began, length));
    }
    let mut all = Seen::default();
    while let Some(seen) = callers.join_next().await {
        let seen = seen?;
        (all.calls, all.good, all.wrong) = (all.calls + seen.calls, all.good + seen.good, all.wrong + seen.wrong);
        all.took.extend(seen.took);
    }
    all.took.sort_unstable();
    Ok(all)
}

async fn call(mut client: Client, caller: u64, began: Instant, length: Duration) -> Seen {
    let every = Duration::from_secs(CALLERS) / CALLS_PER_SECOND as u32;
    let mut seen = Seen::default();
    let mut due = began + every * caller as u32 / CALLERS as u32;
    while due < began + length {
        sleep_until(due.into()).await;
        // A timer wakes up to a millisecond late, which is not the service's doing.
        let sent = Instant::now();
        let from = if sent.duration_since(due) <= TIMER { sent } else { due };
        let number = rand::random_range(0..OBJECTS);
        let answer = client.get_entries(get(number)).await;
        let took = from.elapsed();
        seen.calls += 1;
        seen.took.push(took);
        match answer {
            Ok(answer) => match answer.into_inner().entries.pop() {
                Some(entry) if entry.digests == digest(number) => seen.good += u64::from(took <= GOOD_WITHIN),
                Some(entry) if entry.state.is_none() => {}
                _ => seen.wrong += 1,
            },
            Err(status) => eprintln!("{status}"),
        }
        due += every;
    }
    seen
}

async fn stats(client: &mut Client) -> Outcome<CacheStats> {
    Ok(client.get_cache_stats(GetCacheStatsRequest {}).await?.into_inner().stats.unwrap_or_default())
}

fn object(number: u64) -> CachedObject {
    CachedObject { domain: "bench".to_owned(), uri: format!("s3://bucket/some/prefix/{number}"), range: None }
}

fn digest(number: u64) -> Vec<u8> {
    number.to_be_bytes().repeat(4)
}

fn get(number: u64) -> GetEntriesRequest {
    let (tenant, algorithms) = ("bench".to_owned(), vec![Algorithm::Sha256.into()]);
    GetEntriesRequest { tenant, algorithms, objects: vec![object(number)], ..GetEntriesRequest::default() }
}

fn put(numbers: &[u64]) -> PutEntriesRequest {
    let entry = |number: &u64| {
        let etag = format!("\"{number:032x}\"");
        let identity = Some(ObjectIdentity { size: 1_000, etag, ..ObjectIdentity::default() });
        let state = Some(ObjectState { identity, file: None });
        ComputedEntry { object: Some(object(*number)), state, digests: digest(*number).into(), read_bytes: 1_000 }
    };
    let (tenant, algorithms) = ("bench".to_owned(), vec![Algorithm::Sha256.into()]);
    PutEntriesRequest {
        tenant,
        algorithms,
        entries: numbers.iter().map(entry).collect(),
        ..PutEntriesRequest::default()
    }
}
