//! Connections of our channels: TCP, then TLS with the certificates of that moment.

use std::{
    io,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower::Service;

use super::{Tls, identity::Role};

/// Makes the connections of one channel.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    tls: Tls,
    service: Role,
    name: ServerName<'static>,
    address: (String, u16),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectFailed {
    #[error("cannot connect to {host}:{port}")]
    Tcp { host: String, port: u16, source: io::Error },
    #[error("no TLS with the {service} at {host}:{port}; does it speak TLS, with a certificate of our authority?")]
    Handshake { service: Role, host: String, port: u16, source: io::Error },
    #[error("no authority is named whose certificates could be believed: say --tls-ca")]
    NoAuthority,
    #[error("wanted HTTP/2 within TLS, which {host}:{port} does not speak")]
    Protocol { host: String, port: u16 },
}

impl Connector {
    /// To the service of this role at `host`, a name or an address. `None`: it is neither.
    pub(crate) fn new(tls: Tls, service: Role, host: &str, port: u16) -> Option<Self> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).ok()?;
        Some(Self { tls, service, name, address: (host.to_owned(), port) })
    }

    async fn connect(self) -> Result<TlsStream<TcpStream>, ConnectFailed> {
        let Self { tls, service, name, address: (host, port) } = self;
        let config = tls.client(service).ok_or(ConnectFailed::NoAuthority)?;
        let connected = TcpStream::connect((host.as_str(), port)).await;
        // As on the other side: small frames must not wait.
        let connected = connected.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        let stream = connected.map_err(|source| ConnectFailed::Tcp { host: host.clone(), port, source })?;
        let handshake = TlsConnector::from(config).connect(name, stream).await;
        let stream =
            handshake.map_err(|source| ConnectFailed::Handshake { service, host: host.clone(), port, source })?;
        if stream.get_ref().1.alpn_protocol().is_none() {
            return Err(ConnectFailed::Protocol { host, port });
        }
        Ok(stream)
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = ConnectFailed;
    type Future = BoxFuture<'static, Result<Self::Response, ConnectFailed>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectFailed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await.map(TokioIo::new) })
    }
}
