//! The Worker: takes leases from Queues, reads sources, hashes, sends outcomes.
//!
//! ```text
//! queue URLs ── streams.rs ── stream.rs ── session.rs ── execute/ ── hash pools
//!               one to each   reconnects   one LeaseTasks  a lease → outcomes
//!               process                    stream
//!               │                          │  session/work.rs   what it holds; session/claims.rs: what it takes over
//!               └─ processes.rs            │  leases.rs   who revokes, cancels
//!                  which there are         │  account.rs   what becomes of them: spans, numbers
//!                                          │  delivery.rs   where its outcomes go, over several streams if need be
//!                                          │  outbox.rs   what goes out, heartbeats first
//!                                          └─ heartbeat.rs   a thread of its own
//!
//! of all streams:  credit.rs   how much each queue may hand out      unclaimed.rs   what no queue knows of
//! ```
//!
//! Work that has begun outlives its stream, and its shard's stay with a queue: whoever owns the shard next is told of it,
//! and adopts it or not. What has not begun is dropped; the queue leases it again. There is no database here and no state on
//! disk.

mod account;
mod backoff;
mod cache;
mod config;
mod credit;
mod delivery;
mod error;
mod execute;
mod heartbeat;
mod hung;
mod leases;
mod outbox;
mod poison;
mod processes;
mod serve;
mod session;
mod shards;
mod sources;
mod stream;
mod streams;
mod trust;
mod turns;
mod unclaimed;
mod watches;

pub use config::WorkerConfig;
pub use error::WorkerError;
pub use serve::serve;
pub use sources::{RemoteSettings, S3Credentials, S3Settings, SourcesError};
