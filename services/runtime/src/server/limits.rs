//! What one server takes from its peers, and how long it waits for them.

use std::time::Duration;

use crate::resources;

/// Bytes a peer may send on one stream before the handler reads them: a full batch and a bit, so that one frame never
/// needs a round trip in its middle.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Bytes a peer may send on one connection before handlers read them.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Bytes of one call's headers: the metadata of gRPC is small.
pub(crate) const MAX_HEADER_LIST_BYTES: u32 = 16 * 1024;
/// Between two HTTP/2 pings to a peer.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// A peer that does not answer a ping for this long is gone.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The limits of one [`GrpcServer`](super::GrpcServer).
///
/// What peers can make the process hold before a handler reads it is bounded by `max_connections` ×
/// `connection_window_bytes`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerLimits {
    /// Connections at a time; further ones wait in the kernel's backlog, unless there are some that have not begun to speak.
    /// By default what fills half of the memory with unread windows, at least 256, at most 4,096.
    pub max_connections: usize,
    /// Of these, what one IPv4 address or IPv6 /64 may have; further ones are closed. Not for whoever is on this machine.
    /// All by default: the services of a mesh are few machines with many connections.
    pub max_connections_per_address: usize,
    /// Calls under way at a time on one connection. 1,024 by default: proxies multiplex many clients on one.
    pub max_concurrent_streams: u32,
    /// Streams that a peer opened and reset before we took them; above, the connection is closed
    /// (CVE-2023-44487, "rapid reset"). 20 by default, as in h2.
    pub max_pending_accept_reset_streams: usize,
    /// Streams that we reset because of a peer's errors; above, the connection is closed (CVE-2025-8671,
    /// "MadeYouReset"). 1,024 by default, as in h2.
    pub max_local_error_reset_streams: usize,
    /// Unread bytes per stream. 4 MiB by default.
    pub stream_window_bytes: u32,
    /// Unread bytes per connection. 16 MiB by default.
    pub connection_window_bytes: u32,
    /// Bytes of headers per call. 16 KiB by default.
    pub max_header_list_bytes: u32,
    /// From the accepted connection to the end of the HTTP/2 preface, a TLS handshake included. A peer whose handshake failed
    /// has as long again to read why. 5 s by default.
    pub preface_timeout: Duration,
    /// Between two HTTP/2 pings. 20 s by default.
    pub keepalive_interval: Duration,
    /// From a ping to the end of a connection that did not answer. 10 s by default.
    pub keepalive_timeout: Duration,
    /// How long a server goes on after its stop has begun and its health has turned, so that proxies hear of it before calls to it
    /// fail. 0 by default.
    pub drain_delay: Duration,
    /// From the end of that to the hard end of what still runs. 10 s by default.
    pub shutdown_grace: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            max_connections: connections_within(resources::memory_bytes()),
            max_connections_per_address: usize::MAX,
            max_concurrent_streams: 1_024,
            max_pending_accept_reset_streams: 20,
            max_local_error_reset_streams: 1_024,
            stream_window_bytes: STREAM_WINDOW_BYTES,
            connection_window_bytes: CONNECTION_WINDOW_BYTES,
            max_header_list_bytes: MAX_HEADER_LIST_BYTES,
            preface_timeout: Duration::from_secs(5),
            keepalive_interval: KEEPALIVE_INTERVAL,
            keepalive_timeout: KEEPALIVE_TIMEOUT,
            drain_delay: Duration::ZERO,
            shutdown_grace: Duration::from_secs(10),
        }
    }
}

fn connections_within(memory_bytes: u64) -> usize {
    let fitting = memory_bytes / 2 / u64::from(CONNECTION_WINDOW_BYTES);
    usize::try_from(fitting).unwrap_or(usize::MAX).clamp(256, 4_096)
}
