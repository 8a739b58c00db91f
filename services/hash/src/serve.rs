//! The Hash service as a process role.

use hashmesh::{hash::v1::hash_service_server::HashServiceServer, limits::MAX_DECODED_MESSAGE_BYTES};
use hashmesh_runtime::{
    health::Health,
    metrics::{Watch, catalogue::hash as catalogue},
    server::GrpcServer,
    shutdown::Shutdown,
};
use tokio::net::TcpListener;

use crate::{HashConfig, HashPool, HashServiceError, HashStats, PoolLimits, kernel, self_test, service::Service};

/// Serves `hashmesh.hash.v1.HashService` on `listener` until `shutdown` begins and what was admitted is finished.
///
/// # Errors
/// [`HashServiceError`]: a digest of a known input is wrong, no threads, or the server failed.
pub async fn serve(
    config: HashConfig,
    listener: TcpListener,
    health: Health,
    shutdown: Shutdown,
) -> Result<(), HashServiceError> {
    let limits =
        PoolLimits { max_waiting: config.max_waiting, ..PoolLimits::new(config.threads, config.max_admitted_bytes) };
    let pool = HashPool::new("hash", config.threads, limits)?;
    pool.run(0, self_test).await??;
    let _watches = watches(&pool, &config.stats);
    tracing::info!(kernel = kernel(), threads = pool.threads(), "hash service ready");
    health.serving();
    let service = HashServiceServer::new(Service::new(pool, config.max_streams, config.stats))
        .max_decoding_message_size(MAX_DECODED_MESSAGE_BYTES);
    GrpcServer::new("hash", health).tls(config.tls).mount(service).serve(listener, shutdown).await?;
    Ok(())
}

/// Has exported what is counted elsewhere, as long as they are there.
#[allow(clippy::cast_precision_loss)] // exact up to 2^53
fn watches(pool: &HashPool, stats: &HashStats) -> [Watch; 5] {
    let (threads, busy, waiting) = (pool.threads() as f64, pool.clone(), pool.clone());
    let (computed, joined) = (stats.clone(), stats.clone());
    [
        catalogue::THREADS.watch(&[], move || threads),
        catalogue::BUSY_SECONDS.watch(&[], move || busy.busy().as_secs_f64()),
        catalogue::WAITING.watch(&[], move || waiting.waiting() as f64),
        catalogue::INPUTS.watch(&["computed"], move || (computed.computed() + computed.streamed()) as f64),
        catalogue::INPUTS.watch(&["joined"], move || joined.joined() as f64),
    ]
}
