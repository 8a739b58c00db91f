//! The Queue: durable submissions for Gateways, leases for Workers.
//!
//! - [`rpc`] decodes calls and streams and knows no rule;
//! - [`engine`] is the one task that owns the state and never waits;
//! - [`core`] is the state machine with all the rules and no I/O;
//! - [`store`] is every statement that Postgres gets;
//! - [`owner`] runs the engine and renews what it owns; [`steward`] takes shards and gives them up, as [`balance`] decides
//!   from a [`picture`]; [`behind`] writes what may lag;
//! - [`phases`] knows how long tasks spend in each phase;
//! - [`maintenance`] looks after years of data; [`schedules`] repeats submissions.
//!
//! A batch's way: `rpc::write` → `engine::intake` → `core::intake` → `engine::lane` → `store::lane`, and back by the
//! submission's tail. An outcome's: `rpc::lease` → `engine::leases` → `core::settle` → the same lane.

mod balance;
mod behind;
mod clock;
mod config;
mod core;
mod engine;
mod error;
mod failpoint;
mod first_key;
mod maintenance;
mod measures;
mod mutant;
mod owner;
mod phases;
mod picture;
mod rates;
mod ready;
mod rpc;
mod schedules;
mod shard;
#[cfg(test)]
mod sim;
mod steward;
mod store;
mod wall;

use std::sync::Arc;

use hashmesh::queue::v1::{
    access_service_server::AccessServiceServer, queue_service_server::QueueServiceServer,
    schedule_service_server::ScheduleServiceServer, upload_service_server::UploadServiceServer,
};
use hashmesh_runtime::{health::Health, server::GrpcServer, shutdown::Shutdown, tasks};
use tokio::{net::TcpListener, sync::watch};
use uuid::Uuid;

pub use config::{QueueConfig, ReplicaConfig, ReplicasRefused};
pub use error::QueueServiceError;
pub use first_key::{FirstKeyError, create_admin_key, has_admin_key};

use measures::Measures;
use owner::Shown;

/// What a Gateway's frame may hold besides the batch itself.
const FRAME_OVERHEAD_BYTES: usize = 1024 * 1024;

/// Serves the queue on `listener` until the shutdown is complete: the shards that are this process's part of all.
pub async fn serve(
    config: QueueConfig,
    listener: TcpListener,
    health: Health,
    shutdown: Shutdown,
) -> Result<(), QueueServiceError> {
    let (current, engine) = watch::channel(None);
    let (pictures, picture) = watch::channel(Arc::default());
    let process = Uuid::now_v7();
    let tls = config.tls.clone();
    let storage = Arc::new(maintenance::StorageStatus::default());
    let measures = Arc::new(Measures::default());
    let shown = Shown { storage: Arc::clone(&storage), measures: Arc::clone(&measures), current, pictures };
    let owned = owner::run(config.clone(), process, health.clone(), shown, shutdown.clone());
    let owner = tasks::spawn("queue owner", owned);
    let keys = store::Keys::new(&config.database);
    let reads = store::Reads::new(config.database.clone(), &config.replicas.replicas, config.replicas.max_lag);
    let _watches = (measures.watch(config.payload_bytes, &storage), reads.watch());
    let access = AccessServiceServer::new(rpc::AccessRpc::new(config.database.clone()));
    let repeating = ScheduleServiceServer::new(schedules::ScheduleRpc::new(config.database.clone()));
    let retention = config.upload_retention;
    let uploads = UploadServiceServer::new(rpc::UploadRpc::new(config.database.clone(), retention));
    // By every process: each step may be repeated.
    let _emptying = config.uploads.clone().map(|store| {
        tasks::spawn_owned("uploads", maintenance::run_uploads(config.database.clone(), store, retention))
    });
    let shared = rpc::Shared {
        config,
        keys,
        current: engine,
        process,
        picture,
        reads,
        storage,
        measures,
        shutdown: shutdown.clone(),
        watchers: Default::default(),
    };
    let shared = Arc::new(shared);
    drop(tasks::spawn("schedules", schedules::run(Arc::clone(&shared), shutdown.clone())));
    let service = rpc::QueueRpc::new(shared);
    let service = QueueServiceServer::new(service)
        .max_decoding_message_size(hashmesh::limits::MAX_DECODED_MESSAGE_BYTES + FRAME_OVERHEAD_BYTES);
    let server = GrpcServer::new("queue", health).tls(tls).mount(service).mount(access).mount(uploads).mount(repeating);
    let served = server.serve(listener, shutdown.clone()).await;
    // The owner waits until every stream has let go of the engine before it releases the ownership.
    shutdown.begin();
    if owner.await.is_err() {
        tracing::error!("the task that owns the queue failed");
    }
    Ok(served?)
}
