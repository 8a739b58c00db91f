//! One connection: its beginning within its time, the calls, the end.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc};

use hashmesh::error::{Reason, StatusBuilder};
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::body::Body;

use super::{
    limits::ServerLimits,
    opening::{self, NotOpened, Opened},
    peer::Peer,
};
use crate::{
    places::Place,
    shutdown::Shutdown,
    telemetry::{self, Repeated},
    tls::Tls,
};

/// Connections of those whose certificates are not believed.
static REFUSED: Repeated = Repeated::at_most(10);

/// What the connections of one server share.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    http2: http2::Builder<TrackedExecutor>,
    preface_timeout: std::time::Duration,
    tls: Option<Tls>,
    shutdown: Shutdown,
    hard_stop: CancellationToken,
}

impl Connections {
    pub(super) fn new(
        limits: &ServerLimits,
        tls: Option<Tls>,
        shutdown: Shutdown,
        hard_stop: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        let mut http2 = http2::Builder::new(TrackedExecutor { tasks });
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.max_concurrent_streams)
            .max_pending_accept_reset_streams(limits.max_pending_accept_reset_streams)
            .max_local_error_reset_streams(limits.max_local_error_reset_streams)
            .initial_stream_window_size(limits.stream_window_bytes)
            .initial_connection_window_size(limits.connection_window_bytes)
            .max_header_list_size(limits.max_header_list_bytes)
            .keep_alive_interval(limits.keepalive_interval)
            .keep_alive_timeout(limits.keepalive_timeout);
        Self { http2, preface_timeout: limits.preface_timeout, tls, shutdown, hard_stop }
    }

    /// Serves one connection to its end. Errors end this connection only; they are the peer's, hence logged at debug.
    pub(super) async fn serve<S>(self, stream: TcpStream, peer: SocketAddr, place: Arc<Place>, service: S)
    where
        S: hyper::service::Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
        S::Future: Send + 'static,
    {
        let opening = opening::open(stream, self.tls.as_ref());
        let opened = tokio::select! {
            opened = tokio::time::timeout(self.preface_timeout, opening) => opened,
            // Nothing was asked yet, so nothing is lost.
            () = self.shutdown.wait() => return,
        };
        // What is only told to speak otherwise has no use for a place.
        if matches!(opened, Ok(Ok(Opened::Plain(_) | Opened::Encrypted(..)))) {
            place.keep();
        }
        match opened {
            Ok(Ok(Opened::Plain(stream))) => {
                self.answer(stream, Peer::at(peer), service).await;
            }
            // Boxed, so that connections without TLS do not carry its size.
            Ok(Ok(Opened::Encrypted(stream, identity))) => {
                Box::pin(self.answer(stream, Peer { address: peer, identity }, service)).await;
            }
            Ok(Ok(Opened::NotEncrypted(stream))) => Box::pin(self.refuse(stream, peer)).await,
            Ok(Err(error)) => self.not_opened(peer, error).await,
            Err(_) => {
                tracing::debug!(%peer, after = ?self.preface_timeout, "connection closed: silent before the preface");
            }
        }
    }

    async fn not_opened(self, peer: SocketAddr, error: NotOpened) {
        let mutual = self.tls.as_ref().is_some_and(Tls::mutual);
        let text = telemetry::chain(&error);
        // Only the mesh itself connects here, so whoever runs it wants to know; but anybody can try again and again.
        let unusual = mutual && matches!(error, NotOpened::Handshake { .. });
        if unusual && let Some(left_out) = REFUSED.failed() {
            tracing::warn!(%peer, error = text, left_out, "connection refused");
        } else {
            tracing::debug!(%peer, error = text, "connection closed");
        }
        tokio::select! {
            _ = tokio::time::timeout(self.preface_timeout, error.farewell()) => {}
            () = self.shutdown.wait() => {}
        }
    }

    /// Tells a client that sends plain text where TLS is wanted, as an answer to its calls, so that every client shows it.
    async fn refuse(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: SocketAddr) {
        tracing::debug!(%peer, "plain text where TLS is wanted");
        let service = service_fn(async |_: Request<Incoming>| {
            let message = "this address speaks TLS: use https://, and name the authority of its certificate (--tls-ca)";
            Ok::<_, Infallible>(StatusBuilder::new(Reason::TlsRequired, message).build().into_http::<Body>())
        });
        let connection = self.http2.serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            // Its answer has long arrived, or nobody wants it.
            _ = tokio::time::timeout(self.preface_timeout, connection) => {}
            () = self.shutdown.wait() => {}
        }
    }

    /// Answers the calls of a connection until it ends, or we do.
    async fn answer<S>(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: Peer, service: S)
    where
        S: hyper::service::Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
        S::Future: Send + 'static,
    {
        let address = peer.address;
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            service.call(request)
        });
        let stream = TokioIo::new(stream);
        let mut connection = pin!(self.http2.serve_connection(stream, service));
        let mut draining = false;
        let result = loop {
            tokio::select! {
                result = connection.as_mut() => break result,
                () = self.shutdown.wait(), if !draining => {
                    draining = true;
                    // GOAWAY: the peer opens its next calls elsewhere, those under way finish here.
                    connection.as_mut().graceful_shutdown();
                }
                () = self.hard_stop.cancelled() => return,
            }
        };
        if let Err(error) = result {
            tracing::debug!(peer = %address, %error, "connection ended");
        }
    }
}

/// Runs the calls of a connection as tasks that the server waits for. They end with their connection: h2 resets their
/// streams when it is dropped.
#[derive(Clone, Debug)]
struct TrackedExecutor {
    tasks: TaskTracker,
}

impl<F> hyper::rt::Executor<F> for TrackedExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        drop(self.tasks.spawn(future));
    }
}
