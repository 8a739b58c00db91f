//! What can go wrong in the Cache service, and what its callers are told.

use std::time::Duration;

use hashmesh::error::{Reason, StatusBuilder};
use tonic::Status;

use crate::entries::StoredError;

/// Why the Cache service did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The URL is none of a Redis. Not repeated here: it may hold a password.
    #[error(
        "wanted Redis' URL as redis://HOST:PORT, redis-sentinel://HOST:PORT/PRIMARY or redis-cluster://HOST:PORT (rediss… with \
         TLS), found something else ({kind})"
    )]
    Url {
        /// What is wrong with it.
        kind: String,
    },
    /// Neither Redis nor Postgres.
    #[error(
        "a Cache service needs Redis for rate limits, Postgres for digests, or both: give --redis-url or --database-url"
    )]
    Nothing,
    /// What Postgres keeps of the cache cannot be read.
    #[error("the cache's tables cannot be used; run `hashmesh migrate` first")]
    Tables(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server did not start.
    #[error("the gRPC server failed")]
    Serve(#[from] hashmesh_runtime::server::ServeError),
}

/// Redis did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RedisError {
    /// It has failed so often that it is left alone.
    #[error("Redis has failed several times and is left alone for a moment")]
    Open {
        /// Until it is tried again.
        retry_after: Duration,
    },
    /// It took too long.
    #[error("Redis did not answer within {budget:?}")]
    Slow {
        /// What it had.
        budget: Duration,
    },
    /// It said no, or is not there.
    #[error("Redis failed")]
    Failed(#[from] redis::RedisError),
}

impl From<StoredError> for Status {
    fn from(error: StoredError) -> Self {
        match error {
            StoredError::Open { retry_after } => {
                StatusBuilder::new(Reason::CircuitOpen, error.to_string()).retry_after(retry_after).build()
            }
            StoredError::Slow | StoredError::Connect(_) | StoredError::Statement(_) | StoredError::Damaged { .. } => {
                tracing::debug!(error = &error as &dyn std::error::Error, "Postgres failed the cache");
                StatusBuilder::new(Reason::UpstreamUnavailable, "the cache's database cannot be used; go on without it")
                    .build()
            }
        }
    }
}

impl From<RedisError> for Status {
    fn from(error: RedisError) -> Self {
        match error {
            RedisError::Open { retry_after } => {
                StatusBuilder::new(Reason::CircuitOpen, error.to_string()).retry_after(retry_after).build()
            }
            RedisError::Slow { .. } | RedisError::Failed(_) => {
                StatusBuilder::new(Reason::UpstreamUnavailable, "Redis cannot be reached; count without it").build()
            }
        }
    }
}
