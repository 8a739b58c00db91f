//! HTTP/1.1 clients: one for hosts that tasks name, one for the endpoint that the worker was started with.
//!
//! Neither follows redirects, uses a proxy, keeps cookies or decodes what comes: hyper's client does none of that, and
//! whatever is wanted of it is done in [`super::ask`], with its checks.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Empty;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client as HyperClient, Error as HyperError,
        connect::{HttpConnector, dns::Name},
    },
    rt::{TokioExecutor, TokioTimer},
};
use tower::Service;

use super::address::Networks;

/// Connecting takes no longer, TLS apart.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that nobody uses is closed after this long.
const IDLE: Duration = Duration::from_secs(30);

/// Headers, and what is read at once of a body.
const READ_BUFFER_BYTES: usize = 256 * 1024;

/// One of the two. Clones share their connections.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    inner: HyperClient<HttpsConnector<HttpConnector<Resolver>>, Empty<Bytes>>,
}

/// A host whose addresses may not be connected to.
#[derive(Debug, thiserror::Error)]
#[error("the host is at an address that may not be connected to")]
pub(super) struct Forbidden;

impl Client {
    /// Connects to what `networks` permit; to anything if there are none. `per_host` connections are kept.
    ///
    /// # Errors
    /// If the system has no certificates that could be believed.
    pub(super) fn new(networks: Option<Networks>, per_host: usize) -> io::Result<Self> {
        let mut tcp = HttpConnector::new_with_resolver(Resolver { networks });
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_keepalive(Some(IDLE));
        let connector =
            HttpsConnectorBuilder::new().with_native_roots()?.https_or_http().enable_http1().wrap_connector(tcp);
        let inner = HyperClient::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(per_host)
            .pool_timer(TokioTimer::new())
            .http1_max_buf_size(READ_BUFFER_BYTES)
            .build(connector);
        Ok(Self { inner })
    }

    /// Sends a request; the answer's body is still to be read.
    pub(super) async fn send(
        &self,
        request: http::Request<Empty<Bytes>>,
    ) -> Result<http::Response<hyper::body::Incoming>, HyperError> {
        self.inner.request(request).await
    }
}

/// Resolves names, and keeps what is permitted: the connection goes to one of these addresses and to no other.
#[derive(Clone, Debug)]
struct Resolver {
    networks: Option<Networks>,
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let networks = self.networks.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let permitted: Vec<SocketAddr> = match &networks {
                Some(networks) => found.filter(|address| networks.permit(address.ip())).collect(),
                None => found.collect(),
            };
            if permitted.is_empty() {
                return Err(io::Error::other(Forbidden));
            }
            Ok(permitted.into_iter())
        })
    }
}

/// True if nothing was connected to because it may not be.
pub(super) fn forbidden(error: &HyperError) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if error.is::<Forbidden>() || inner.and_then(|inner| inner.downcast_ref::<Forbidden>()).is_some() {
            return true;
        }
        next = error.source();
    }
    false
}
