//! Channels to other services of the mesh.

use std::{sync::Arc, time::Duration};

pub use crate::{breakers::watch_breaker, calls::made::Made};
use hashmesh::error::{Reason, StatusBuilder, reason};
pub use hashmesh_middleware::breaker::Breaker;
use hashmesh_middleware::breaker::{BreakerConfig, BreakerLayer, BreakerService, Judge, Open};
use http::uri::Scheme;
use tonic::{
    Code,
    transport::{Channel, Endpoint, Uri},
};
use tower::Layer as _;

use crate::server::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES};
use crate::server::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MAX_HEADER_LIST_BYTES};
use crate::tls::{Connector, Role, Tls};

/// From the first SYN to the established connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Of an `https://` URL that names no port.
const HTTPS_PORT: u16 = 443;

/// A channel with a breaker in front: while the service fails, calls are answered at once. What causes a call is told with it.
pub type Guarded = Made<BreakerService<Channel>>;

/// What of a service's answers tells that it does not work: what the transport says of it. Whatever carries a reason of
/// ours was said by a service that works, be it that it is stopping or does not own the queue.
const JUDGE: Judge = Judge {
    failed: |status| {
        let codes = [Code::Unavailable, Code::Unknown, Code::Internal, Code::DeadlineExceeded];
        codes.contains(&status.code()) && reason(status).is_none()
    },
    refused: |Open { retry_after }| {
        let message = "a service behind this one has failed several times and is left alone for a moment; try again";
        StatusBuilder::new(Reason::CircuitOpen, message).retry_after(retry_after).build()
    },
};

/// The breaker in front of one process, whatever number of channels leads to it. Exported as long as it is used.
#[must_use]
pub fn breaker(url: &str) -> Arc<Breaker> {
    breaker_with(url, BreakerConfig::default())
}

/// The same of another kind.
#[must_use]
pub fn breaker_with(url: &str, config: BreakerConfig) -> Arc<Breaker> {
    let breaker = Breaker::new(url, config);
    breaker.keep(watch_breaker(url, &breaker));
    breaker
}

/// Puts a breaker in front of a channel to a service of this role.
#[must_use]
pub fn guarded(service: Role, channel: Channel, breaker: &Arc<Breaker>) -> Guarded {
    Made::new(service, BreakerLayer::new(Arc::clone(breaker), JUDGE).layer(channel))
}

/// A URL that is not the address of a service.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// Not a URL.
    #[error("wanted a service's address like http://127.0.0.1:7420, found {url:?}")]
    Malformed {
        /// What was found.
        url: String,
        /// Why it is none.
        #[source]
        source: tonic::transport::Error,
    },
    /// Neither plain text nor TLS.
    #[error("wanted an address that starts with http:// or https://, found {url:?}")]
    Scheme {
        /// What was found.
        url: String,
    },
    /// TLS without a certificate of our own.
    #[error(
        "to speak TLS with {url} this process needs --tls-cert, --tls-key and --tls-ca; `hashmesh certs` makes them"
    )]
    NoCertificate {
        /// What was found.
        url: String,
    },
    /// No host, or parts that an address does not have.
    #[error("wanted an address of the form http://HOST:PORT or https://HOST:PORT, found {url:?}: {problem}")]
    Parts {
        /// What was found.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Credentials within the URL. Not repeated here.
    #[error("the address of a service may not hold credentials: remove the part before the @")]
    Credentials,
}

/// A channel to the service at `http://HOST:PORT` that connects on first use, and again after every failure.
///
/// Calls have no timeout of the channel's: tonic's would end at the response's headers and answer CANCELLED. A
/// connection whose peer does not answer pings fails its calls within 30 s.
///
/// # Errors
/// If the URL is no such address.
pub fn lazy(url: &str) -> Result<Channel, ChannelError> {
    let uri = parse(url)?;
    match uri.scheme_str() {
        Some("http") => Ok(endpoint(uri).connect_lazy()),
        _ => Err(ChannelError::NoCertificate { url: url.to_owned() }),
    }
}

