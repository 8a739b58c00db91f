//! How many calls clients may make.

use clap::{Args, ValueEnum};
use hashmesh::limits::MAX_CALLS;
use hashmesh_gateway::{GatewayConfig, RateLimits};

/// Calls within any minute; a stream is one call. 0: any number.
#[derive(Args, Clone, Debug)]
pub(crate) struct LimitArgs {
    /// Whether calls are limited at all; default: `on`, but `off` under `up` on loopback.
    #[arg(long, value_enum, value_name = "MODE")]
    limits: Option<Switch>,
    /// Calls a minute to the public API from each address (IPv6: each /64).
    #[arg(long, value_name = "CALLS", default_value_t = RateLimits::USUAL.per_address, value_parser = calls())]
    limit_per_address: u32,
    /// Calls a minute without a valid key from each address.
    #[arg(long, value_name = "CALLS", default_value_t = RateLimits::USUAL.unauthenticated, value_parser = calls())]
    limit_unauthenticated: u32,
    /// Calls a minute to the administration from each address.
    #[arg(long, value_name = "CALLS", default_value_t = RateLimits::USUAL.admin, value_parser = calls())]
    limit_admin: u32,
    /// Calls a minute with each key that has no limit of its own.
    #[arg(long, value_name = "CALLS", default_value_t = RateLimits::USUAL.per_key, value_parser = calls())]
    limit_per_key: u32,
    /// Unary calls that bring or read work, under way at a time; above it they are refused (OVERLOADED), fairly by tenant. It
    /// holds whether or not calls are limited.
    #[arg(long, value_name = "CALLS", default_value_t = GatewayConfig::MAX_CONCURRENT_CALLS,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=4_000))]
    pub(crate) max_concurrent_calls: usize,
    /// A proxy, or a network of them (CIDR), whose `x-forwarded-for` is believed; may be given more than once.
    #[arg(long, value_name = "NET", value_parser = network)]
    pub(crate) trusted_proxy: Vec<ipnet::IpNet>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    /// Limited.
    On,
    /// Not limited.
    Off,
}

/// What the Cache service takes.
fn calls() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(0..=i64::from(MAX_CALLS))
}

pub(super) fn network(text: &str) -> Result<ipnet::IpNet, String> {
    let address = || text.parse::<std::net::IpAddr>().map(Into::into);
    text.parse().or_else(|_| address()).map_err(|_| "wanted an address, or a network such as 10.0.0.0/8".to_owned())
}

impl LimitArgs {
    /// What holds, where nothing else is said than that limits are on or off.
    pub(crate) fn resolve(&self, on: bool) -> RateLimits {
        if !self.limits.map_or(on, |switch| switch == Switch::On) {
            return RateLimits::default();
        }
        RateLimits {
            per_address: self.limit_per_address,
            unauthenticated: self.limit_unauthenticated,
            admin: self.limit_admin,
            per_key: self.limit_per_key,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_addresses_or_networks() {
        for text in ["10.0.0.0/8", "10.1.2.3", "fd00::/8", "::1"] {
            assert!(network(text).is_ok(), "{text}");
        }
        for text in ["", "10.0.0.0/33", "proxy.example", "10.0.0"] {
            assert!(network(text).is_err(), "{text}");
        }
    }
}
