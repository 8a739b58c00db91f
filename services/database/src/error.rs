//! Why the database could not be used.

use std::{path::Path, time::Duration};

use crate::failure::{Failure, classify};

/// Why there is no connection, or no schema. Never holds a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The URL cannot be understood.
    #[error("wanted a database URL like postgres://USER@HOST/DATABASE, but {problem}")]
    Url {
        /// What is wrong with it.
        problem: String,
    },
    /// The pool would be empty.
    #[error("wanted a pool of at least 1 connection, found pool_max = 0")]
    EmptyPool,
    /// The certificates of `sslrootcert`, or of the system, cannot be used.
    #[error("cannot load root certificates from {from}: {problem}")]
    Roots {
        /// The file, or the system's store.
        from: String,
        /// Why not.
        problem: String,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS for the database")]
    Tls(#[from] rustls::Error),
    /// No connection.
    #[error("cannot connect to {target}")]
    Connect {
        /// Host, port, database and user.
        target: String,
        /// Why not.
        #[source]
        source: tokio_postgres::Error,
    },
    /// No connection in time.
    #[error("cannot connect to {target}: no answer within {after:?}")]
    ConnectTimeout {
        /// Host, port, database and user.
        target: String,
        /// How long was waited.
        after: Duration,
    },
    /// A statement of this crate's own failed.
    #[error("cannot {what}")]
    Statement {
        /// What it was to do.
        what: &'static str,
        /// Why not.
        #[source]
        source: tokio_postgres::Error,
    },
    /// Too old.
    #[error("wanted PostgreSQL {wanted} or newer, found {found}: upgrade the server")]
    Version {
        /// The oldest version that will do.
        wanted: u32,
        /// What the server says it is.
        found: String,
    },
    /// A standby.
    #[error("wanted a server that takes writes, found a standby in recovery: connect to the primary")]
    Standby,
    /// Postgres would lose what it has acknowledged.
    #[error(
        "wanted {setting} = on, found {setting} = {found}: accepted batches could be lost in a crash. set {setting} = on \
         for the server, the database and the role, or allow it with allow_unsafe_durability"
    )]
    UnsafeDurability {
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: String,
    },
    /// Every connection is in use, and enough callers wait already.
    #[error("all {max} connections of the pool are in use and {waiting} callers wait already: try again later")]
    PoolBusy {
        /// Connections of the pool.
        max: u32,
        /// Callers that wait.
        waiting: usize,
    },
    /// No connection became free in time, or none could be made.
    #[error("no connection of the pool was free within {after:?}{}", because(.last_failure.as_deref()))]
    PoolTimeout {
        /// How long was waited.
        after: Duration,
        /// Why the latest new connection failed, if the latest did.
        last_failure: Option<String>,
    },
    /// Callers before waited in vain for a connection, so this one was not let wait.
    #[error("no connection of the pool was to be had lately{}", because(.last_failure.as_deref()))]
    CircuitOpen {
        /// After which another may try.
        retry_after: Duration,
        /// Why the latest new connection failed, if the latest did.
        last_failure: Option<String>,
    },
    /// The schema was not made by this program's migrations.
    #[error("the database's schema does not fit this program: {problem}")]
    Schema {
        /// What does not fit.
        problem: String,
    },
    /// A migration failed. It left nothing behind, earlier ones stay.
    #[error("cannot migrate the database")]
    Migration(#[source] Box<refinery::Error>),
}

impl DatabaseError {
    /// Whether the same call may succeed later without anybody's doing: the server restarts, or is busy.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Connect { source, .. } | Self::Statement { source, .. } => classify(source) != Failure::Definite,
            Self::ConnectTimeout { .. }
            | Self::PoolBusy { .. }
            | Self::PoolTimeout { .. }
            | Self::CircuitOpen { .. }
            | Self::Standby => true,
            Self::Migration(error) => postgres_error(error).is_some_and(|error| classify(error) != Failure::Definite),
            Self::Url { .. }
            | Self::EmptyPool
            | Self::Roots { .. }
            | Self::Tls(_)
            | Self::Version { .. }
            | Self::UnsafeDurability { .. }
            | Self::Schema { .. } => false,
        }
    }

    /// For `map_err`: a statement of ours that was to do `what`.
    pub(crate) fn statement(what: &'static str) -> impl Fn(tokio_postgres::Error) -> Self {
        move |source| Self::Statement { what, source }
    }

    pub(crate) fn roots(from: &Path, problem: &impl ToString) -> Self {
        Self::Roots { from: from.display().to_string(), problem: problem.to_string() }
    }
}

/// The driver's error inside one of refinery's.
pub(crate) fn postgres_error(error: &refinery::Error) -> Option<&tokio_postgres::Error> {
    match error.kind() {
        refinery::error::Kind::Connection(_, source) => source.downcast_ref(),
        _ => None,
    }
}

fn because(last_failure: Option<&str>) -> String {
    last_failure.map(|failure| format!("; the latest new connection failed: {failure}")).unwrap_or_default()
}
