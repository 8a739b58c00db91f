//! The pool: bounded connections, bounded callers that wait, bounded waits.

use std::{
    error::Error as _,
    fmt,
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bb8::{ErrorSink, ManageConnection, RunError};
use hashmesh_runtime::tasks;
use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};
use tokio_postgres::Client;

use crate::{
    config::DatabaseConfig,
    connection::{Connector, Opened, Session},
    error::DatabaseError,
};

/// Callers that may wait, per connection. bb8 would let them be any number.
const WAITING_PER_CONNECTION: usize = 32;
/// How long a connection that is taken from the pool may need for its first sign of life. One that is still busy with a
/// statement whose caller has gone is thrown away instead.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// A bounded pool of connections.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    connections: bb8::Pool<Manager>,
    /// One permit for each caller that has a connection or waits for one.
    callers: Arc<Semaphore>,
    refused: Arc<AtomicU64>,
    last_failure: LastFailure,
    max: u32,
    wait: Duration,
}

impl Pool {
    pub(crate) fn new(connector: Connector, config: &DatabaseConfig) -> Result<Self, DatabaseError> {
        let max = config.pool_max;
        if max == 0 {
            return Err(DatabaseError::EmptyPool);
        }
        // bb8 refuses zero, and what it means is "at once".
        let wait = config.pool_wait.max(Duration::from_millis(1));
        let last_failure = LastFailure::default();
        let manager = Manager { connector, session: Session::pooled(config), last_failure: last_failure.clone() };
        let connections = bb8::Pool::builder()
            .max_size(max)
            .connection_timeout(wait)
            .error_sink(Box::new(last_failure.clone()))
            .build_unchecked(manager);
        let callers = usize::try_from(max).unwrap_or(usize::MAX).saturating_mul(1 + WAITING_PER_CONNECTION);
        Ok(Self {
            connections,
            callers: Arc::new(Semaphore::new(callers.min(Semaphore::MAX_PERMITS))),
            refused: Arc::default(),
            last_failure,
            max,
            wait,
        })
    }

    pub(crate) async fn get(&self) -> Result<Pooled<'_>, DatabaseError> {
        let permit = match self.callers.try_acquire() {
            Ok(permit) => permit,
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                return Err(DatabaseError::PoolBusy { max: self.max, waiting: self.stats().waiting });
            }
        };
        match self.connections.get().await {
            Ok(connection) => Ok(Pooled { connection, _permit: permit }),
            Err(RunError::TimedOut) => {
                Err(DatabaseError::PoolTimeout { after: self.wait, last_failure: self.last_failure.text() })
            }
            Err(RunError::User(error)) => Err(error),
        }
    }

    pub(crate) fn stats(&self) -> PoolStats {
        let state = self.connections.state();
        let counts = state.statistics;
        PoolStats {
            max: self.max,
            connections: state.connections,
            idle: state.idle_connections,
            waiting: usize::try_from(counts.pending_gets()).unwrap_or(usize::MAX),
            taken_at_once_total: counts.get_direct,
            taken_after_wait_total: counts.get_waited,
            timed_out_total: counts.get_timed_out,
            refused_total: self.refused.load(Ordering::Relaxed),
            wait_seconds_total: counts.get_wait_time.as_secs_f64(),
            opened_total: counts.connections_created,
            broken_total: counts.connections_closed_broken + counts.connections_closed_invalid,
            retired_total: counts.connections_closed_max_lifetime + counts.connections_closed_idle_timeout,
            last_failure: self.last_failure.text(),
        }
    }
}

/// What the pool is doing, and did since the process started.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PoolStats {
    /// Connections it may have.
    pub max: u32,
    /// Connections it has.
    pub connections: u32,
    /// Of these, not in use.
    pub idle: u32,
    /// Callers that wait for one.
    pub waiting: usize,
    /// Calls that got a connection at once.
    pub taken_at_once_total: u64,
    /// Calls that got one after a wait.
    pub taken_after_wait_total: u64,
    /// Calls that waited in vain.
    pub timed_out_total: u64,
    /// Calls that were refused because too many waited.
    pub refused_total: u64,
    /// What all calls waited together, in seconds.
    pub wait_seconds_total: f64,
    /// Connections that were opened.
    pub opened_total: u64,
    /// Connections that were found unusable.
    pub broken_total: u64,
    /// Connections that were closed for their age, or for want of use.
    pub retired_total: u64,
    /// Why the latest new connection failed; none if it did not.
    pub last_failure: Option<String>,
}

/// A connection of the pool for a few statements. Derefs to the driver's client; goes back when it is dropped.
///
/// Leave no session state behind (`SET`, `LISTEN`, advisory session locks): others get this session next. A transaction
/// that is dropped is rolled back.
pub struct Pooled<'a> {
    connection: bb8::PooledConnection<'a, Manager>,
    _permit: SemaphorePermit<'a>,
}

impl Deref for Pooled<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.connection.client
    }
}

impl DerefMut for Pooled<'_> {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.connection.client
    }
}

impl fmt::Debug for Pooled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pooled").finish_non_exhaustive()
    }
}

/// Makes and checks the connections for bb8.
#[derive(Clone, Debug)]
struct Manager {
    connector: Connector,
    session: Session,
    last_failure: LastFailure,
}

impl ManageConnection for Manager {
    type Connection = Opened;
    type Error = DatabaseError;

    async fn connect(&self) -> Result<Opened, DatabaseError> {
        let opened = self.connector.open("pool", self.session).await?;
        self.last_failure.clear();
        Ok(opened)
    }

    async fn is_valid(&self, opened: &mut Opened) -> Result<(), DatabaseError> {
        match tokio::time::timeout(CHECK_TIMEOUT, opened.client.simple_query("")).await {
            Ok(answer) => answer.map(drop).map_err(DatabaseError::statement("use a connection of the pool again")),
            Err(_) => {
                // Closing the connection alone would let the statement go on until its timeout.
                let (connector, cancel) = (self.connector.clone(), opened.client.cancel_token());
                drop(tasks::spawn("cancel", async move { connector.cancel(cancel).await }));
                Err(DatabaseError::PoolTimeout { after: CHECK_TIMEOUT, last_failure: None })
            }
        }
    }

    fn has_broken(&self, opened: &mut Opened) -> bool {
        opened.client.is_closed()
    }
}

/// Why the latest new connection failed. Waiting callers see a timeout only, and want the cause.
#[derive(Clone, Debug, Default)]
struct LastFailure {
    text: Arc<Mutex<Option<String>>>,
}

impl LastFailure {
    fn text(&self) -> Option<String> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn clear(&self) {
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl ErrorSink<DatabaseError> for LastFailure {
    fn sink(&self, error: DatabaseError) {
        tracing::warn!(error = &error as &dyn std::error::Error, "the pool lost a connection, or could not make one");
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    fn boxed_clone(&self) -> Box<dyn ErrorSink<DatabaseError>> {
        Box::new(self.clone())
    }
}
