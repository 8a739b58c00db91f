//! The connection to Redis: one server, a primary that sentinels know, or a cluster. What it does not answer within its
//! budget is not waited for, and once it has failed several times it is not asked.
//!
//! - `url`: what the URL says.
//! - `link`: the one connection that all calls share, and when it is replaced.
//! - `way`: how a connection is made, for each kind of Redis.
//! - `script`: Lua.

mod link;
mod script;
#[cfg(test)]
mod tests;
mod url;
mod way;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hashmesh_middleware::breaker::{Breaker, BreakerConfig};
use hashmesh_runtime::{
    channel::breaker_with,
    health::Health,
    telemetry::{self, Repeated},
};
use redis::{Cmd, ErrorKind, ServerErrorKind, Value};

pub(crate) use self::{link::Connection, script::Script};
use self::{link::Link, url::Url, way::Way};
use crate::error::{CacheError, RedisError};

/// How often it is asked whether it works.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// One connection that all calls share; replaced when it fails.
#[derive(Clone)]
pub(crate) struct Redis {
    link: Arc<Link>,
    breaker: Arc<Breaker>,
    /// How long an answer may take.
    budget: Duration,
    /// It answered when it was asked last, by [`Redis::watch`].
    up: Arc<AtomicBool>,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What the link was made of may hold a password.
        formatter.debug_struct("Redis").field("breaker", &self.breaker).finish_non_exhaustive()
    }
}

impl Redis {
    /// Connects on first use.
    pub(crate) fn new(url: &str, budget: Duration) -> Result<Self, CacheError> {
        let link = Arc::new(Link::new(Way::new(Url::parse(url)?)?));
        // A call is over, one way or the other, within its budget: none hangs.
        let config = BreakerConfig { hangs_after: budget, ..BreakerConfig::default() };
        Ok(Self { link, breaker: breaker_with("redis", config), budget, up: Arc::default() })
    }

    /// True if it answered when it was asked last, a second ago.
    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// True if keys of different slots are on different servers, so that no script can have several.
    pub(crate) fn is_cluster(&self) -> bool {
        self.link.is_cluster()
    }

    /// Sends these commands together, of one key each, and answers each by itself. Where Redis fails as a whole there is no
    /// answer; where only some of a cluster's servers do, their commands have failed.
    pub(crate) async fn each(&self, commands: Vec<Cmd>) -> Result<Vec<Result<Value, redis::RedisError>>, RedisError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let work = |connection: Connection| connection.each(commands);
        self.attempt(work, |answers| {
            answers.iter().filter_map(|answer| answer.as_ref().err()).find(|error| fails(error))
        })
        .await
    }

    /// Does what one call needs of Redis, all of it within one budget, as one attempt at the breaker.
    pub(crate) async fn run<T, Work>(&self, work: impl FnOnce(Connection) -> Work) -> Result<T, RedisError>
    where
        Work: Future<Output = Result<T, redis::RedisError>>,
    {
        self.attempt(work, |_| None).await
    }

    /// Like [`Self::run`]; `failure` finds what failed in an answer.
    async fn attempt<T, Work>(
        &self,
        work: impl FnOnce(Connection) -> Work,
        failure: impl FnOnce(&T) -> Option<&redis::RedisError>,
    ) -> Result<T, RedisError>
    where
        Work: Future<Output = Result<T, redis::RedisError>>,
    {
        let mut attempt = self.breaker.enter().map_err(|open| RedisError::Open { retry_after: open.retry_after })?;
        let connecting = self.link.connecting();
        let answer = tokio::time::timeout(self.budget, async { work(connecting.clone().await?).await }).await;
        let (failed, broken) = match &answer {
            Ok(answer) => {
                let error = answer.as_ref().map_or_else(Some, failure);
                (error.is_some(), error.is_some_and(|error| self.link.is_broken_by(error)))
            }
            Err(_) => (true, false),
        };
        if failed {
            attempt.failed();
            // Who says nothing may never say anything on this connection again, and nobody would be told.
            if broken || !self.breaker.is_closed() {
                self.link.forget(&connecting);
            }
        } else {
            attempt.succeeded();
        }
        match answer {
            Ok(answer) => answer.map_err(RedisError::Failed),
            Err(_) => Err(RedisError::Slow { budget: self.budget }),
        }
    }

    /// Keeps `health` true, and finds a Redis that works again, whether or not anybody asks for anything; ends never.
    pub(crate) async fn watch(self, health: Health) {
        let ping = Script::new("return 1");
        let again = Repeated::new();
        let mut interval = tokio::time::interval(PING_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let answer = self.run(async |mut connection| ping.call::<i64>(&mut connection, &[], &[]).await).await;
            self.up.store(answer.is_ok(), Ordering::Relaxed);
            match answer {
                Ok(_) => {
                    health.serving();
                    if again.fine() {
                        tracing::info!("Redis answers again");
                    }
                }
                Err(error) => {
                    health.not_serving("Redis does not answer");
                    if let Some(left_out) = again.failed() {
                        tracing::warn!(error = telemetry::chain(&error), left_out, "Redis does not answer");
                    }
                }
            }
        }
    }
}

/// True if this tells of a Redis that does not work. Else it is an answer, if none that the command hoped for.
pub(crate) fn fails(error: &redis::RedisError) -> bool {
    use ServerErrorKind::{Ask, BusyLoading, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain};
    match error.kind() {
        ErrorKind::Server(kind) => {
            matches!(kind, Ask | BusyLoading | ClusterDown | MasterDown | Moved | ReadOnly | TryAgain)
        }
        ErrorKind::Extension => false,
        _ => true,
    }
}
