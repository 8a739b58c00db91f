//! A gRPC server: its services, their health, their reflection, and how it ends.

mod connection;
mod deadlines;
pub(crate) mod health_service;
mod leaving;
mod limits;
mod opening;
mod panics;
mod peer;
mod reflection;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{body::Body, server::NamedService, service::Routes};
use tower::{Layer as _, Service, util::MapResponse};

pub(crate) use self::limits::{
    CONNECTION_WINDOW_BYTES, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MAX_HEADER_LIST_BYTES, STREAM_WINDOW_BYTES,
};
use self::{connection::Connections, health_service::HealthService, panics::CatchPanic};
pub use self::{
    limits::ServerLimits,
    peer::{Peer, network},
};
use crate::{
    accept,
    calls::answered::Answered,
    health::Health,
    metrics::catalogue::rpc::SERVER_CONNECTIONS,
    places::Places,
    shutdown::Shutdown,
    tls::{Authorize, Tls},
};
pub use hashmesh_middleware::deadline::Deadline;

/// How long the tasks of connections that were ended by force may take to notice.
const AFTER_HARD_STOP: Duration = Duration::from_secs(1);

/// Why a server could not start. Once it accepts, no error ends it.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A mounted service is in no descriptor set, so reflection could not describe it.
    #[error("service {service} is mounted, but the descriptor set of the API does not describe it")]
    NotDescribed {
        /// Its full name.
        service: String,
    },
    /// A descriptor set of our own could not be read.
    #[error("cannot read the descriptor sets for reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// A descriptor set of our own could not be decoded.
    #[error("cannot decode the descriptor sets for reflection")]
    Descriptors(#[from] prost::DecodeError),
}

/// A server under construction. `grpc.health.v1` and reflection (v1 and v1alpha) of what is mounted come by themselves.
#[derive(Debug)]
#[must_use]
pub struct GrpcServer {
    name: &'static str,
    health: Health,
    limits: ServerLimits,
    tls: Option<Tls>,
    routes: Routes,
    services: BTreeSet<&'static str>,
    /// Methods that may take longer than others, by their paths.
    patient: BTreeMap<&'static str, Duration>,
}

impl GrpcServer {
    /// A server without services. `name` is for the logs; `health` is what all its services report.
    pub fn new(name: &'static str, health: Health) -> Self {
        Self {
            name,
            health,
            limits: ServerLimits::default(),
            tls: None,
            routes: Routes::default(),
            services: BTreeSet::new(),
            patient: BTreeMap::new(),
        }
    }

    /// Other limits than the default ones.
    pub fn limits(mut self, limits: ServerLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Speaks TLS, and holds callers to what their certificates are for. `None`: plain text, to and from everybody.
    pub fn tls(mut self, tls: Option<Tls>) -> Self {
        self.tls = tls;
        self
    }

    /// Adds a service. It must be part of the API's descriptor set ([`hashmesh::FILE_DESCRIPTOR_SET`]).
    ///
    /// Limits of messages belong to the service: set `max_decoding_message_size` to
    /// [`hashmesh::limits::MAX_DECODED_MESSAGE_BYTES`] before it is mounted.
    ///
    /// # Panics
    /// If a service of the same name is mounted already.
    pub fn mount<S>(mut self, service: S) -> Self
    where
        S: Service<http::Request<Body>, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
        S::Response: axum::response::IntoResponse,
        S::Future: Send + 'static,
    {
        self.services.insert(S::NAME);
        self.routes = self.routes.add_service(service);
        self
    }

    /// Lets the calls of a unary method (`/package.Service/Method`) take this long instead of 60 s.
    pub fn patient(mut self, path: &'static str, longest: Duration) -> Self {
        self.patient.insert(path, longest);
        self
    }

    /// Serves until the shutdown begins, then drains: health turns to not serving; after [`ServerLimits::drain_delay`] no
    /// connection is accepted any more, each gets a GOAWAY and finishes its calls. What still runs after the grace is ended by
    /// force, which is logged.
    ///
    /// Streams that never end by themselves must watch the shutdown too, and end.
    ///
    /// # Errors
    /// Before the first connection only, see [`ServeError`].
    pub async fn serve(self, listener: TcpListener, shutdown: Shutdown) -> Result<(), ServeError> {
        let Self { name, health, limits, tls, routes, services, patient } = self;
        // Follows the shutdown.
        let closing = Shutdown::new();
        let health_service = HealthService::new(health.clone(), services.iter().copied(), closing.clone());
        let routes = routes.add_service(health_service.into_server());
        let routes = reflection::mount(routes, &services, &closing)?.prepare();
        // Innermost first. The whole of a call counts, who calls and what is decoded included.
        let routes = deadlines::layer(patient).layer(routes);
        // What a caller's certificate is not for gets no further.
        let answered = Answered::new(&services);
        let routes = Authorize::new(tls.as_ref(), services).layer(routes);
        // What panics below it is answered. Limits come between it and the others.
        let stopping = shutdown.clone();
        let marked = MapResponse::new(CatchPanic.layer(routes), move |response| leaving::mark(&stopping, response));
        // Outermost: whatever is answered is counted.
        let service = TowerToHyperService::new(answered.layer(marked));

        let address = listener.local_addr().ok();
        tracing::info!(server = name, address = address.map(tracing::field::display), "serving");

        let tasks = TaskTracker::new();
        let hard_stop = CancellationToken::new();
        // Dropped with this future too: no connection outlives its server.
        let _stop_on_drop = hard_stop.clone().drop_guard();
        let connections = Connections::new(&limits, tls, closing.clone(), hard_stop.clone(), tasks.clone());

        let places = Places::new(limits.max_connections, limits.max_connections_per_address);
        let _open = SERVER_CONNECTIONS.watch(&[], {
            let places = Arc::clone(&places);
            #[allow(clippy::cast_precision_loss)] // never that many
            move || places.taken() as f64
        });
        let accepting = accept::run(listener, &places, &closing, &tasks, |stream, peer, place| {
            connections.clone().serve(stream, peer, place, service.clone())
        });
        let leaving = leaving::leave(name, &health, &shutdown, limits.drain_delay, &closing);
        tokio::join!(accepting, leaving);

        let grace = limits.shutdown_grace;
        tracing::info!(server = name, "draining");
        tasks.close();
        if tokio::time::timeout(grace, tasks.wait()).await.is_err() {
            tracing::warn!(server = name, tasks = tasks.len(), ?grace, "still busy after the grace, ending by force");
            hard_stop.cancel();
            if tokio::time::timeout(AFTER_HARD_STOP, tasks.wait()).await.is_err() {
                tracing::error!(server = name, tasks = tasks.len(), "tasks go on after they were ended by force");
            }
        }
        tracing::info!(server = name, "stopped");
        Ok(())
    }
}
