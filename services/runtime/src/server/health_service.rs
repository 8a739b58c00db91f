//! `grpc.health.v1.Health` over a [`Health`]: Check, List (gRFC A90) and Watch.

use std::{collections::BTreeSet, sync::Arc};

use futures::{StreamExt as _, stream, stream::BoxStream};
use hashmesh::error::{Reason, StatusBuilder};
use tonic::{Request, Response, Status};

use self::v1::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
    health_check_response::ServingStatus,
    health_server::{self, HealthServer},
};
use crate::{
    health::{Health, HealthWatch},
    shutdown::Shutdown,
};

/// The generated types of the protocol.
#[allow(missing_debug_implementations, unreachable_pub, unused_qualifications, clippy::all, clippy::pedantic)]
pub(crate) mod v1 {
    tonic::include_proto!("grpc.health.v1");
}

/// The protocol's descriptor set, for reflection.
pub(crate) const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/health.binpb"));

/// A request has a short name only: nothing larger is decoded.
const MAX_REQUEST_BYTES: usize = 4 * 1024;

/// The name that stands for the server as a whole.
const WHOLE_SERVER: &str = "";

/// All services of a server share one health: it does its work, or it does not.
#[derive(Clone, Debug)]
pub(super) struct HealthService {
    health: Health,
    services: Arc<BTreeSet<&'static str>>,
    shutdown: Shutdown,
}

impl HealthService {
    pub(super) fn new(health: Health, services: impl IntoIterator<Item = &'static str>, shutdown: Shutdown) -> Self {
        let services = services.into_iter().chain([WHOLE_SERVER]).collect();
        Self { health, services: Arc::new(services), shutdown }
    }

    pub(super) fn into_server(self) -> HealthServer<Self> {
        HealthServer::new(self).max_decoding_message_size(MAX_REQUEST_BYTES)
    }
}

#[tonic::async_trait]
impl health_server::Health for HealthService {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        if !self.services.contains(service.as_str()) {
            // Defined by the health protocol, which knows no reasons of ours.
            return Err(Status::not_found("no such service on this server: List names them"));
        }
        Ok(Response::new(response(status(&self.health.state()))))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        let status = status(&self.health.state());
        let statuses = self.services.iter().map(|service| ((*service).to_owned(), response(status))).collect();
        Ok(Response::new(HealthListResponse { statuses }))
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let known = self.services.contains(request.into_inner().service.as_str());
        let watcher = Watcher { known, watch: self.health.watch(), sent: None, shutdown: self.shutdown.clone() };
        Ok(Response::new(stream::unfold(Some(watcher), next).boxed()))
    }
}

/// One Watch call.
struct Watcher {
    known: bool,
    watch: HealthWatch,
    sent: Option<ServingStatus>,
    shutdown: Shutdown,
}

/// The next message of a Watch: the status at once, then each change; at the server's end NOT_SERVING, then an error
/// that makes the client watch elsewhere.
async fn next(watcher: Option<Watcher>) -> Option<(Result<HealthCheckResponse, Status>, Option<Watcher>)> {
    let mut watcher = watcher?;
    loop {
        let stopping = watcher.shutdown.begun();
        let status = match watcher.known {
            // Services are mounted before the server starts, so an unknown one stays unknown.
            false => ServingStatus::ServiceUnknown,
            true if stopping => ServingStatus::NotServing,
            true => status(&watcher.watch.state()),
        };
        if watcher.sent != Some(status) {
            watcher.sent = Some(status);
            return Some((Ok(response(status)), Some(watcher)));
        }
        if stopping {
            let draining = StatusBuilder::new(Reason::Draining, "the server is stopping: watch it again later").build();
            return Some((Err(draining), None));
        }
        tokio::select! {
            true = watcher.watch.changed() => {}
            () = watcher.shutdown.wait() => {}
        }
    }
}

fn status(state: &Result<(), String>) -> ServingStatus {
    match state {
        Ok(()) => ServingStatus::Serving,
        Err(_) => ServingStatus::NotServing,
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
