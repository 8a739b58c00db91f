//! The Cache service as a process role.

use std::sync::Arc;

use hashmesh::{
    cache::v1::{cache_service_server::CacheServiceServer, quota_service_server::QuotaServiceServer},
    envoy::service::ratelimit::v3::rate_limit_service_server::RateLimitServiceServer,
};
use hashmesh_runtime::{
    health::Health, metrics::catalogue::cache::REDIS_UP, server::GrpcServer, shutdown::Shutdown, tasks,
};
use tokio::net::TcpListener;

use crate::{
    CacheConfig, CacheError,
    entries::{CacheRpc, Entries, Upkeep, watches},
    quota::{Envoy, Quota},
    redis::Redis,
};

/// A request names a few windows: nothing larger is decoded.
const MAX_QUOTA_BYTES: usize = 64 * 1024;
/// A thousand objects with the longest URIs.
const MAX_ENTRIES_BYTES: usize = 16 * 1024 * 1024;

/// Serves `hashmesh.cache.v1.CacheService` where there is a database, and `hashmesh.cache.v1.QuotaService` and
/// `envoy.service.ratelimit.v3.RateLimitService` where there is a Redis, on `listener` until `shutdown` begins and what was
/// admitted is finished. `health` follows Redis where there is no database; what is kept of digests needs none.
///
/// # Errors
/// [`CacheError`]: the URL is unusable, the tables cannot be read, or the server did not start. A Redis that is away is waited
/// for.
pub async fn serve(
    config: CacheConfig,
    listener: TcpListener,
    health: Health,
    shutdown: Shutdown,
) -> Result<(), CacheError> {
    let CacheConfig { redis_url, redis_timeout, database, entries, events, calls_per_address, tls } = config;
    let redis = redis_url.map(|url| Redis::new(&url, redis_timeout)).transpose()?;
    let mut server = GrpcServer::new("cache", health.clone()).tls(tls);
    let mut background = Vec::new();
    let mut watches = Vec::new();
    if let Some(redis) = &redis {
        let up = redis.clone();
        watches.push(REDIS_UP.watch(&["redis"], move || if up.is_up() { 1.0 } else { 0.0 }));
        let followed = if database.is_none() { health.clone() } else { Health::new() };
        background.push(tasks::spawn_owned("redis", redis.clone().watch(followed)));
        let quota = QuotaServiceServer::new(Quota::new(redis.clone())).max_decoding_message_size(MAX_QUOTA_BYTES);
        let envoy = RateLimitServiceServer::new(Envoy::new(redis.clone(), calls_per_address))
            .max_decoding_message_size(MAX_QUOTA_BYTES);
        server = server.mount(quota).mount(envoy);
    }
    let _upkeep = match database {
        None if redis.is_none() => return Err(CacheError::Nothing),
        None => None,
        Some(database) => {
            let opened = Entries::open(database, redis, entries).await;
            let entries = Arc::new(opened.map_err(|error| CacheError::Tables(Box::new(error)))?);
            events.begin(&entries);
            let rpc = CacheServiceServer::new(CacheRpc::new(Arc::clone(&entries)));
            server = server.mount(rpc.max_decoding_message_size(MAX_ENTRIES_BYTES));
            watches.extend(watches::of(&entries));
            health.serving();
            Some(Upkeep::begin(&entries))
        }
    };
    server.serve(listener, shutdown).await?;
    Ok(())
}
