//! A connection: made within its time, with its session's settings, driven by a task that it owns.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    time::Duration,
};

use hashmesh_runtime::tasks;
use tokio_postgres::{CancelToken, Client};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{config::DatabaseConfig, error::DatabaseError, tls::Tls, url::DatabaseUrl};

/// What a transaction of a pooled connection may pause before Postgres ends it: its caller is gone.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(30);
/// Every session's name starts with this, so that `pg_stat_activity` tells ours from others.
const APPLICATION: &str = "hashmesh";

/// Makes connections.
#[derive(Clone)]
pub(crate) struct Connector {
    url: DatabaseUrl,
    tls: Tls,
    connect_timeout: Duration,
    /// False where a session is another one with each transaction.
    own_sessions: bool,
}

/// What holds for a session from its start. Zero is no limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    pub(crate) statement_timeout: Duration,
    pub(crate) lock_timeout: Duration,
    pub(crate) idle_in_transaction_timeout: Duration,
}

impl Session {
    pub(crate) fn pooled(config: &DatabaseConfig) -> Self {
        Self { idle_in_transaction_timeout: IDLE_IN_TRANSACTION, ..Self::dedicated(config) }
    }

    pub(crate) fn dedicated(config: &DatabaseConfig) -> Self {
        Self {
            statement_timeout: config.statement_timeout,
            lock_timeout: config.lock_timeout,
            idle_in_transaction_timeout: Duration::ZERO,
        }
    }

    fn sql(self) -> String {
        format!(
            "SET statement_timeout = {}; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}",
            setting_ms(self.statement_timeout),
            setting_ms(self.lock_timeout),
            setting_ms(self.idle_in_transaction_timeout),
        )
    }
}

/// Milliseconds as Postgres takes them. What is less than one is one: zero would be no limit.
fn setting_ms(duration: Duration) -> i32 {
    if duration.is_zero() {
        return 0;
    }
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX).max(1)
}

impl Connector {
    pub(crate) fn new(config: &DatabaseConfig) -> Result<Self, DatabaseError> {
        Self::to(&config.url, config, true)
    }

    /// For the pool, which may have a URL of its own.
    pub(crate) fn of_pool(config: &DatabaseConfig) -> Result<Self, DatabaseError> {
        match &config.pool_url {
            Some(url) => Self::to(url, config, false),
            None => Self::new(config),
        }
    }

    fn to(url: &str, config: &DatabaseConfig, own_sessions: bool) -> Result<Self, DatabaseError> {
        let url = DatabaseUrl::parse(url)?;
        let tls = Tls::new(&url.verification)?;
        Ok(Self { url, tls, connect_timeout: config.connect_timeout, own_sessions })
    }

    pub(crate) fn url(&self) -> &DatabaseUrl {
        &self.url
    }

    /// A new connection, with TLS, authentication and session settings done.
    pub(crate) async fn open(&self, purpose: &str, session: Session) -> Result<Opened, DatabaseError> {
        match tokio::time::timeout(self.connect_timeout, self.open_patiently(purpose, session)).await {
            Ok(opened) => opened,
            Err(_) => Err(DatabaseError::ConnectTimeout { target: self.url.target(), after: self.connect_timeout }),
        }
    }

    async fn open_patiently(&self, purpose: &str, session: Session) -> Result<Opened, DatabaseError> {
        let mut config = self.url.config.clone();
        config.application_name(format!("{APPLICATION}/{purpose}"));
        // Each address of a host gets its own; the whole is bounded by the caller.
        config.connect_timeout(self.connect_timeout);
        let failed = |source| DatabaseError::Connect { target: self.url.target(), source };
        let (client, connection) = config.connect(self.tls.clone()).await.map_err(failed)?;

        let closed = CancellationToken::new();
        let on_end = closed.clone().drop_guard();
        let driver = tasks::spawn_owned("postgres connection", async move {
            // Dropped with the task however it ends.
            let _on_end = on_end;
            if let Err(error) = connection.await {
                tracing::debug!(error = &error as &dyn std::error::Error, "a connection to Postgres ended");
            }
        });
        if self.own_sessions {
            client.batch_execute(&session.sql()).await.map_err(failed)?;
        } else {
            // A pooler answers for itself at first: whether it has a server shows with the first statement.
            client.simple_query("SELECT 1").await.map_err(failed)?;
        }
        Ok(Opened { client, closed, _driver: driver })
    }

    /// Asks the server to cancel what a connection is doing. It may have no effect, or come too late.
    pub(crate) async fn cancel(&self, cancel: CancelToken) -> Result<(), DatabaseError> {
        match tokio::time::timeout(self.connect_timeout, cancel.cancel_query(self.tls.clone())).await {
            Ok(sent) => sent.map_err(DatabaseError::statement("cancel a statement")),
            Err(_) => Err(DatabaseError::ConnectTimeout { target: self.url.target(), after: self.connect_timeout }),
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("target", &self.url.target()).finish_non_exhaustive()
    }
}

/// A connection with the task that drives it.
pub(crate) struct Opened {
    pub(crate) client: Client,
    /// Cancelled when the connection has ended.
    pub(crate) closed: CancellationToken,
    /// Ends the connection when it is dropped.
    pub(crate) _driver: AbortOnDropHandle<()>,
}

/// A connection of one owner, outside the pool. Derefs to the driver's client. Dropping it closes it at once; a
/// statement under way may still take effect.
///
/// It starts with the process' statement and lock timeouts; the owner may `SET` others, and session state of its own.
pub struct Dedicated {
    opened: Opened,
    connector: Connector,
    backend_pid: i32,
}

impl Dedicated {
    pub(crate) async fn open(connector: &Connector, purpose: &str, session: Session) -> Result<Self, DatabaseError> {
        let opened = connector.open(purpose, session).await?;
        let row = opened
            .client
            .query_one("SELECT pg_catalog.pg_backend_pid()", &[])
            .await
            .map_err(DatabaseError::statement("ask for the process id of a connection"))?;
        Ok(Self { backend_pid: row.get(0), opened, connector: connector.clone() })
    }

    /// The server process behind this connection, as in `pg_stat_activity.pid`.
    #[must_use]
    pub fn backend_pid(&self) -> i32 {
        self.backend_pid
    }

    /// Waits until the connection has ended, by whichever side. May be dropped and called again.
    pub async fn closed(&self) {
        self.opened.closed.cancelled().await;
    }

    /// Asks the server to cancel the statement under way, over a connection of its own. It may have no effect, or come
    /// too late: the statement's answer tells.
    ///
    /// # Errors
    /// If the request could not be sent within the connect timeout.
    pub async fn cancel(&self) -> Result<(), DatabaseError> {
        self.connector.cancel(self.opened.client.cancel_token()).await
    }
}

impl Deref for Dedicated {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.opened.client
    }
}

impl DerefMut for Dedicated {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.opened.client
    }
}

impl fmt::Debug for Dedicated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dedicated")
            .field("backend_pid", &self.backend_pid)
            .field("closed", &self.opened.closed.is_cancelled())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tiny_timeout_is_not_taken_for_none() {
        assert_eq!(setting_ms(Duration::ZERO), 0);
        assert_eq!(setting_ms(Duration::from_micros(1)), 1);
        assert_eq!(setting_ms(Duration::from_secs(30)), 30_000);
        assert_eq!(setting_ms(Duration::MAX), i32::MAX);
    }
}
