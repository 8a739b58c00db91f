//! The windows that all Gateways share: asked of the Cache service, which is not waited for.

use std::{sync::Arc, time::Duration};

use hashmesh::cache::v1::{
    QuotaState, QuotaWindow, TakeQuotaRequest, TakeQuotaResponse, quota_service_client::QuotaServiceClient,
};
use hashmesh_middleware::{
    breaker::BreakerConfig,
    rate_limit::{Ask, State, Taken},
};
use hashmesh_runtime::{channel::Guarded, tls::Role};

use crate::{
    GatewayConfig,
    deadline::Deadline,
    error::GatewayError,
    upstream::{Repeat, Upstream, ask_by},
};

/// The Cache service.
#[derive(Debug)]
pub(super) struct Shared {
    cache: Arc<Upstream>,
    timeout: Duration,
}

impl Shared {
    pub(super) fn new(config: &GatewayConfig) -> Result<Self, GatewayError> {
        let timeout = config.cache_timeout.unwrap_or(GatewayConfig::CACHE_TIMEOUT);
        // After a few late answers in a row nobody waits for them any more.
        let breaker = BreakerConfig { hangs_after: timeout, ..BreakerConfig::default() };
        Ok(Self {
            cache: Arc::new(Upstream::with_breaker(Role::Cache, &config.cache, config.tls.clone(), &breaker)?),
            timeout,
        })
    }

    /// Counts a call. `None`: there was no answer, or none in time.
    pub(super) async fn take(&self, asks: &[Ask]) -> Option<Taken> {
        let window = |ask: &Ask| QuotaWindow {
            name: ask.name.clone(),
            limit: ask.limit.calls,
            window: ask.limit.window.try_into().ok(),
        };
        let request = TakeQuotaRequest { windows: asks.iter().map(window).collect() };
        let deadline = Deadline::after(self.timeout);
        let answer = ask_by!(self.cache, client, Repeat::Unsafe, deadline, take_quota(request));
        match answer {
            Ok(answer) => taken(asks, answer),
            Err(status) => {
                tracing::debug!(code = ?status.code(), "rate limits are counted here: the cache service says nothing");
                None
            }
        }
    }
}

fn client(channel: Guarded) -> QuotaServiceClient<Guarded> {
    QuotaServiceClient::new(channel)
}

fn taken(asks: &[Ask], TakeQuotaResponse { admitted, states }: TakeQuotaResponse) -> Option<Taken> {
    if states.len() != asks.len() {
        return None;
    }
    let look = |(ask, QuotaState { remaining, exhausted, reset_after }): (&Ask, QuotaState)| {
        let reset_after = reset_after.and_then(|time| Duration::try_from(time).ok()).unwrap_or(ask.limit.window);
        let state = State { calls: ask.limit.calls, remaining, reset_after };
        if exhausted { Err(state) } else { Ok(state) }
    };
    let taken = Taken::of(asks.iter().zip(states).map(look))?;
    (taken.admitted == admitted).then_some(taken)
}
