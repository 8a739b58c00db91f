//! Whose call it is, as far as addresses tell.

use std::net::IpAddr;

use hashmesh_runtime::server::{Peer, network};
use ipnet::IpNet;
use tonic::codegen::http::{Extensions, HeaderMap};

/// Written by proxies: the address that each of them saw, the last at the end.
const FORWARDED: &str = "x-forwarded-for";

/// Knows clients by their addresses.
#[derive(Debug)]
pub(super) struct Addresses {
    trusted: Vec<IpNet>,
}

impl Addresses {
    pub(super) fn new(trusted: Vec<IpNet>) -> Self {
        Self { trusted }
    }

    /// The client's address; of IPv6 its /64, which is what one customer gets. `None`: the call came from within.
    pub(super) fn client(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
        let peer = extensions.get::<Peer>()?.address.ip();
        Some(network(self.behind_proxies(peer, headers)))
    }

    /// Whoever is at the other end, or, if that is a proxy of ours, whoever it says it speaks for; and so on. The first that
    /// is none of ours has written what stands before it, and may have written anything.
    fn behind_proxies(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let lines = headers.get_all(FORWARDED).iter().collect::<Vec<_>>();
        let said = lines.into_iter().rev().flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        for address in said {
            if !self.trusts(client) {
                break;
            }
            let Some(address) = parse(address.trim()) else { break };
            client = address;
        }
        client
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(&address))
    }
}

/// With or without a port, as some proxies write it.
fn parse(text: &str) -> Option<IpAddr> {
    let address = text.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let addresses = Addresses::new(trusted.iter().map(|net| net.parse().unwrap()).collect());
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED, line.parse().unwrap());
        }
        let mut extensions = Extensions::new();
        extensions.insert(Peer::at(std::net::SocketAddr::new(peer.parse().unwrap(), 1)));
        addresses.client(&headers, &extensions).unwrap().to_string()
    }

    #[test]
    fn what_strangers_say_of_themselves_is_not_believed() {
        assert_eq!(client("203.0.113.9", &["198.51.100.1"], &[]), "203.0.113.9");
        assert_eq!(client("203.0.113.9", &["198.51.100.1"], &["10.0.0.0/8"]), "203.0.113.9");
        // Behind the proxy everything but the last entry is the client's own invention.
        assert_eq!(client("10.0.0.1", &["198.51.100.1, 203.0.113.9"], &["10.0.0.0/8"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["198.51.100.1", "203.0.113.9"], &["10.0.0.0/8"]), "203.0.113.9");
    }

    #[test]
    fn a_chain_of_our_proxies_is_followed_to_the_first_that_is_none() {
        let trusted = ["10.0.0.0/8", "fd00::/8"];
        assert_eq!(client("10.0.0.1", &["1.2.3.4, 203.0.113.9, 10.0.0.7"], &trusted), "203.0.113.9");
        assert_eq!(client("fd00::1", &["203.0.113.9:4711"], &trusted), "203.0.113.9");
        // Without an entry, or with nonsense, the proxy itself is the client.
        assert_eq!(client("10.0.0.1", &[], &trusted), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["nonsense"], &trusted), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["10.0.0.2"], &trusted), "10.0.0.2");
    }

    #[test]
    fn of_ipv6_a_customers_network_is_one_client_and_a_mapped_address_is_ipv4() {
        assert_eq!(client("2001:db8:1:2:3:4:5:6", &[], &[]), "2001:db8:1:2::");
        assert_eq!(client("::ffff:203.0.113.9", &[], &[]), "203.0.113.9");
        assert_eq!(client("::ffff:10.0.0.1", &["203.0.113.9"], &["10.0.0.0/8"]), "203.0.113.9");
    }
}
