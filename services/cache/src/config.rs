//! What the Cache service is started with.

use std::time::Duration;

use hashmesh_runtime::tls::Tls;

/// The Cache service's settings.
#[derive(Clone)]
pub struct CacheConfig {
    /// Where Redis is: `redis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE]`, or
    /// `redis-sentinel://[USER:PASSWORD@]HOST:PORT[,HOST:PORT…]/PRIMARY[/DATABASE]`, where the hosts are sentinels, or
    /// `redis-cluster://[USER:PASSWORD@]HOST:PORT[,HOST:PORT…]`; each with TLS as `rediss…`.
    pub redis_url: String,
    /// How long Redis is waited for.
    pub redis_timeout: Duration,
    /// Calls a minute of each address, where Envoy asks without a limit of its own. 0: any number.
    pub calls_per_address: u32,
    /// Our certificate and whose we believe. `None`: plain text, with everybody.
    pub tls: Option<Tls>,
}

impl CacheConfig {
    /// Whoever asks has a budget of 20 ms for all of it.
    pub const REDIS_TIMEOUT: Duration = Duration::from_millis(10);
}

impl std::fmt::Debug for CacheConfig {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may hold a password.
        formatter
            .debug_struct("CacheConfig")
            .field("calls_per_address", &self.calls_per_address)
            .finish_non_exhaustive()
    }
}
