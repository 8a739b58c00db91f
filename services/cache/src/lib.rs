//! The Cache service: digests that need not be computed again, and what all Gateways share and may lose.
//!
//! - [`entries`]: digests of objects, in memory, Redis and Postgres (`entries/rpc.rs` is where requests arrive).
//! - `quota` (the RPCs, and Envoy's) → `windows` (a Lua script that counts) → `redis`: the windows of the rate limits.
//! - `redis`: the connection, its budget and its breaker, for both.

mod config;
mod entries;
mod error;
mod quota;
mod redis;
mod serve;
mod windows;

pub use config::{CacheConfig, EntriesConfig};
pub use entries::{CacheEvents, EventError};
pub use error::CacheError;
pub use serve::serve;
