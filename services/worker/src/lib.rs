//! The Worker: takes leases from Queues, reads sources, hashes, sends outcomes.
//!
//! ```text
//! queue URL ── stream.rs ── session.rs ── execute/ ── hash pools
//!              reconnects   one LeaseTasks  a lease → outcomes
//!                           stream
//!                             │  leases.rs   what is held; who revokes, cancels
//!                             │  outbox.rs   what goes out, heartbeats first
//!                             └─ heartbeat.rs   a thread of its own
//! ```
//!
//! Nothing outlives its stream: when a stream ends, its leases are dropped and their work stops; the queue leases the
//! tasks again. There is no database here and no state on disk.

mod backoff;
mod config;
mod error;
mod execute;
mod heartbeat;
mod hung;
mod leases;
mod outbox;
mod poison;
mod serve;
mod session;
mod sources;
mod stream;

pub use config::WorkerConfig;
pub use error::WorkerError;
pub use serve::serve;
pub use sources::SourcesError;
