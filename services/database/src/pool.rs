//! The pool: bounded connections, bounded callers that wait, bounded waits.

use std::{
    error::Error as _,
    fmt,
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bb8::{ErrorSink, ManageConnection, RunError};
use hashmesh_middleware::breaker::{Attempt, Breaker, BreakerConfig, Open};
use hashmesh_runtime::{channel::watch_breaker, tasks, telemetry};
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

/// A caller who gave up after this long has waited in vain.
const IN_VAIN: Duration = Duration::from_secs(1);

/// When the pool of a server that is away refuses callers. A failure is a caller who has waited in vain though not all
/// connections were used by others, so few say enough; and it is tried again soon, so that a server which is back is noticed
/// as if there were no breaker.
fn breaker_config() -> BreakerConfig {
    BreakerConfig {
        consecutive_failures: 2,
        // It is ours to say: see `Waiting`.
        hangs_after: Duration::MAX,
        open_for: Duration::from_millis(100),
        open_for_at_most: Duration::from_millis(500),
        ..BreakerConfig::default()
    }
}

/// A bounded pool of connections.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    connections: bb8::Pool<Manager>,
    /// One permit for each caller that has a connection or waits for one.
    callers: Arc<Semaphore>,
    max_callers: usize,
    refused: Arc<AtomicU64>,
    breaker: Arc<Breaker>,
    refused_by_breaker: Arc<AtomicU64>,
    in_use: Arc<AtomicU32>,
    /// The last caller got a connection, or it was not the server's fault.
    up: Arc<AtomicBool>,
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
        let target = connector.url().target();
        let manager = Manager { connector, session: Session::pooled(config), last_failure: last_failure.clone() };
        let connections = bb8::Pool::builder()
            .max_size(max)
            .connection_timeout(wait)
            .error_sink(Box::new(last_failure.clone()))
            .build_unchecked(manager);
        let callers = usize::try_from(max).unwrap_or(usize::MAX).saturating_mul(1 + WAITING_PER_CONNECTION);
        let callers = callers.min(Semaphore::MAX_PERMITS);
        let breaker = Breaker::new(target, breaker_config());
        breaker.keep(watch_breaker("postgres", &breaker));
        Ok(Self {
            connections,
            callers: Arc::new(Semaphore::new(callers)),
            max_callers: callers,
            refused: Arc::default(),
            breaker,
            refused_by_breaker: Arc::default(),
            in_use: Arc::default(),
            up: Arc::new(AtomicBool::new(true)),
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
        let attempt = self.breaker.enter().map_err(|Open { retry_after }| {
            self.refused_by_breaker.fetch_add(1, Ordering::Relaxed);
            DatabaseError::CircuitOpen { retry_after, last_failure: self.last_failure.text() }
        })?;
        let waiting = Waiting { pool: self, attempt: Some(attempt), began: Instant::now() };
        match self.connections.get().await {
            Ok(connection) => {
                waiting.succeeded();
                Ok(Pooled { connection, _in_use: InUse::count(&self.in_use), _permit: permit })
            }
            Err(RunError::TimedOut) => {
                waiting.failed();
                Err(DatabaseError::PoolTimeout { after: self.wait, last_failure: self.last_failure.text() })
            }
            Err(RunError::User(error)) => {
                waiting.failed();
                Err(error)
            }
        }
    }

    /// False if the server was away, or did not answer, when a connection was last wanted.
    pub(crate) fn up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Callers without a connection. Not by bb8's own count, in which those who gave up wait for ever.
    fn waiting(&self) -> usize {
        let callers = self.max_callers.saturating_sub(self.callers.available_permits());
        callers.saturating_sub(self.in_use.load(Ordering::Relaxed) as usize)
    }

    pub(crate) fn stats(&self) -> PoolStats {
        let state = self.connections.state();
        let counts = state.statistics;
        PoolStats {
            max: self.max,
            connections: state.connections,
            idle: state.idle_connections,
            waiting: self.waiting(),
            taken_at_once_total: counts.get_direct,
            taken_after_wait_total: counts.get_waited,
            timed_out_total: counts.get_timed_out,
            refused_total: self.refused.load(Ordering::Relaxed),
            breaker: if self.breaker.is_closed() { "closed" } else { "open" },
            refused_by_breaker_total: self.refused_by_breaker.load(Ordering::Relaxed),
            wait_seconds_total: counts.get_wait_time.as_secs_f64(),
            opened_total: counts.connections_created,
            broken_total: counts.connections_closed_broken + counts.connections_closed_invalid,
            retired_total: counts.connections_closed_max_lifetime + counts.connections_closed_idle_timeout,
            last_failure: self.last_failure.text(),
        }
    }
}

/// A caller who waits for a connection, and what the breaker learns of it.
struct Waiting<'a> {
    pool: &'a Pool,
    attempt: Option<Attempt>,
    began: Instant,
}

impl Waiting<'_> {
    /// The connection has just answered. How long its statements take says nothing of the server.
    fn succeeded(mut self) {
        self.pool.up.store(true, Ordering::Relaxed);
        if let Some(attempt) = &mut self.attempt {
            attempt.succeeded();
        }
        self.attempt = None;
    }

    fn failed(mut self) {
        self.tell_failure();
    }

    fn tell_failure(&mut self) {
        // With all connections in use there are too many callers, which the server is not to blame for.
        let all_used = self.pool.in_use.load(Ordering::Relaxed) >= self.pool.max;
        if let Some(mut attempt) = self.attempt.take()
            && !all_used
        {
            attempt.failed();
            self.pool.up.store(false, Ordering::Relaxed);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.began.elapsed() >= IN_VAIN {
            self.tell_failure();
        }
    }
}

/// Counts a connection that is in use, until it is dropped.
struct InUse(Arc<AtomicU32>);

impl InUse {
    fn count(all: &Arc<AtomicU32>) -> Self {
        all.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(all))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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
    /// `closed`, or `open` while callers are refused because others waited in vain.
    pub breaker: &'static str,
    /// Calls that were refused while it was open.
    pub refused_by_breaker_total: u64,
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
    _in_use: InUse,
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
        // bb8 tries again at once, for each connection that it lacks.
        static AGAIN: telemetry::Repeated = telemetry::Repeated::new();
        if let Some(left_out) = AGAIN.failed() {
            let error = telemetry::chain(&error);
            tracing::warn!(error, left_out, "the pool lost a connection, or could not make one");
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_is_away_is_not_up_once_somebody_has_wanted_it() {
        let config = DatabaseConfig {
            // Nobody listens there.
            url: "postgres://127.0.0.1:1/none".to_owned(),
            pool_wait: Duration::from_millis(10),
            ..DatabaseConfig::default()
        };
        let pool = Pool::new(Connector::new(&config).unwrap(), &config).unwrap();
        assert!(pool.up());
        assert!(pool.get().await.is_err());
        assert!(!pool.up());
    }
}
