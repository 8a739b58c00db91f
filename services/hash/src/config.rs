//! What the Hash service is started with.

use hashmesh_runtime::{resources, tls::Tls};

use crate::HashStats;

/// The Hash service's settings.
#[derive(Clone, Debug)]
pub struct HashConfig {
    /// Threads that hash. Default: the CPUs that this process may use (its cgroup's limit included).
    pub threads: usize,
    /// Bytes of input that are hashed or queued for a thread at once. One input alone always fits. Default 64 MiB.
    pub max_admitted_bytes: usize,
    /// Small inputs that wait for room; more are refused (`OVERLOADED`). Default 1,024.
    pub max_waiting: usize,
    /// Streamed inputs at once; more are refused (`OVERLOADED`). Each holds one piece of at most 4 MiB. Default 64.
    pub max_streams: usize,
    /// What it has done, for whoever keeps a clone.
    pub stats: HashStats,
    /// Our certificate and whose we believe. `None`: plain text, with everybody.
    pub tls: Option<Tls>,
}

impl Default for HashConfig {
    fn default() -> Self {
        Self {
            threads: resources::cpus(),
            max_admitted_bytes: 64 * 1024 * 1024,
            max_waiting: 1_024,
            max_streams: 64,
            stats: HashStats::default(),
            tls: None,
        }
    }
}
