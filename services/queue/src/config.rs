//! The queue's settings.

mod replicas;

use std::time::Duration;

use hashmesh_database::Database;
use hashmesh_runtime::tls::Tls;
use hashmesh_uploads::UploadStore;

pub use self::replicas::{ReplicaConfig, ReplicasRefused};

/// How a queue works. [`QueueConfig::new`] gives the defaults.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// Where everything is stored.
    pub database: Database,
    /// Replicas of it that answer reads of what is stored.
    pub replicas: ReplicaConfig,
    /// The URL under which Gateways and Workers reach this process; others name it to their callers.
    pub address: String,
    /// Our certificate and whose we believe. `None`: plain text, with everybody.
    pub tls: Option<Tls>,
    /// Commit lanes beside the express lane: connections that each have one transaction in flight. 1 to 4 make sense.
    pub lanes: usize,
    /// How long a lease lasts after the last heartbeat that names it.
    pub lease_duration: Duration,
    /// How often workers are asked for heartbeats.
    pub heartbeat_interval: Duration,
    /// A lease on which work began and then stood still for this long is taken back.
    pub stall_timeout: Duration,
    /// The longest wait before a task's second attempt; doubles with each further one, up to 30 s.
    pub backoff_base: Duration,
    /// How long the ownership of the queue lasts without renewal: after a crash, another process waits this long.
    pub ownership_duration: Duration,
    /// Nobody else can own the queue, because the database is this process's alone: takes over without waiting until an
    /// ownership that a crash left behind has lapsed.
    pub alone: bool,
    /// How long finished submissions are kept that do not say it themselves, at least; zero: for ever.
    pub retention: Duration,
    /// A submission that is OPEN and to which nothing has happened for this long is cancelled; zero: never.
    pub idle_open_timeout: Duration,
    /// How long an upload is kept after its last bytes, or after it was completed.
    pub upload_retention: Duration,
    /// Where the bytes of uploads are deleted. `None`: this mesh takes no uploads.
    pub uploads: Option<UploadStore>,
    /// Payload on its way to Postgres, in bytes. Beyond it, writers wait.
    pub admission_bytes: usize,
    /// Unresolved batches whose numbers are kept in memory, of all submissions together, about 150 bytes each. The others
    /// wait in Postgres. A submission may always keep 64.
    pub index_batches: usize,
    /// Payload of stored batches that is kept in memory for their leases, in bytes.
    pub payload_bytes: usize,
    /// Payload of leases that waits for workers to read it, in bytes. Beyond their share of it, workers get no leases.
    pub unread_bytes: usize,
    /// Committed outcomes that are kept in memory for followers, in bytes.
    pub recent_bytes: usize,
}

impl QueueConfig {
    /// The defaults, for this database and address.
    #[must_use]
    pub fn new(database: Database, address: String) -> Self {
        Self {
            database,
            replicas: ReplicaConfig::default(),
            address,
            tls: None,
            lanes: 2,
            lease_duration: Duration::from_secs(5),
            heartbeat_interval: Duration::from_secs(1),
            stall_timeout: Duration::from_secs(60),
            backoff_base: Duration::from_millis(500),
            ownership_duration: Duration::from_secs(5),
            alone: false,
            idle_open_timeout: Duration::from_secs(7 * 86_400),
            retention: Duration::from_secs(30 * 86_400),
            upload_retention: Self::UPLOAD_RETENTION,
            uploads: None,
            admission_bytes: 0,
            index_batches: 0,
            payload_bytes: 0,
            unread_bytes: 0,
            recent_bytes: 0,
        }
        .within(Self::DEFAULT_MEMORY)
    }

    /// How long an upload is kept, unless it is told otherwise.
    pub const UPLOAD_RETENTION: Duration = Duration::from_secs(7 * 86_400);
    /// What a queue may use of memory, unless it is told otherwise.
    pub const DEFAULT_MEMORY: usize = 512 * 1024 * 1024;
    /// The least a queue can work with.
    pub const LEAST_MEMORY: usize = 64 * 1024 * 1024;

    /// Divides this much memory, in bytes, among what the queue keeps there. An eighth is left for what is not
    /// counted: copies on their way to Postgres, streams, the allocator.
    #[must_use]
    pub fn within(self, memory_bytes: usize) -> Self {
        /// A batch's numbers, its place in the order of work and its part of the maps that they are in.
        const INDEXED_BATCH: usize = 192;
        let memory = memory_bytes.max(Self::LEAST_MEMORY);
        Self {
            admission_bytes: memory / 4,
            payload_bytes: memory / 4,
            unread_bytes: memory / 8,
            recent_bytes: memory / 8,
            index_batches: memory / 8 / INDEXED_BATCH,
            ..self
        }
    }
}
