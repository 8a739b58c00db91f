//! The roles as processes of their own: `hashmesh gateway|hash|queue|cache|worker|migrate`.

mod access;
mod cache;
mod gateway;
mod hash;
mod limits;
mod migrate;
mod process;
mod queue;
mod replicas;
mod sources;
mod storage;
mod tls;
mod uploads;
mod worker;

pub(crate) use access::AccessArgs;
pub(crate) use cache::{CacheArgs, EntriesArgs, take_events};
pub(crate) use gateway::GatewayArgs;
pub(crate) use hash::HashArgs;
pub(crate) use limits::LimitArgs;
pub(crate) use migrate::{MigrateArgs, migrate};
pub(crate) use process::admin_pages;
pub(crate) use queue::QueueArgs;
pub(crate) use replicas::ReplicaArgs;
pub(crate) use sources::SourceArgs;
pub(crate) use storage::StorageArgs;
pub(crate) use tls::TlsArgs;
pub(crate) use uploads::{UploadArgs, UploadLimitArgs};
pub(crate) use worker::{WorkerArgs, default_worker_id, serve as serve_worker};

/// How many threads hash when nobody says: one per CPU that we may use.
pub(crate) fn default_threads() -> usize {
    hashmesh_runtime::resources::cpus()
}
