//! What a Gateway must be told.

use std::time::Duration;

use hashmesh_middleware::concurrency::ConcurrencyConfig;
use hashmesh_runtime::tls::Tls;
use ipnet::IpNet;

use crate::{Auth, UploadConfig};

/// Whatever the services behind say of their load.
const LEAST_CONCURRENT_CALLS: usize = 8;

/// Where a Gateway finds the services behind it.
#[derive(Clone, Debug, Default)]
pub struct GatewayConfig {
    /// The Queue's URLs, `http://HOST:PORT` or `https://HOST:PORT`. At least one. They tell who else there is and who owns what.
    pub queue: Vec<String>,
    /// The Hash service's URLs. At least one. Of several, one that answers is kept to.
    pub hash: Vec<String>,
    /// Whether callers need a key.
    pub auth: Auth,
    /// Our certificate and who is believed, towards clients and services. `None`: plain text.
    pub tls: Option<Tls>,
    /// How many calls they may make.
    pub limits: RateLimits,
    /// Proxies whose `x-forwarded-for` is believed. Nobody else's is.
    pub trusted_proxies: Vec<IpNet>,
    /// The Cache service's URLs. None: there is no cache, and each Gateway counts by itself.
    pub cache: Vec<String>,
    /// The Cache services have a Redis, where all Gateways count together.
    pub shared_limits: bool,
    /// How long the Cache service is waited for before a call is counted here. Default [`GatewayConfig::CACHE_TIMEOUT`].
    pub cache_timeout: Option<Duration>,
    /// Where uploads go. `None`: it takes none.
    pub uploads: Option<UploadConfig>,
    /// Unary calls that bring or read work, under way at a time. 0: [`GatewayConfig::MAX_CONCURRENT_CALLS`].
    pub max_concurrent_calls: usize,
    /// How long calls are taken after a stop has begun, so that proxies hear of it first.
    pub drain_delay: Duration,
    /// After about so long a stream is ended in order, so that it finds whatever Gateways there are by then. `None`: never.
    pub max_stream_age: Option<Duration>,
}

impl GatewayConfig {
    /// With what counting here takes, a decision takes 20 ms at most.
    pub const CACHE_TIMEOUT: Duration = Duration::from_millis(15);

    /// Half of all unary calls that a Gateway takes, so that those which control work find a place.
    pub const MAX_CONCURRENT_CALLS: usize = 2_048;

    pub(crate) fn concurrency(&self) -> ConcurrencyConfig {
        let most = if self.max_concurrent_calls == 0 { Self::MAX_CONCURRENT_CALLS } else { self.max_concurrent_calls };
        ConcurrencyConfig { most, least: most.min(LEAST_CONCURRENT_CALLS) }
    }
}

/// Calls within any minute. A stream is one call. 0: any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// Of each client address (IPv6: each /64), to the public API.
    pub per_address: u32,
    /// Of each client address, without a valid key.
    pub unauthenticated: u32,
    /// Of each client address, to the administration.
    pub admin: u32,
    /// Of each key that has no limit of its own.
    pub per_key: u32,
}

impl RateLimits {
    /// For a mesh that others can reach.
    pub const USUAL: Self = Self { per_address: 1_000, unauthenticated: 100, admin: 100, per_key: 200 };
}
