//! `hashmesh cache`: the Cache service; and, with a verb behind it, what users do with the cache of a mesh.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use futures::FutureExt as _;
use hashmesh::limits::MAX_CALLS;
use hashmesh_cache::{CacheConfig, CacheEvents, EntriesConfig, EventError};
use hashmesh_database::{Database, DatabaseConfig};
use hashmesh_gateway::RateLimits;
use hashmesh_runtime::{
    admin::{Admin, StatusCode},
    tls::Role,
};
use serde_json::json;

use super::{
    access::ReachArgs,
    migrate::migrate,
    process::{Process, admin_pages},
    tls::TlsArgs,
};
use crate::{address::HostPort, settings::value_or_file, verbs::CacheVerb};

/// Keeps digests of objects that have not changed (in memory, Redis, Postgres), and counts calls for all Gateways (in Redis);
/// with a verb: what a mesh's cache has saved, forgets, warms.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    pub(crate) verb: Option<CacheVerb>,
    /// Where Gateways and Workers reach it.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7460")]
    listen: HostPort,
    /// Where its admin pages are (HTTP); default: the next port.
    #[arg(long, value_name = "HOST:PORT")]
    admin_listen: Option<HostPort>,
    /// The Postgres where digests are kept (also DATABASE_URL): the URL, or @FILE for a file that holds it; without it none are.
    #[arg(long, value_name = "URL|@FILE", value_parser = value_or_file)]
    database_url: Option<String>,
    /// The Redis (also REDIS_URL), where digests are kept for a while and calls are counted:
    /// redis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE]; or
    /// redis-sentinel://[USER:PASSWORD@]HOST:PORT[,HOST:PORT…]/PRIMARY[/DATABASE], where the hosts are sentinels; or
    /// redis-cluster://[USER:PASSWORD@]HOST:PORT[,HOST:PORT…]. With TLS: rediss… @FILE is a file
    /// that holds it. Without it calls are not counted here.
    #[arg(long, value_name = "URL|@FILE", value_parser = value_or_file)]
    redis_url: Option<String>,
    /// How long Redis is waited for.
    #[arg(long, value_name = "DURATION", default_value = "10ms", value_parser = humantime::parse_duration)]
    redis_timeout: Duration,
    /// Requests a minute from each address, where Envoy asks about `remote_address` without a limit of its own. 0: any number.
    #[arg(long, value_name = "CALLS", default_value_t = RateLimits::USUAL.per_address,
          value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_CALLS)))]
    limit_per_address: u32,
    #[command(flatten)]
    entries: EntriesArgs,
    /// Do not bring the tables up to date at the start.
    #[arg(long)]
    no_migrate: bool,
    #[command(flatten)]
    reach: ReachArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

/// How digests are kept.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct EntriesArgs {
    /// How much memory digests may take, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    cache_memory_mib: u64,
    /// How long a digest stays in memory.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = ttl)]
    cache_memory_ttl: Duration,
    /// How long a digest stays in Redis: at most 12h.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = redis_ttl)]
    cache_redis_ttl: Duration,
    /// How long a digest that is not used stays in Postgres.
    #[arg(long, value_name = "DURATION", default_value = "90d", value_parser = ttl)]
    cache_ttl: Duration,
    /// How many digests stay in Postgres at most. Those that saved little, long ago, go first.
    #[arg(long, value_name = "N", default_value_t = 100_000_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000_000))]
    cache_entries: u64,
    /// How many digests are brought into memory at the start: those that are used most.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    cache_warm: u32,
}

impl EntriesArgs {
    pub(crate) fn config(self) -> EntriesConfig {
        EntriesConfig {
            memory_bytes: self.cache_memory_mib * 1024 * 1024,
            memory_ttl: self.cache_memory_ttl,
            redis_ttl: self.cache_redis_ttl,
            postgres_ttl: self.cache_ttl,
            postgres_entries: self.cache_entries,
            warm_entries: self.cache_warm,
        }
    }
}

fn ttl(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let fits = (Duration::from_secs(1)..=Duration::from_secs(36_500 * 86_400)).contains(&time);
    if fits { Ok(time) } else { Err("wanted 1s to 36500d".to_owned()) }
}

fn redis_ttl(text: &str) -> Result<Duration, String> {
    let time = ttl(text)?;
    if time <= EntriesConfig::LONGEST_REDIS_TTL { Ok(time) } else { Err("wanted 1s to 12h".to_owned()) }
}

impl CacheArgs {
    pub(crate) async fn run(self) -> Result<()> {
        let process = Process::bind("cache", &self.listen, self.admin_listen.as_ref()).await?;
        let tls = self.tls.open(Role::Cache).await?;
        self.reach.check(process.address()?, tls.is_some())?;
        let events = CacheEvents::default();
        let database = database(self.database_url, !self.no_migrate).await?;
        let config = CacheConfig {
            events: events.clone(),
            redis_url: self.redis_url,
            redis_timeout: self.redis_timeout,
            database: database.clone(),
            entries: self.entries.config(),
            calls_per_address: self.limit_per_address,
            tls,
        };
        process
            .run(
                |admin| match database {
                    Some(database) => admin_pages(take_events(admin, events), database),
                    None => take_events(admin, events),
                },
                |listener, health, shutdown| hashmesh_cache::serve(config, listener, health, shutdown),
            )
            .await
    }
}

/// Takes notifications of object stores at `/cache/events`.
pub(crate) fn take_events(admin: Admin, events: CacheEvents) -> Admin {
    admin.receive("/cache/events", move |body| {
        let events = events.clone();
        async move {
            let (status, said) = match events.notify(&body).await {
                Ok(objects) => return (StatusCode::OK, json!({ "objects": objects })),
                Err(error @ EventError::Malformed { .. }) => (StatusCode::BAD_REQUEST, error.to_string()),
                Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
            };
            (status, json!({ "error": said }))
        }
        .boxed()
    })
}

async fn database(url: Option<String>, migrates: bool) -> Result<Option<Database>> {
    let Some(url) = url else { return Ok(None) };
    let config = DatabaseConfig { url, ..DatabaseConfig::default() };
    if migrates {
        migrate(&config).await?;
    }
    Ok(Some(Database::connect(config).await.context("cannot use the database")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_digests_stay_has_limits_on_both_sides() {
        assert!(ttl("1s").is_ok() && ttl("999ms").is_err() && ttl("36500d").is_ok() && ttl("36501d").is_err());
        assert!(redis_ttl("12h").is_ok() && redis_ttl("12h 1s").is_err() && redis_ttl("x").is_err());
    }
}
