//! The Cache service as a process role.

use hashmesh::{
    cache::v1::quota_service_server::QuotaServiceServer,
    envoy::service::ratelimit::v3::rate_limit_service_server::RateLimitServiceServer,
};
use hashmesh_runtime::{health::Health, server::GrpcServer, shutdown::Shutdown, tasks};
use tokio::net::TcpListener;

use crate::{
    CacheConfig, CacheError,
    quota::{Envoy, Quota},
    redis::Redis,
};

/// A request names a few windows: nothing larger is decoded.
const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// Serves `hashmesh.cache.v1.QuotaService` and `envoy.service.ratelimit.v3.RateLimitService` on `listener` until `shutdown`
/// begins and what was admitted is finished. `health` follows Redis.
///
/// # Errors
/// [`CacheError`]: the URL is unusable, or the server did not start. A Redis that is away is waited for.
pub async fn serve(
    config: CacheConfig,
    listener: TcpListener,
    health: Health,
    shutdown: Shutdown,
) -> Result<(), CacheError> {
    let redis = Redis::new(&config.redis_url, config.redis_timeout)?;
    let _watch = tasks::spawn_owned("redis", redis.clone().watch(health.clone()));
    let quota = QuotaServiceServer::new(Quota::new(redis.clone())).max_decoding_message_size(MAX_REQUEST_BYTES);
    let envoy = RateLimitServiceServer::new(Envoy::new(redis, config.calls_per_address))
        .max_decoding_message_size(MAX_REQUEST_BYTES);
    GrpcServer::new("cache", health).tls(config.tls).mount(quota).mount(envoy).serve(listener, shutdown).await?;
    Ok(())
}
