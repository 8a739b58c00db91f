//! A standby that answers reads.

use std::sync::Arc;

use crate::{
    config::DatabaseConfig,
    connection::{Connector, Dedicated, Session},
    error::DatabaseError,
    pool::{Pool, PoolStats, Pooled},
};

/// One standby server with a pool of connections. Clones share it.
///
/// Nothing is connected to before the first use, and nothing is checked: a replica may be down when the process starts.
/// Whoever reads from it must find out whether it is a standby of the right cluster, and how far behind it is.
#[derive(Clone, Debug)]
pub struct Replica {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    connector: Connector,
    session: Session,
    pool: Pool,
}

impl Replica {
    /// A replica behind this URL, which must name one server: what is known of one must hold for every connection.
    ///
    /// # Errors
    /// If the URL makes no sense or names several servers, or the pool would be empty.
    pub fn new(config: &DatabaseConfig) -> Result<Self, DatabaseError> {
        let connector = Connector::new(config)?;
        let servers = connector.url().servers();
        if servers.len() > 1 {
            let problem = format!("it names {} servers: give each replica a URL of its own", servers.len());
            return Err(DatabaseError::Url { problem });
        }
        let pool = Pool::new(connector.clone(), config)?;
        Ok(Self { shared: Arc::new(Shared { connector, session: Session::dedicated(config), pool }) })
    }

    /// A connection of the pool, for a few statements.
    ///
    /// # Errors
    /// At once if too many callers wait or those before waited in vain, and after `pool_wait` if none is free or none can be
    /// made.
    pub async fn pooled(&self) -> Result<Pooled<'_>, DatabaseError> {
        self.shared.pool.get().await
    }

    /// A connection of its own, as [`Database::dedicated`](crate::Database::dedicated).
    ///
    /// # Errors
    /// If none can be made within the connect timeout.
    pub async fn dedicated(&self, application_name: &str) -> Result<Dedicated, DatabaseError> {
        Dedicated::open(&self.shared.connector, application_name, self.shared.session).await
    }

    /// What the pool is doing.
    #[must_use]
    pub fn pool_stats(&self) -> PoolStats {
        self.shared.pool.stats()
    }

    /// Where it is, for people: `HOST:PORT`, or the path of its socket.
    #[must_use]
    pub fn address(&self) -> String {
        self.shared.connector.url().servers().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(url: &str) -> Result<Replica, DatabaseError> {
        Replica::new(&DatabaseConfig { url: url.to_owned(), ..DatabaseConfig::default() })
    }

    #[tokio::test]
    async fn a_replica_is_one_server_and_need_not_be_there() {
        assert_eq!(replica("postgres://u:secret@db2.example:5433/d").unwrap().address(), "db2.example:5433");
        assert_eq!(replica("postgres:///d?host=/run/pg").unwrap().address(), "/run/pg/.s.PGSQL.5432");
        let text = replica("postgres://u:secret@a,b/d").unwrap_err().to_string();
        assert!(text.contains("names 2 servers") && !text.contains("secret"), "{text}");
        assert!(replica("db2.example").unwrap_err().to_string().contains("postgres://"));
    }
}
