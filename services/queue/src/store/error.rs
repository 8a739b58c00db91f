//! Why the store could not do something.

use hashmesh_database::{DatabaseError, Failure, classify, postgres};
use uuid::Uuid;

/// A read, a takeover or a write-behind that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// No connection.
    #[error("cannot connect to Postgres to {what}")]
    Connect {
        /// What for.
        what: &'static str,
        /// Why not.
        #[source]
        source: DatabaseError,
    },
    /// A statement failed.
    #[error("cannot {what}")]
    Statement {
        /// What it was to do.
        what: &'static str,
        /// What Postgres, or the connection, said.
        #[source]
        source: postgres::Error,
    },
    /// The shard was taken over: nothing was written, and nothing may be.
    #[error("cannot {what}: another process owns the shard")]
    Fenced {
        /// What was to be done.
        what: &'static str,
    },
    /// The connection ended before the outcome was known.
    #[error("cannot {what}: the connection was lost, or Postgres did not answer in time")]
    Unknown {
        /// What was to be done.
        what: &'static str,
    },
    /// A replica has not got what it was chosen for: it was restarted, or is another server now.
    #[error("cannot {what} from a replica: it is not as far as it was")]
    Behind {
        /// What was to be done.
        what: &'static str,
    },
    /// The submission is being deleted: its retention has passed.
    #[error("the submission was deleted while it was read: its retention has passed")]
    Expired,
    /// Rows contradict each other or cannot be read: somebody else wrote to the tables, or a defect of ours.
    #[error("rows of submission {submission} are damaged: {found}")]
    Damaged {
        /// Whose rows.
        submission: Uuid,
        /// What is wrong with them.
        found: String,
    },
}

impl StoreError {
    /// True where the same call may succeed a little later: no connection, or a failure that passes.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Connect { source, .. } => source.passes(),
            Self::Unknown { .. } | Self::Behind { .. } => true,
            Self::Statement { source, .. } => !matches!(classify(source), Failure::Definite),
            Self::Fenced { .. } | Self::Expired | Self::Damaged { .. } => false,
        }
    }

    /// True where the database was not even asked: it has failed callers before.
    pub(crate) fn refused_by_breaker(&self) -> bool {
        matches!(self, Self::Connect { source: DatabaseError::CircuitOpen { .. }, .. })
    }

    /// For `map_err`: a statement that was to do `what`.
    pub(super) fn statement(what: &'static str) -> impl Fn(postgres::Error) -> Self {
        move |source| Self::Statement { what, source }
    }

    /// For `map_err`: a connection that was wanted to do `what`.
    pub(crate) fn connect(what: &'static str) -> impl Fn(DatabaseError) -> Self {
        move |source| Self::Connect { what, source }
    }

    /// Rows that make no sense.
    pub(crate) fn damaged(submission: Uuid, found: impl Into<String>) -> Self {
        Self::Damaged { submission, found: found.into() }
    }
}
