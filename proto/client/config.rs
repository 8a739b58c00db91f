//! What a client is told.

use std::time::Duration;

use super::tls::TlsOptions;
use crate::keys::KeyText;

/// Where the mesh is, and how patient the client is.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The Gateway: `http://host:port`, `https://host:port`, or `host:port` for `http`.
    pub server: String,
    /// Shown with every call. A mesh that checks keys refuses calls without one.
    pub api_key: Option<KeyText>,
    /// How an `https://` server is known.
    pub tls: TlsOptions,
    /// The key may be sent as plain text to other machines, where everybody on the way can read it.
    pub insecure: bool,
    /// How long one outage is waited out, from its first failure on. Zero: every failure is final.
    pub retry_for: Duration,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// How long the answer to one attempt of a unary call may take, connecting included. An attempt that takes longer has
    /// an unknown end and is made again; every call is made so that repeating it changes nothing.
    pub attempt_timeout: Duration,
}

impl ClientConfig {
    /// Where `hashmesh up` listens.
    pub const DEFAULT_SERVER: &str = "http://127.0.0.1:7420";
    /// How long an outage is waited out when nothing else is said.
    pub const DEFAULT_RETRY_FOR: Duration = Duration::from_secs(60);

    /// The defaults, for this server.
    #[must_use]
    pub fn new(server: impl Into<String>) -> Self {
        Self { server: server.into(), ..Self::default() }
    }
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            server: Self::DEFAULT_SERVER.to_owned(),
            api_key: None,
            tls: TlsOptions::default(),
            insecure: false,
            retry_for: Self::DEFAULT_RETRY_FOR,
            connect_timeout: Duration::from_secs(5),
            attempt_timeout: Duration::from_secs(30),
        }
    }
}
