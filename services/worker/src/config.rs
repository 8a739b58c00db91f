//! What a worker is started with, and what follows from it.

use std::time::Duration;

use hashmesh::tasks::AllowedSource;
use hashmesh_hash::Helpers;
use hashmesh_runtime::{resources, tls::Tls};
use hashmesh_uploads::UploadStore;

use crate::{
    error::WorkerError,
    sources::{READ_BYTES, RemoteSettings},
};

/// A worker's settings.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Where Queues are: `http://HOST:PORT` or `https://HOST:PORT`, at least one. They say which others there are, and the
    /// worker keeps a stream to each; Queues of a version that cannot say it are those named here.
    pub queue: Vec<String>,
    /// Its name, for people: 1 to 255 bytes without NUL.
    pub worker_id: String,
    /// Threads that hash inline bytes; as many more read and hash objects. Default: the CPUs this process may use.
    pub threads: usize,
    /// What it may read besides inline bytes. Directories must exist.
    pub allow_sources: Vec<AllowedSource>,
    /// How it reads what comes over the network.
    pub remote: RemoteSettings,
    /// Where uploads are. `None`: it reads none.
    pub uploads: Option<UploadStore>,
    /// Bytes for payload in hand and read buffers. At least 16 MiB. Default 128 MiB.
    pub memory_bytes: usize,
    /// How long a stopping worker works on the leases it holds. Default 10 s.
    pub drain_grace: Duration,
    /// Where the Cache services are. None: every object is read.
    pub cache: Vec<String>,
    /// The name of this machine in the cache: machines of one name see the same files. `None`: `/etc/machine-id`, else one that
    /// lasts until the next start.
    pub machine_id: Option<String>,
    /// Our certificate and whose we believe, towards Queues. `None`: plain text.
    pub tls: Option<Tls>,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            queue: Vec::new(),
            worker_id: format!("worker-{}", std::process::id()),
            threads: resources::cpus(),
            allow_sources: Vec::new(),
            remote: RemoteSettings::default(),
            uploads: None,
            memory_bytes: 128 * 1024 * 1024,
            drain_grace: Duration::from_secs(10),
            cache: Vec::new(),
            machine_id: None,
            tls: None,
        }
    }
}

/// What each reading thread reads into. Large enough that a read's system call costs nothing beside hashing it, small
/// enough for the CPU's L2.
pub(crate) const BUFFER_BYTES: usize = 256 * 1024;

/// Small files that each reading thread reads before it hashes them side by side, at most. Little enough for the CPU's L2, too.
pub(crate) const SMALL_FILES_BYTES: usize = 256 * 1024;

/// What is larger is hashed by itself while it is read: hashing several such at once gains little.
pub(crate) const SMALL_FILE_BYTES: usize = 64 * 1024;

const MIN_MEMORY_BYTES: usize = 16 * 1024 * 1024;

/// Payload in hand per worker at most: beyond it, more does not make anything faster.
const MAX_CREDIT_BYTES: usize = 64 * 1024 * 1024;

/// Tasks in hand per thread: credit comes back with the commit of the outcomes, so this must last for the 100 ms that a
/// busy lane may take, at 1 M tasks/s per thread. An eighth of it halved the throughput of the whole mesh.
const CREDIT_TASKS_PER_THREAD: usize = 256 * 1024;

const MAX_WORKER_ID_BYTES: usize = 255;

/// How much work queues may hand out beyond what is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CreditLimit {
    /// Tasks.
    pub(crate) tasks: u32,
    /// Bytes of payload.
    pub(crate) bytes: u64,
}

impl WorkerConfig {
    /// Refuses what cannot work.
    pub(crate) fn check(&self) -> Result<(), WorkerError> {
        if self.queue.is_empty() {
            return Err(WorkerError::NoQueue);
        }
        // Postgres stores no NUL in text.
        if self.worker_id.is_empty() || self.worker_id.len() > MAX_WORKER_ID_BYTES || self.worker_id.contains('\0') {
            return Err(WorkerError::WorkerId { bytes: self.worker_id.len() });
        }
        let wanted = MIN_MEMORY_BYTES.max(2 * self.buffers_bytes());
        if self.memory_bytes < wanted {
            return Err(WorkerError::Memory { wanted, found: self.memory_bytes });
        }
        Ok(())
    }

    /// What all queues together may have handed out: what the buffers leave.
    pub(crate) fn credit(&self) -> CreditLimit {
        let besides = self.buffers_bytes() + self.memo_bytes() + self.helpers_bytes();
        let payload_bytes = self.memory_bytes.saturating_sub(besides).min(MAX_CREDIT_BYTES);
        CreditLimit {
            tasks: u32::try_from(self.threads.max(1).saturating_mul(CREDIT_TASKS_PER_THREAD)).unwrap_or(u32::MAX),
            bytes: payload_bytes.max(1) as u64,
        }
    }

    /// Objects read over the network at the same time: as many as were asked for, as far as a quarter of the memory goes.
    pub(crate) fn remote_reads(&self) -> usize {
        self.remote.reads.min(self.memory_bytes / 4 / READ_BYTES).max(1)
    }

    /// What may be known of objects at a time: an eighth of the memory.
    pub(crate) fn memo_bytes(&self) -> usize {
        if self.cache.is_empty() { 0 } else { self.memory_bytes / 8 }
    }

    /// A single large file is digested by several threads, if there are several and an eighth of the memory is enough for it.
    pub(crate) fn helps(&self) -> bool {
        self.threads > 1 && self.memory_bytes / 8 >= Helpers::BYTES
    }

    fn helpers_bytes(&self) -> usize {
        if self.helps() { Helpers::BYTES } else { 0 }
    }

    fn buffers_bytes(&self) -> usize {
        let remote = self.uploads.is_some()
            || self.allow_sources.iter().any(|source| !matches!(source, AllowedSource::Directory(_)));
        let remote_bytes = if remote { self.remote_reads() * READ_BYTES } else { 0 };
        self.threads.max(1).saturating_mul(BUFFER_BYTES + SMALL_FILES_BYTES) + remote_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> WorkerConfig {
        WorkerConfig { queue: vec!["http://127.0.0.1:1".to_owned()], threads: 4, ..WorkerConfig::default() }
    }

    #[test]
    fn credit_and_buffers_together_stay_below_the_memory() {
        let config = WorkerConfig { memory_bytes: 32 * 1024 * 1024, ..config() };
        config.check().unwrap();
        assert_eq!(config.credit().bytes as usize + 4 * (BUFFER_BYTES + SMALL_FILES_BYTES), config.memory_bytes);
        assert_eq!(config.credit().tasks, 4 * 256 * 1024);
    }

    #[test]
    fn a_large_file_is_helped_with_if_there_are_threads_and_memory_for_it() {
        let helps = |threads, memory_bytes| WorkerConfig { threads, memory_bytes, ..config() }.helps();
        let enough = 8 * Helpers::BYTES;
        assert_eq!([helps(2, enough), helps(2, enough - 8), helps(1, enough)], [true, false, false]);
        assert!(config().helps() && config().credit().bytes as usize == MAX_CREDIT_BYTES, "by default");
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        assert!(matches!(WorkerConfig { queue: Vec::new(), ..config() }.check(), Err(WorkerError::NoQueue)));
        assert!(matches!(
            WorkerConfig { worker_id: String::new(), ..config() }.check(),
            Err(WorkerError::WorkerId { .. })
        ));
        assert!(matches!(WorkerConfig { memory_bytes: 1 << 20, ..config() }.check(), Err(WorkerError::Memory { .. })));
    }
}
