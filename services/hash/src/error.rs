//! What can go wrong with digests, and what callers are told.

use std::time::Duration;

use hashmesh::error::{Reason, StatusBuilder};
use hashmesh_runtime::telemetry::{self, Repeated};
use tonic::Status;

use crate::self_test::WrongDigest;

/// Work that the pool did not finish.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// As many callers as allowed wait already.
    #[error("{waiting} callers wait for the hash pool already; try again later")]
    Overloaded {
        /// Callers that wait.
        waiting: usize,
    },
    /// The work panicked: a defect.
    #[error("work on the hash pool panicked: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
    },
    /// The pool was shut down.
    #[error("the hash pool is shut down")]
    Closed,
    /// The pool's threads could not be started.
    #[error("could not start {threads} hash threads; start fewer")]
    Threads {
        /// Threads wanted.
        threads: usize,
        /// Why not.
        source: rayon::ThreadPoolBuildError,
    },
}

impl From<HashError> for Status {
    fn from(error: HashError) -> Self {
        static FAILED: Repeated = Repeated::at_most(10);
        match &error {
            HashError::Overloaded { .. } => {
                StatusBuilder::new(Reason::Overloaded, error.to_string()).retry_after(RETRY_AFTER).build()
            }
            HashError::Closed => StatusBuilder::new(Reason::Draining, "the service is stopping; try again").build(),
            HashError::Panicked { .. } | HashError::Threads { .. } => {
                if let Some(left_out) = FAILED.failed() {
                    tracing::error!(error = telemetry::chain(&error), left_out, "the hash pool failed");
                }
                StatusBuilder::new(Reason::Internal, "the digest could not be computed; the service's log says why")
                    .build()
            }
        }
    }
}

/// After which an overloaded pool is worth another try: many small inputs' time.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Why the Hash service did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum HashServiceError {
    /// A digest of a known input came out wrong: nothing this process computes can be trusted.
    #[error("the self-test failed; do not use this build on this machine")]
    SelfTest(#[from] WrongDigest),
    /// The pool did not start.
    #[error("the hash pool did not start")]
    Pool(#[from] HashError),
    /// The server failed.
    #[error("the gRPC server failed")]
    Serve(#[from] hashmesh_runtime::server::ServeError),
}
