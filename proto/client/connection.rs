//! Connections to a Gateway.

use std::time::Duration;

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use super::{config::ClientConfig, error::ClientError, outage::Outage, tls, traced::CallTrace};
use crate::{
    admin::v1::admin_service_client::AdminServiceClient,
    gateway::v1::gateway_service_client::GatewayServiceClient,
    keys::{HEADER, KeyText},
    limits::MAX_DECODED_MESSAGE_BYTES,
};

/// A connection that shows the client's key with every call, and tells what caused it.
pub type KeyedChannel = InterceptedService<Channel, ShowKey>;

/// What a stream may have under way towards us; the default of 64 KiB throttles bulk results.
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// The same for a connection.
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// HTTP/2 pings find a peer that is gone without a word; proxies answer them, so the streams have pings of their own.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client of one mesh. Cheap to clone; clones share a connection for unary calls.
#[derive(Clone, Debug)]
pub struct Client {
    config: ClientConfig,
    endpoint: Endpoint,
    shared: Channel,
    key: ShowKey,
}

/// Shows a key, if there is one, and tells what caused the call, if that is known.
#[derive(Clone, Debug)]
pub struct ShowKey {
    header: Option<MetadataValue<Ascii>>,
    trace: CallTrace,
}

impl ShowKey {
    fn new(key: Option<&KeyText>) -> Self {
        // A key is hexadecimal: it is always a valid header.
        let mut header = key.and_then(|key| MetadataValue::try_from(format!("Bearer {}", key.reveal())).ok());
        if let Some(header) = &mut header {
            header.set_sensitive(true);
        }
        Self { header, trace: CallTrace::default() }
    }
}

impl Interceptor for ShowKey {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = &self.header {
            request.metadata_mut().insert(HEADER, header.clone());
        }
        self.trace.tell(request.metadata_mut());
        Ok(request)
    }
}

impl Client {
    /// A client of the mesh at `config.server`. Connects when first used, so a mesh that is not up yet is waited for.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the server is no address, a certificate cannot be used, or the key would be sent for others to read.
    pub fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        let endpoint = endpoint(&config)?;
        if config.api_key.is_some() && !config.insecure && !tls::private(endpoint.uri()) {
            return Err(ClientError::KeyInPlainText { server: config.server });
        }
        let shared = endpoint.connect_lazy();
        let key = ShowKey::new(config.api_key.as_ref());
        Ok(Self { config, endpoint, shared, key })
    }

    /// The same client for calls, streams and batches that are caused by the span with this W3C `traceparent`
    /// (`00-<trace id>-<span id>-<flags>`): the mesh's own spans then belong to its trace.
    #[must_use]
    pub fn traced(mut self, traceparent: &str) -> Self {
        self.key.trace = CallTrace::new(traceparent);
        self
    }

    /// What the client was told.
    #[must_use]
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// The host of the server, without its port; of an IPv6 address without the brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.endpoint.uri().host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    /// The port of the server.
    #[must_use]
    pub fn port(&self) -> u16 {
        let uri = self.endpoint.uri();
        uri.port_u16().unwrap_or(if self.encrypted() { 443 } else { 80 })
    }

    /// True if the server is an `https://` one.
    #[must_use]
    pub fn encrypted(&self) -> bool {
        self.endpoint.uri().scheme_str() == Some("https")
    }

    /// The generated client over the shared connection, for what has no wrapper. It does not try again.
    #[must_use]
    pub fn gateway(&self) -> GatewayServiceClient<KeyedChannel> {
        self.over(self.shared.clone())
    }

    /// The generated client of the administration, over the shared connection. It does not try again.
    #[must_use]
    pub fn admin(&self) -> AdminServiceClient<KeyedChannel> {
        AdminServiceClient::with_interceptor(self.shared.clone(), self.key.clone())
    }

    /// The shared connection itself, for protocols that every gRPC server speaks: health, reflection.
    #[must_use]
    pub fn channel(&self) -> KeyedChannel {
        KeyedChannel::new(self.shared.clone(), self.key.clone())
    }

    /// The generated client over a new connection, for a stream.
    pub(super) fn fresh_gateway(&self) -> GatewayServiceClient<KeyedChannel> {
        self.over(self.endpoint.connect_lazy())
    }

    pub(super) fn outage(&self) -> Outage {
        Outage::new(self.config.retry_for)
    }

    fn over(&self, channel: Channel) -> GatewayServiceClient<KeyedChannel> {
        GatewayServiceClient::with_interceptor(channel, self.key.clone())
            .max_decoding_message_size(MAX_DECODED_MESSAGE_BYTES)
    }
}

fn endpoint(config: &ClientConfig) -> Result<Endpoint, ClientError> {
    let bad_server = |cause: String| ClientError::BadServer { server: config.server.clone(), cause };
    let url = match config.server.split_once("://") {
        None => format!("http://{}", config.server),
        Some(("http" | "https", _)) => config.server.clone(),
        Some((scheme, _)) => return Err(bad_server(format!("unknown scheme {scheme:?}"))),
    };
    let mut endpoint = Endpoint::from_shared(url).map_err(|error| bad_server(chain(&error)))?;
    if endpoint.uri().host().is_none_or(str::is_empty) {
        return Err(bad_server("it names no host".to_owned()));
    }
    if endpoint.uri().scheme_str() == Some("https") {
        endpoint = endpoint.tls_config(config.tls.config()).map_err(|error| bad_server(chain(&error)))?;
    }
    Ok(endpoint
        .connect_timeout(config.connect_timeout)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(Duration::from_secs(30)))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

/// An error with its causes, for people.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_is_an_url_or_a_host_with_a_port() {
        for (server, host) in [
            ("http://127.0.0.1:7420", "127.0.0.1"),
            ("localhost:7420", "localhost"),
            ("https://mesh.example", "mesh.example"),
            ("http://[::1]:7420", "::1"),
        ] {
            let client = Client::connect(ClientConfig::new(server)).expect(server);
            assert_eq!(client.host(), host);
        }
        let key = KeyText::mint();
        for (server, insecure, accepted) in [
            ("http://127.0.0.1:7420", false, true),
            ("https://mesh.example", false, true),
            ("http://mesh.example:7420", false, false),
            ("mesh.example:7420", false, false),
            ("http://mesh.example:7420", true, true),
        ] {
            let config = ClientConfig { api_key: Some(key.clone()), insecure, ..ClientConfig::new(server) };
            match Client::connect(config) {
                Ok(_) => assert!(accepted, "{server}"),
                Err(error) => {
                    assert!(!accepted && matches!(error, ClientError::KeyInPlainText { .. }), "{error}");
                    assert!(!error.to_string().contains(key.reveal()) && error.to_string().contains("https://"));
                }
            }
        }
        for server in ["", "ftp://host", "http://", "http://a b"] {
            let error = Client::connect(ClientConfig::new(server)).expect_err(server);
            assert!(matches!(error, ClientError::BadServer { .. }), "{error}");
        }
    }
}
