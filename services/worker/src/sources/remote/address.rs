//! Which addresses may be connected to for a task: those of the public Internet, and what the worker was told of.
//!
//! A client names the host, so without this it could have the worker ask whatever the worker's own network reaches: the
//! metadata service of a cloud, a database's admin page, a printer. Asked is not the name but each address that it resolves
//! to, at the moment of connecting; so a name that points elsewhere the next time gains nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// What may be connected to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Networks {
    allowed: Vec<IpNet>,
}

impl Networks {
    /// These, besides what is public.
    pub(crate) fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    pub(crate) fn permit(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let public = match address {
            IpAddr::V4(address) => public_v4(address),
            IpAddr::V6(address) => public_v6(address),
        };
        public || self.allowed.iter().any(|network| network.contains(&address))
    }
}

/// By IANA's registry of special-purpose addresses (RFC 6890): all that is not globally reachable, and multicast.
fn public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            // 192.0.0.0/24 has a few that are reachable, and nothing that anybody downloads from. 192.88.99.0/24 led to 6to4.
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    )
}

/// Only 2000::/3 is given out. Within it, addresses that carry an IPv4 address or stand for no host are refused.
fn public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let given_out = a & 0xe000 == 0x2000;
    // 2001::/23 is for protocols, Teredo among them; 2001:db8::/32 and 3fff::/20 for books; 2002::/16 is 6to4.
    let special = match a {
        0x2001 => b < 0x0200 || b == 0x0db8,
        0x2002 => true,
        0x3fff => b < 0x1000,
        _ => false,
    };
    given_out && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permit(networks: &Networks, address: &str) -> bool {
        networks.permit(address.parse().unwrap())
    }

    #[test]
    fn only_public_addresses_are_permitted() {
        let networks = Networks::default();
        for address in
            ["1.1.1.1", "8.8.8.8", "100.63.255.255", "172.32.0.1", "192.0.1.1", "2606:4700::1111", "2001:4860::1"]
        {
            assert!(permit(&networks, address), "{address}");
        }
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "169.254.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "192.168.255.255",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:0:7f00:1::",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!permit(&networks, address), "{address}");
        }
    }

    #[test]
    fn a_network_that_was_allowed_is_permitted_and_nothing_beside_it() {
        let networks = Networks::new(vec!["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        for (address, permitted) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.2.0.1", false),
            ("fd12::1", true),
            ("fc12::1", false),
            ("127.0.0.1", false),
            ("1.1.1.1", true),
        ] {
            assert_eq!(permit(&networks, address), permitted, "{address}");
        }
    }
}
