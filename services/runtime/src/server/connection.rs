//! One connection: the preface within its time, the calls, the end.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    net::TcpStream,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::body::Body;

use super::{limits::ServerLimits, peer::Peer};
use crate::shutdown::Shutdown;

/// What every HTTP/2 client sends first (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the connections of one server share.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    http2: http2::Builder<TrackedExecutor>,
    preface_timeout: std::time::Duration,
    shutdown: Shutdown,
    hard_stop: CancellationToken,
}

impl Connections {
    pub(super) fn new(
        limits: &ServerLimits,
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
        Self { http2, preface_timeout: limits.preface_timeout, shutdown, hard_stop }
    }

    /// Serves one connection to its end. Errors end this connection only; they are the peer's, hence logged at debug.
    pub(super) async fn serve<S>(self, stream: TcpStream, peer: SocketAddr, service: S)
    where
        S: hyper::service::Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
        S::Future: Send + 'static,
    {
        let (mut reader, writer) = stream.into_split();
        let preface = tokio::select! {
            preface = tokio::time::timeout(self.preface_timeout, expect_preface(&mut reader)) => preface,
            // Nothing was asked yet, so nothing is lost.
            () = self.shutdown.wait() => return,
        };
        match preface {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "connection closed: no HTTP/2 preface");
                return;
            }
            Err(_) => {
                tracing::debug!(%peer, after = ?self.preface_timeout, "connection closed: silent before the preface");
                return;
            }
        }

        // h2 reads the preface itself, so it gets it once more.
        let stream = TokioIo::new(tokio::io::join(PREFACE.as_slice().chain(reader), writer));
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer { address: peer });
            service.call(request)
        });
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
            tracing::debug!(%peer, %error, "connection ended");
        }
    }
}

/// Reads the preface and stops at the first byte that cannot belong to it.
async fn expect_preface(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut received = [0; PREFACE.len()];
    let mut length = 0;
    while length < PREFACE.len() {
        let count = reader.read(&mut received[length..]).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        length += count;
        if received[..length] != PREFACE[..length] {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "these bytes are not HTTP/2"));
        }
    }
    Ok(())
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
