//! The services behind the Gateway: which process is asked, what is tried again, and on which connection.
//!
//! [`Upstream`] is a service of which any process does (Hash, Cache); [`QueueUpstream`] is the Queue, whose processes share the
//! shards.

mod connections;
mod queue;
mod target;
mod verdict;

use std::sync::{Arc, Mutex, PoisonError};

use hashmesh_middleware::{breaker::BreakerConfig, retry::RetryBudget};
use hashmesh_runtime::{
    channel::{Dialer, Guarded},
    metrics::catalogue::rpc::CLIENT_RETRIES,
    tls::{Role, Tls},
};
use tonic::{Response, Status};

pub(crate) use self::connections::StreamSlot;
pub(crate) use self::queue::{Asked, QueueProcess, QueueSlot, QueueUpstream, Route, Routed, ask_each, ask_queue};
pub(crate) use self::target::Pace;
use self::{
    target::Target,
    verdict::{Verdict, judge},
};
use crate::{
    deadline::Deadline,
    error::{self, GatewayError, UpstreamLog},
};

/// Attempts at one call at most, however often it is sent elsewhere.
const MAX_ATTEMPTS: usize = 4;

/// Whether a call may be sent again when nobody knows whether it was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It changes nothing, or the same a second time.
    Safe,
    /// Only where it certainly was not executed.
    Unsafe,
}

/// One service behind the Gateway, at one or several URLs of which one is kept to while it answers.
#[derive(Debug)]
pub(crate) struct Upstream {
    service: &'static str,
    targets: Vec<Arc<Target>>,
    current: Mutex<Arc<Target>>,
    /// Of calls that nobody knows the end of.
    repeats: RetryBudget,
    log: UpstreamLog,
}

/// Asks a service by a client that is made of each channel; the request is kept, so that it can be sent again. It learns how
/// much time is left.
macro_rules! ask_by {
    ($upstream:expr, $client:path, $repeat:expr, $deadline:expr, $method:ident($request:expr)) => {{
        let (message, deadline): (_, $crate::deadline::Deadline) = ($request, $deadline);
        let send = |channel| {
            let request = deadline.forward(message.clone());
            async move { $client(channel).$method(request).await }
        };
        $upstream.call($repeat, deadline, send).await
    }};
}
pub(crate) use ask_by;

impl Upstream {
    /// A service at these URLs; over TLS if they say so. Connects on first use.
    pub(crate) fn new(role: Role, urls: &[String], tls: Option<Tls>) -> Result<Self, GatewayError> {
        Self::with_breaker(role, urls, tls, &BreakerConfig::default())
    }

    /// The same, with breakers of its own kind.
    pub(crate) fn with_breaker(
        role: Role,
        urls: &[String],
        tls: Option<Tls>,
        breaker: &BreakerConfig,
    ) -> Result<Self, GatewayError> {
        let (service, targets) = (role.name(), targets(&Dialer::new(role, tls), urls, breaker)?);
        let first = Arc::clone(&targets[0]);
        let (current, repeats) = (Mutex::new(first), RetryBudget::default());
        Ok(Self { service, targets, current, repeats, log: UpstreamLog::new(service) })
    }

    /// A unary call, on the connection that all of them share.
    pub(crate) async fn call<T, F>(
        &self,
        repeat: Repeat,
        deadline: Deadline,
        mut send: impl FnMut(Guarded) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let answer = self.attempt(repeat, |target| send(target.shared()));
        deadline.limit(answer).await.map(Response::into_inner)
    }

    /// Opens a stream, on a connection that few others share. The slot must be held as long as the stream.
    pub(crate) async fn open<T, F>(
        &self,
        repeat: Repeat,
        pace: Pace,
        mut open: impl FnMut(Guarded) -> F,
    ) -> Result<(T, StreamSlot), Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        self.attempt(repeat, |target| target.open(pace, &mut open)).await
    }

    async fn attempt<T, F>(&self, repeat: Repeat, mut send: impl FnMut(Arc<Target>) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        self.repeats.earn();
        let mut repeated = false;
        let mut attempt = 1;
        loop {
            let target = self.current();
            let status = match send(Arc::clone(&target)).await {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            let again = match judge(&status) {
                Verdict::Answered | Verdict::Recovering => false,
                Verdict::NotExecuted { .. } => self.elsewhere(&target),
                // Once: on another process if there is one, else on a new connection.
                Verdict::Unknown => {
                    let first = !std::mem::replace(&mut repeated, true);
                    let _moved = self.elsewhere(&target);
                    first && repeat == Repeat::Safe && self.repeats.spend()
                }
            };
            if !again || attempt >= MAX_ATTEMPTS {
                return Err(error::from_upstream(&self.log, &status));
            }
            CLIENT_RETRIES.add(1, &[self.service]);
            tracing::debug!(service = self.service, url = target.url(), attempt, code = ?status.code(), "trying again");
            attempt += 1;
        }
    }

    fn current(&self) -> Arc<Target> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Turns to the next URL. False if there is no other.
    fn elsewhere(&self, from: &Arc<Target>) -> bool {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&current, from) {
            // Another call has found somebody already.
            return true;
        }
        let Some(next) = target::after(&self.targets, from) else { return false };
        tracing::info!(service = self.service, from = from.url(), to = next.url(), "turning to another process");
        *current = next;
        true
    }
}

/// The processes at these URLs: at least one.
fn targets(dialer: &Dialer, urls: &[String], breaker: &BreakerConfig) -> Result<Vec<Arc<Target>>, GatewayError> {
    let service = dialer.service().name();
    let target = |url: &String| {
        Target::new(url, dialer, breaker.clone()).map_err(|source| GatewayError::Upstream { service, source })
    };
    let targets = urls.iter().map(target).collect::<Result<Vec<_>, _>>()?;
    if targets.is_empty() { Err(GatewayError::NoUpstream { service }) } else { Ok(targets) }
}

#[cfg(test)]
mod tests;
