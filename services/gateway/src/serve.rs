//! The Gateway as a process role.

use std::sync::Arc;

use hashmesh::{
    admin::v1::admin_service_server::AdminServiceServer,
    gateway::v1::gateway_service_server::GatewayServiceServer,
    limits::{MAX_DECODED_MESSAGE_BYTES, MAX_WAIT},
};
use hashmesh_runtime::{health::Health, server::GrpcServer, shutdown::Shutdown, tasks};
use tokio::net::TcpListener;

use crate::{
    Auth, GatewayConfig, GatewayError,
    admin::Administration,
    admission::Admission,
    auth::{Authenticated, Authenticator},
    detail::Detailed,
    readiness,
    service::Gateway,
    stats::StatsCache,
    upstream::Upstream,
};

/// Serves `hashmesh.gateway.v1.GatewayService`, and `hashmesh.admin.v1.AdminService` where keys are checked, on `listener` until `shutdown` begins and what was admitted is finished.
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
    let queue = Arc::new(Upstream::new("queue", &config.queue)?);
    let authenticator = Authenticator::new(config.auth, &queue);
    let gateway = Gateway {
        queue,
        hash: Arc::new(Upstream::new("hash", &config.hash)?),
        admission: Admission::new(),
        stats: Arc::new(StatsCache::default()),
        shutdown: shutdown.clone(),
    };
    let _readiness = tasks::spawn_owned("readiness", readiness::watch(gateway.clone(), health.clone()));
    let _uses = tasks::spawn_owned("key uses", authenticator.clone().note_uses());
    let admin = AdminServiceServer::new(Administration::new(gateway.clone()));
    let service = GatewayServiceServer::new(gateway).max_decoding_message_size(MAX_DECODED_MESSAGE_BYTES);
    // Innermost first: errors of tonic's own get their details; nothing is decoded for who may not call.
    let service = Authenticated::new(Detailed::new(service), authenticator.clone());
    let mut server = GrpcServer::new("gateway", health)
        .mount(service)
        .patient("/hashmesh.gateway.v1.GatewayService/SubmitBatch", MAX_WAIT);
    if config.auth == Auth::Keys {
        server = server.mount(Authenticated::new(Detailed::new(admin), authenticator));
    }
    server.serve(listener, shutdown).await?;
    Ok(())
}
