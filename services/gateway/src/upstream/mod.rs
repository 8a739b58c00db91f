//! The services behind the Gateway: which process is asked, what is tried again, and on which connection.

mod connections;
mod target;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::select_ok;
use hashmesh::error::{self as codes, Reason};
use hashmesh_middleware::{breaker::BreakerConfig, retry::RetryBudget};
use hashmesh_runtime::{
    channel::{Dialer, Guarded},
    metrics::catalogue::rpc::CLIENT_RETRIES,
    tls::{Role, Tls},
};
use tonic::{Response, Status};

pub(crate) use self::connections::StreamSlot;
pub(crate) use self::target::Pace;
use self::target::Target;
use crate::{
    deadline::Deadline,
    error::{self, GatewayError, UpstreamLog},
};

/// Attempts at one call at most, however often the owner changes meanwhile.
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
    dialer: Dialer,
    configured: Vec<Arc<Target>>,
    current: Mutex<Arc<Target>>,
    breaker: BreakerConfig,
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

/// What an error says about trying elsewhere.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The service has answered; it would say the same again.
    Answered,
    /// The call was not executed. Perhaps it is known who would.
    NotExecuted { owner: Option<String> },
    /// Nobody knows whether the call was executed.
    Unknown,
}

impl Upstream {
    /// A service at these URLs; over TLS if they say so. Connects on first use.
    pub(crate) fn new(role: Role, urls: &[String], tls: Option<Tls>) -> Result<Self, GatewayError> {
        Self::with_breaker(role, urls, tls, BreakerConfig::default())
    }

    /// The same, with breakers of its own kind.
    pub(crate) fn with_breaker(
        role: Role,
        urls: &[String],
        tls: Option<Tls>,
        breaker: BreakerConfig,
    ) -> Result<Self, GatewayError> {
        let (service, dialer) = (role.name(), Dialer::new(role, tls));
        let target = |url: &String| {
            Target::new(url, &dialer, breaker.clone()).map_err(|source| GatewayError::Upstream { service, source })
        };
        let configured = urls.iter().map(target).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = configured.first() else {
            return Err(GatewayError::NoUpstream { service });
        };
        Ok(Self {
            service,
            current: Mutex::new(Arc::clone(first)),
            configured,
            breaker,
            repeats: RetryBudget::default(),
            log: UpstreamLog::new(service),
            dialer,
        })
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
        self.attempt(repeat, |target| {
            let opening = target.stream_slot(pace).map(|slot| (open(slot.channel()), slot));
            async move {
                let (opening, slot) = opening.map_err(|error| {
                    tracing::error!(%error, "a usable URL became unusable");
                    error::internal()
                })?;
                Ok((opening.await?, slot))
            }
        })
        .await
    }

    /// Whether any process of the service can be reached, whatever it says of its work.
    pub(crate) async fn reachable(&self, within: Duration) -> bool {
        let targets = self.configured.iter().cloned().chain([self.current()]);
        let asked = targets.map(|target| Box::pin(async move { target.answers().await.then_some(()).ok_or(()) }));
        tokio::time::timeout(within, select_ok(asked)).await.is_ok_and(|any| any.is_ok())
    }

    /// A status of this service, as clients see it; for what arrives on a stream once it is open.
    pub(crate) fn status(&self, status: &Status) -> Status {
        // So that the client's next attempt finds the owner.
        if let Verdict::NotExecuted { owner } = judge(status) {
            let _moved = self.elsewhere(&self.current(), owner.as_deref());
        }
        error::from_upstream(&self.log, status)
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
                Verdict::Answered => false,
                Verdict::NotExecuted { owner } => self.elsewhere(&target, owner.as_deref()),
                // Once: on another process if there is one, else on a new connection.
                Verdict::Unknown => {
                    let first = !std::mem::replace(&mut repeated, true);
                    let _moved = self.elsewhere(&target, None);
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

    /// Turns to the owner if it is known, else to the next URL. False if there is no other.
    fn elsewhere(&self, from: &Arc<Target>, owner: Option<&str>) -> bool {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&current, from) {
            // Another call has found somebody already.
            return true;
        }
        let Some(next) = self.next(from, owner) else { return false };
        tracing::info!(service = self.service, from = from.url(), to = next.url(), "turning to another process");
        *current = next;
        true
    }

    fn next(&self, from: &Arc<Target>, owner: Option<&str>) -> Option<Arc<Target>> {
        if let Some(owner) = owner {
            let url = if owner.contains("://") { owner.to_owned() } else { format!("http://{owner}") };
            if let Some(known) = self.configured.iter().find(|target| target.same(&url)) {
                return (!Arc::ptr_eq(known, from)).then(|| Arc::clone(known));
            }
            match Target::new(&url, &self.dialer, self.breaker.clone()) {
                Ok(target) if !from.same(&url) => return Some(target),
                Ok(_) => {}
                Err(error) => tracing::warn!(service = self.service, %error, "the owner's address is not usable"),
            }
        }
        let place = self.configured.iter().position(|target| Arc::ptr_eq(target, from));
        let next = place.map_or(0, |place| (place + 1) % self.configured.len());
        let next = &self.configured[next];
        (!Arc::ptr_eq(next, from)).then(|| Arc::clone(next))
    }
}

fn judge(status: &Status) -> Verdict {
    use tonic_types::StatusExt as _;
    match codes::reason(status) {
        Some(Reason::NotOwner) => {
            let owner = status.get_details_error_info().and_then(|mut info| info.metadata.remove("owner"));
            Verdict::NotExecuted { owner }
        }
        Some(Reason::Draining | Reason::CircuitOpen) => Verdict::NotExecuted { owner: None },
        Some(_) => Verdict::Answered,
        None if error::not_connected(status) => Verdict::NotExecuted { owner: None },
        None if error::lost(status) => Verdict::Unknown,
        None => Verdict::Answered,
    }
}

#[cfg(test)]
mod tests;
