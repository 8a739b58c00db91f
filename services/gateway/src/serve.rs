//! The Gateway as a process role.

use std::sync::Arc;

use hashmesh::{gateway::v1::gateway_service_server::GatewayServiceServer, limits::MAX_DECODED_MESSAGE_BYTES};
use hashmesh_runtime::{health::Health, server::GrpcServer, shutdown::Shutdown, tasks};
use tokio::net::TcpListener;

use crate::{
    GatewayConfig, GatewayError, admission::Admission, detail::Detailed, readiness, service::Gateway,
    stats::StatsCache, upstream::Upstream,
};

/// Serves `hashmesh.gateway.v1.GatewayService` on `listener` until `shutdown` begins and what was admitted is finished.
/// `health` follows the Queue's.
///
/// # Errors
/// [`GatewayError`]: a URL is missing or unusable, or the server did not start.
pub async fn serve(
    config: GatewayConfig,
    listener: TcpListener,
    health: Health,
    shutdown: Shutdown,
) -> Result<(), GatewayError> {
    let gateway = Gateway {
        queue: Arc::new(Upstream::new("queue", &config.queue)?),
        hash: Arc::new(Upstream::new("hash", &config.hash)?),
        admission: Admission::new(),
        stats: Arc::new(StatsCache::default()),
        shutdown: shutdown.clone(),
    };
    let _readiness = tasks::spawn_owned("readiness", readiness::watch(gateway.clone(), health.clone()));
    let service = GatewayServiceServer::new(gateway).max_decoding_message_size(MAX_DECODED_MESSAGE_BYTES);
    GrpcServer::new("gateway", health).mount(Detailed::new(service)).serve(listener, shutdown).await?;
    Ok(())
}
