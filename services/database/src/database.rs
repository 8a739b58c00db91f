//! The handle that services hold.

use std::sync::Arc;

use hashmesh_runtime::metrics::Watch;

use crate::{
    config::DatabaseConfig,
    connection::{Connector, Dedicated, Session},
    error::DatabaseError,
    pool::{Pool, PoolStats, Pooled},
    requirements,
    watch::watch,
};

/// A Postgres that was found fit, with a pool of connections to it. Clones share it.
#[derive(Clone, Debug)]
pub struct Database {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    connector: Connector,
    dedicated_session: Session,
    pool: Pool,
    server_version: String,
    /// They ask the pool, which must not hold them.
    _watches: Vec<Watch>,
}

impl Database {
    /// Connects once, checks the server (version 15 or newer, takes writes, durable), and keeps a pool that fills on use.
    ///
    /// # Errors
    /// If the URL makes no sense, the server cannot be reached, or may not be trusted with data.
    pub async fn connect(config: DatabaseConfig) -> Result<Self, DatabaseError> {
        let connector = Connector::new(&config)?;
        let dedicated_session = Session::dedicated(&config);
        let opened = connector.open("check", dedicated_session).await?;
        let server = requirements::check(&opened.client, config.allow_unsafe_durability).await?;
        let target = connector.url().target();
        if connector.url().remote() && !server.encrypted {
            tracing::warn!(target, "the connection to Postgres is not encrypted: add sslmode=verify-full to its URL");
        }
        tracing::info!(target, version = server.version, encrypted = server.encrypted, "connected to Postgres");
        let pool = Pool::new(Connector::of_pool(&config)?, &config)?;
        let _watches = watch(&pool);
        let shared = Shared { connector, dedicated_session, pool, server_version: server.version, _watches };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A connection of the pool, for a few statements.
    ///
    /// # Errors
    /// At once if too many callers wait or those before waited in vain, and after `pool_wait` if none is free or none can be
    /// made.
    pub async fn pooled(&self) -> Result<Pooled<'_>, DatabaseError> {
        self.shared.pool.get().await
    }

    /// A connection of its own for a long-lived purpose, which names it: `application_name` becomes
    /// `hashmesh/application_name` in `pg_stat_activity`.
    ///
    /// # Errors
    /// If none can be made within the connect timeout.
    pub async fn dedicated(&self, application_name: &str) -> Result<Dedicated, DatabaseError> {
        Dedicated::open(&self.shared.connector, application_name, self.shared.dedicated_session).await
    }

    /// What the pool is doing.
    #[must_use]
    pub fn pool_stats(&self) -> PoolStats {
        self.shared.pool.stats()
    }

    /// The server's version as it words it, for example `15.18 (Debian 15.18-0+deb12u1)`, when it was connected to.
    #[must_use]
    pub fn server_version(&self) -> &str {
        &self.shared.server_version
    }
}