/// Makes channels to the processes of one service.
#[derive(Clone, Debug)]
pub struct Dialer {
    service: Role,
    tls: Option<Tls>,
}

impl Dialer {
    /// To services of this role; with `tls` also over `https://`.
    #[must_use]
    pub fn new(service: Role, tls: Option<Tls>) -> Self {
        Self { service, tls }
    }

    /// The role of the processes.
    #[must_use]
    pub fn service(&self) -> Role {
        self.service
    }

    /// [`to`] this process.
    ///
    /// # Errors
    /// As [`to`].
    pub fn channel(&self, url: &str) -> Result<Channel, ChannelError> {
        to(self.service, url, self.tls.as_ref())
    }
}

/// The same, also to `https://HOST:PORT`: shows our certificate, and believes a certificate of our authority that names
/// the service's role. Each connection is made with what `tls` holds then.
///
/// # Errors
/// If the URL is no such address, or wants TLS where we have none.
pub fn to(service: Role, url: &str, tls: Option<&Tls>) -> Result<Channel, ChannelError> {
    let uri = parse(url)?;
    if uri.scheme_str() == Some("http") {
        return lazy(url);
    }
    let tls = tls.filter(|tls| tls.client(service).is_some());
    let tls = tls.ok_or_else(|| ChannelError::NoCertificate { url: url.to_owned() })?;
    let malformed = || ChannelError::Parts { url: url.to_owned(), problem: "the host is no name and no IP address" };
    let host = uri.host().unwrap_or_default();
    let connector =
        Connector::new(tls.clone(), service, host, uri.port_u16().unwrap_or(HTTPS_PORT)).ok_or_else(malformed)?;
    // tonic's own TLS has its certificates for life and would want some for `https`; calls still say what they are.
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(Scheme::HTTP);
    let dialled = Uri::from_parts(parts).map_err(|_| malformed())?;
    Ok(endpoint(dialled).origin(uri).connect_with_connector_lazy(connector))
}

fn endpoint(uri: Uri) -> Endpoint {
    Endpoint::from(uri)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_header_list_size(MAX_HEADER_LIST_BYTES)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
}

fn parse(url: &str) -> Result<Uri, ChannelError> {
    // Before anything that could repeat the text.
    if url.contains('@') {
        return Err(ChannelError::Credentials);
    }
    let endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(|source| ChannelError::Malformed { url: url.to_owned(), source })?;
    let uri = endpoint.uri().clone();
    let problem = |problem| ChannelError::Parts { url: url.to_owned(), problem };
    match uri.scheme_str() {
        Some("http" | "https") => {}
        Some(_) => return Err(ChannelError::Scheme { url: url.to_owned() }),
        None => return Err(problem("the scheme is missing")),
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(problem("the host is missing"));
    }
    if uri.path() != "/" || uri.query().is_some() {
        return Err(problem("a path or query has no meaning here"));
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn plain_addresses_are_taken() {
        for url in ["http://127.0.0.1:7420", "http://queue:7421/", "http://[::1]:7420"] {
            lazy(url).unwrap();
        }
    }

    #[tokio::test]
    async fn anything_else_is_refused_with_the_remedy() {
        assert!(matches!(lazy("https://queue:7421"), Err(ChannelError::NoCertificate { .. })));
        assert!(matches!(to(Role::Queue, "https://queue:7421", None), Err(ChannelError::NoCertificate { .. })));
        assert!(matches!(lazy("ftp://queue:7421"), Err(ChannelError::Scheme { .. })));
        assert!(matches!(lazy("queue:7421"), Err(ChannelError::Parts { .. } | ChannelError::Scheme { .. })));
        assert!(matches!(lazy("http://queue:7421/api"), Err(ChannelError::Parts { .. })));
        assert!(matches!(lazy("http://que ue"), Err(ChannelError::Malformed { .. })));
    }

    #[tokio::test]
    async fn credentials_are_refused_and_not_repeated() {
        let error = lazy("http://user:secret@queue:7421").unwrap_err();
        assert!(matches!(error, ChannelError::Credentials));
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
}
