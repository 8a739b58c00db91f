//! Why a worker did not start.

use hashmesh_hash::{HashError, Untrusted, WrongDigest};
use hashmesh_runtime::channel::ChannelError;

use crate::sources::SourcesError;

/// Why a worker did not start, or cannot go on. What happens to tasks and streams is not here: the one becomes an
/// outcome, the other is connected again.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// No Queue was named.
    #[error("no queue to take leases from; name at least one with --queue URL")]
    NoQueue,
    /// A thread did not come back: an endless loop, or a read that never returns. Start the process again.
    #[error("a thread hangs in a task; ended so that a new process has all its threads")]
    Hung,
    /// A name that queues refuse.
    #[error("wanted a --worker-id of 1 to 255 bytes without NUL, found another of {bytes} bytes")]
    WorkerId {
        /// Its length.
        bytes: usize,
    },
    /// Too little memory for the threads.
    #[error(
        "wanted at least {wanted} bytes of memory for this many threads, found {found}; start fewer threads or allow more"
    )]
    Memory {
        /// Bytes needed.
        wanted: usize,
        /// Bytes allowed.
        found: usize,
    },
    /// A URL that is no Queue's.
    #[error("cannot use a --queue URL")]
    Queue(#[from] ChannelError),
    /// A URL that is no Cache service's.
    #[error("cannot use a --cache-url")]
    Cache(#[source] ChannelError),
    /// A root that cannot be read from.
    #[error("cannot read from an allowed source")]
    Sources(#[from] SourcesError),
    /// The pools did not start.
    #[error("the hash pool did not start")]
    Pool(#[from] HashError),
    /// A digest of a known input came out wrong: nothing this process computes can be trusted.
    #[error("the self-test failed; do not use this build on this machine")]
    SelfTest(#[from] WrongDigest),
    /// A digest came out otherwise when it was computed again.
    #[error("a digest is wrong; ended so that no other one is recorded")]
    Untrusted(#[from] Untrusted),
    /// A stream's task ended by a panic: a defect.
    #[error("the stream to a queue panicked")]
    Stream(#[from] tokio::task::JoinError),
}
