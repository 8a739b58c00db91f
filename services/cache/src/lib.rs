//! The Cache service: what all Gateways share and may lose. Today these are the windows of the rate limits, in Redis.
//!
//! A request's way: `quota` (the RPCs, and Envoy's) → `windows` (one Lua script that counts) → `redis` (the connection, its
//! budget and its breaker).

mod config;
mod error;
mod quota;
mod redis;
mod serve;
mod windows;

pub use config::CacheConfig;
pub use error::CacheError;
pub use serve::serve;
