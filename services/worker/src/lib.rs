//! The Worker: takes leases from Queues, reads sources, hashes, sends outcomes.
//!
//! ```text
//! queue URL ── stream.rs ── session.rs ── execute/ ── hash pools
//!              reconnects   one LeaseTasks  a lease → outcomes
//!                           stream
//!                             │  leases.rs   what is held; who revokes, cancels
//!                             │  account.rs   what becomes of them: spans, numbers
//!                             │  delivery.rs   where its outcomes go, over several streams if need be
//!                             │  outbox.rs   what goes out, heartbeats first
//!                             └─ heartbeat.rs   a thread of its own
//! ```
//!
//! Work that has begun outlives its stream: the next queue that welcomes the worker is told of it, and adopts it or not.
//! What has not begun is dropped; the queue leases it again. There is no database here and no state on disk.

mod account;
mod backoff;
mod cache;
mod config;
mod delivery;
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
mod watches;

pub use config::WorkerConfig;
pub use error::WorkerError;
pub use serve::serve;
pub use sources::{RemoteSettings, S3Credentials, S3Settings, SourcesError};
