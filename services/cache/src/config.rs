//! What the Cache service is started with.

use std::time::Duration;

use hashmesh_database::Database;
use hashmesh_runtime::tls::Tls;

use crate::CacheEvents;

/// The Cache service's settings.
#[derive(Clone)]
pub struct CacheConfig {
    /// Where Redis is: `redis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE]`, or
    /// `redis-sentinel://[USER:PASSWORD@]HOST:PORT[,HOST:PORT…]/PRIMARY[/DATABASE]`, where the hosts are sentinels, or
    /// `redis-cluster://[USER:PASSWORD@]HOST:PORT[,HOST:PORT…]`; each with TLS as `rediss…`. `None`: there is none, and no windows
    /// of rate limits.
    pub redis_url: Option<String>,
    /// Where entries last. `None`: there are none.
    pub database: Option<Database>,
    /// How entries are kept.
    pub entries: EntriesConfig,
    /// By whom it is told of changes.
    pub events: CacheEvents,
    /// How long Redis is waited for.
    pub redis_timeout: Duration,
    /// Calls a minute of each address, where Envoy asks without a limit of its own. 0: any number.
    pub calls_per_address: u32,
    /// Our certificate and whose we believe. `None`: plain text, with everybody.
    pub tls: Option<Tls>,
}

/// How entries are kept.
#[derive(Clone, Debug)]
pub struct EntriesConfig {
    /// For those in memory, about. Default 64 MiB.
    pub memory_bytes: u64,
    /// How long they stay there. Default 5 min.
    pub memory_ttl: Duration,
    /// How long they stay in Redis. Default 1 h; at most [`EntriesConfig::LONGEST_REDIS_TTL`].
    pub redis_ttl: Duration,
    /// How long they stay in Postgres without being used. Default 90 days.
    pub postgres_ttl: Duration,
    /// How many stay there. Default 100 million.
    pub postgres_entries: u64,
    /// How many are brought into memory at the start: those that are used most. Default 10,000.
    pub warm_entries: u32,
}

impl EntriesConfig {
    /// Invalidations are remembered for longer than this.
    pub const LONGEST_REDIS_TTL: Duration = Duration::from_secs(12 * 3_600);
}

impl Default for EntriesConfig {
    fn default() -> Self {
        Self {
            memory_bytes: 64 * 1024 * 1024,
            memory_ttl: Duration::from_secs(300),
            redis_ttl: Duration::from_secs(3_600),
            postgres_ttl: Duration::from_secs(90 * 86_400),
            postgres_entries: 100_000_000,
            warm_entries: 10_000,
        }
    }
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
