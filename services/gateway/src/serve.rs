//! The Gateway as a process role.

use std::sync::Arc;

use hashmesh::{
    admin::v1::admin_service_server::AdminServiceServer,
    gateway::v1::gateway_service_server::GatewayServiceServer,
    limits::{MAX_DECODED_MESSAGE_BYTES, MAX_WAIT},
};
use hashmesh_middleware::{
    concurrency::{Concurrency, ConcurrencyLayer, ConcurrencyService},
    rate_limit::{RateLimitLayer, RateLimitService},
};
use hashmesh_runtime::{
    health::Health,
    server::{GrpcServer, ServerLimits},
    shutdown::Shutdown,
    tasks,
    tls::Role,
};
use tokio::net::TcpListener;
use tower::Layer as _;

use crate::{
    Auth, GatewayConfig, GatewayError,
    admin::Administration,
    admission::Admission,
    auth::{Authenticated, Authenticator},
    detail::Detailed,
    digest::Digests,
    limits::Limiter,
    metering, readiness,
    service::Gateway,
    shed::Shed,
    stats::StatsCache,
    upstream::{QueueUpstream, Upstream},
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
    let queue = Arc::new(QueueUpstream::new(&config.queue, config.tls.clone())?);
    let authenticator = Authenticator::new(config.auth, &queue);
    let concurrency = Concurrency::new(config.concurrency());
    let stack = Stack {
        authenticator: authenticator.clone(),
        concurrency: ConcurrencyLayer::new(concurrency.clone(), Shed),
        limiter: Limiter::new(&config)?,
    };
    let gateway = Gateway {
        queue,
        hash: Arc::new(Upstream::new(Role::Hash, &config.hash, config.tls.clone())?),
        cache: if config.cache.is_empty() {
            None
        } else {
            Some(Arc::new(Upstream::new(Role::Cache, &config.cache, config.tls.clone())?))
        },
        admission: Admission::new(),
        uploads: config.uploads,
        stats: Arc::new(StatsCache::default()),
        digests: Digests::default(),
        shutdown: shutdown.clone(),
        max_stream_age: config.max_stream_age,
    };
    let _watches = metering::watch(&gateway.admission, &gateway.digests, &concurrency);
    let _shards = tasks::spawn_owned("shards", Arc::clone(&gateway.queue).watch());
    let _readiness = tasks::spawn_owned("readiness", readiness::watch(gateway.clone(), health.clone()));
    let _uses = tasks::spawn_owned("key uses", authenticator.note_uses());
    let admin = AdminServiceServer::new(Administration::new(gateway.clone()));
    let service = GatewayServiceServer::new(gateway).max_decoding_message_size(MAX_DECODED_MESSAGE_BYTES);
    let mut limits = ServerLimits::default();
    limits.drain_delay = config.drain_delay;
    // No address keeps all others out, however many connections it opens.
    limits.max_connections_per_address = limits.max_connections / 2;
    let mut server = GrpcServer::new("gateway", health)
        .tls(config.tls)
        .limits(limits)
        .mount(stack.around(service))
        .patient("/hashmesh.gateway.v1.GatewayService/SubmitBatch", MAX_WAIT);
    if config.auth == Auth::Keys {
        server = server.mount(stack.around(admin));
    }
    server.serve(listener, shutdown).await?;
    Ok(())
}

/// What the layers of the public services share.
#[derive(Debug)]
struct Stack {
    authenticator: Authenticator,
    concurrency: ConcurrencyLayer<Shed>,
    limiter: Limiter,
}

impl Stack {
    /// A service with its layers, innermost first.
    fn around<S>(&self, service: S) -> Layered<S> {
        // Errors of tonic's own get their details.
        let service = Detailed::new(service);
        // Behind the places: what is shed is not counted as a call.
        let service = RateLimitLayer::new(self.limiter.clone()).layer(service);
        // Behind the keys: places are shared by tenant.
        let service = self.concurrency.layer(service);
        // Nothing is decoded, counted or given a place for who may not call.
        Authenticated::new(service, self.authenticator.clone(), self.limiter.clone())
    }
}

type Layered<S> = Authenticated<ConcurrencyService<RateLimitService<Detailed<S>, Limiter>, Shed>>;
