//! Who is at the other end of a connection.

use std::net::SocketAddr;

use crate::tls::Identity;

/// Among the extensions of every call.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where the connection comes from: a client, or a proxy in front of it.
    pub address: SocketAddr,
    /// What its certificate says, if it showed one that was verified.
    pub identity: Identity,
}

impl Peer {
    /// Somebody at this address, of whom nothing else is known.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self { address, identity: Identity::default() }
    }
}
