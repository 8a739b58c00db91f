//! How many calls a client may make within a minute: by its address, by its key, and by the kind of call.
//!
//! A call is counted in each window that concerns it, or in none if one of them is full. All Gateways count together where
//! there is a Cache service ([`shared`]); each by itself where there is none or it does not answer. What the others were
//! told meanwhile is known here too, so that nobody begins anew when they cannot be asked.

mod address;
mod shared;

use std::{sync::Arc, time::Duration};

use hashmesh::error::{Reason, StatusBuilder};
use hashmesh_middleware::rate_limit::{Ask, Decide, Limit, State, Taken, Verdict, Windows};
use hashmesh_runtime::metrics::catalogue::gateway::{LIMIT_COUNTS, LIMIT_DECISIONS};
use tonic::{
    Status,
    codegen::http::{Extensions, HeaderMap, request::Parts},
};

use self::{address::Addresses, shared::Shared};
use crate::{GatewayConfig, RateLimits, auth::Caller, error::GatewayError};

/// Windows in this process, about 1 KiB each where all of a minute is used.
const MOST_WINDOWS: u64 = 100_000;

/// Decides for every call. Clones share what was counted.
#[derive(Clone, Debug)]
pub(crate) struct Limiter {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limits: RateLimits,
    addresses: Addresses,
    here: Windows,
    shared: Option<Shared>,
}

/// What a window is for, as clients are told.
const ADDRESS: &str = "address";
const KEY: &str = "key";

impl Limiter {
    pub(crate) fn new(config: &GatewayConfig) -> Result<Self, GatewayError> {
        let together = config.shared_limits && !config.cache.is_empty();
        let shared = if together { Some(Shared::new(config)?) } else { None };
        let inner = Inner {
            limits: config.limits,
            addresses: Addresses::new(config.trusted_proxies.clone()),
            here: Windows::new(MOST_WINDOWS, Duration::from_secs(60)),
            shared,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Counts a call that was turned away for want of a valid key. `Some`: that was one too many, and is the answer.
    pub(crate) async fn count_stranger(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<Status> {
        let mut asks = Vec::new();
        self.inner.ask_address(&mut asks, "stranger", self.inner.limits.unauthenticated, headers, extensions);
        let taken = self.inner.take(&asks).await?;
        count(ADDRESS, taken);
        (!taken.admitted).then(|| refused(ADDRESS, taken.tightest))
    }
}

impl Decide for Limiter {
    async fn decide(&self, call: &Parts) -> Verdict {
        let asks = self.inner.asks(call);
        match self.inner.take(&asks).await {
            None => Verdict::Admit(None),
            Some(taken) => {
                let by_key = asks.get(taken.which).is_some_and(|ask| ask.name.starts_with(KEY));
                let what = if by_key { KEY } else { ADDRESS };
                count(what, taken);
                if taken.admitted {
                    Verdict::Admit(Some(taken.tightest))
                } else {
                    Verdict::Refuse(taken.tightest, refused(what, taken.tightest))
                }
            }
        }
    }
}

impl Inner {
    fn asks(&self, call: &Parts) -> Vec<Ask> {
        let mut asks = Vec::with_capacity(2);
        let administration = call.uri.path().starts_with("/hashmesh.admin.");
        let (class, calls) =
            if administration { ("admin", self.limits.admin) } else { ("api", self.limits.per_address) };
        self.ask_address(&mut asks, class, calls, &call.headers, &call.extensions);
        if let Some((id, own)) = call.extensions.get::<Caller>().and_then(Caller::key_limit) {
            let calls = own.unwrap_or(self.limits.per_key);
            push(&mut asks, format!("{KEY}/{id}"), calls);
        }
        asks
    }

    fn ask_address(&self, asks: &mut Vec<Ask>, class: &str, calls: u32, headers: &HeaderMap, extensions: &Extensions) {
        if calls == 0 {
            return;
        }
        if let Some(address) = self.addresses.client(headers, extensions) {
            push(asks, format!("{ADDRESS}/{class}/{address}"), calls);
        }
    }

    /// Counts, with the others if they can be asked. `None`: nothing limits this call.
    async fn take(&self, asks: &[Ask]) -> Option<Taken> {
        if asks.is_empty() {
            return None;
        }
        let told = match &self.shared {
            Some(shared) => shared.take(asks).await,
            None => None,
        };
        LIMIT_COUNTS.add(1, &[if told.is_some() { "shared" } else { "here" }]);
        let Some(taken) = told else { return self.here.take(asks) };
        if taken.admitted {
            self.here.count(asks);
        }
        Some(taken)
    }
}

fn push(asks: &mut Vec<Ask>, name: String, calls: u32) {
    if calls > 0 {
        asks.push(Ask { name, limit: Limit::per_minute(calls) });
    }
}

/// `what`: of the windows that the call is counted in, the tightest.
fn count(what: &'static str, taken: Taken) {
    LIMIT_DECISIONS.add(1, &[what, if taken.admitted { "admitted" } else { "refused" }]);
}

fn refused(what: &str, state: State) -> Status {
    let (calls, seconds) = (state.calls, state.reset_seconds());
    let message = format!(
        "this {what} may make {calls} calls a minute, and has; try again in {seconds} s, send more tasks with each call, or \
         ask for a higher limit"
    );
    StatusBuilder::new(Reason::RateLimited, message)
        .metadata("limited", what)
        .metadata("calls_per_minute", calls)
        .retry_after(state.reset_after)
        .build()
}
