//! Who is at the other end of a connection.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

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

/// The address that stands for whoever it belongs to: of IPv6 the /64, which is what one customer gets.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}
