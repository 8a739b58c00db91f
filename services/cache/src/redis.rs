//! The connection to Redis. What it does not answer within its budget is not waited for, and once it has failed several
//! times it is not asked.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hashmesh_middleware::breaker::{Breaker, BreakerConfig};
use hashmesh_runtime::health::Health;
use redis::{
    Client, FromRedisValue, Script, ScriptInvocation,
    aio::{ConnectionManager, ConnectionManagerConfig},
};

use crate::error::{CacheError, RedisError};

/// How long a new connection may take, in the background.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How often it is asked whether it works.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// One connection that all calls share; replaced when it fails.
#[derive(Clone)]
pub(crate) struct Redis {
    client: Client,
    connection: Arc<Mutex<ConnectionManager>>,
    breaker: Arc<Breaker>,
    /// How long an answer may take.
    budget: Duration,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The client's URL may hold a password.
        formatter.debug_struct("Redis").field("breaker", &self.breaker).finish_non_exhaustive()
    }
}

impl Redis {
    /// Connects on first use.
    pub(crate) fn new(url: &str, budget: Duration) -> Result<Self, CacheError> {
        let wrong = |error: redis::RedisError| CacheError::Url { kind: format!("{:?}", error.kind()) };
        let client = Client::open(url).map_err(wrong)?;
        let connection = Arc::new(Mutex::new(connect(&client).map_err(wrong)?));
        // A call is over, one way or the other, within its budget: none hangs.
        let config = BreakerConfig { hangs_after: budget, ..BreakerConfig::default() };
        Ok(Self { client, connection, breaker: Breaker::new("redis", config), budget })
    }

    /// Runs a script.
    pub(crate) async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, RedisError> {
        let mut attempt = self.breaker.enter().map_err(|open| RedisError::Open { retry_after: open.retry_after })?;
        let mut connection = self.connection();
        let answer = tokio::time::timeout(self.budget, script.invoke_async(&mut connection)).await;
        let error = match answer {
            Ok(Ok(answer)) => {
                attempt.succeeded();
                return Ok(answer);
            }
            Ok(Err(error)) => error.into(),
            Err(_) => RedisError::Slow { budget: self.budget },
        };
        attempt.failed();
        if !self.breaker.is_closed() {
            // Who says nothing may never say anything on this connection again, and nobody would be told.
            self.reconnect();
        }
        Err(error)
    }

    /// Keeps `health` true, and finds a Redis that works again, whether or not anybody asks for anything; ends never.
    pub(crate) async fn watch(self, health: Health) {
        let ping = Script::new("return 1");
        let mut interval = tokio::time::interval(PING_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            match self.run::<i64>(&ping.prepare_invoke()).await {
                Ok(_) => health.serving(),
                Err(error) => {
                    if health.state().is_ok() {
                        tracing::warn!(%error, cause = ?std::error::Error::source(&error), "Redis does not answer");
                    }
                    health.not_serving("Redis does not answer");
                }
            }
        }
    }

    fn connection(&self) -> ConnectionManager {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn reconnect(&self) {
        match connect(&self.client) {
            Ok(fresh) => *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = fresh,
            Err(error) => tracing::error!(%error, "a usable URL became unusable"),
        }
    }
}

fn connect(client: &Client) -> redis::RedisResult<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(CONNECT_TIMEOUT))
        .set_number_of_retries(1);
    ConnectionManager::new_lazy_with_config(client.clone(), config)
}
