//! `hashmesh.cache.v1.QuotaService`: for our own Gateways.

mod envoy;

use std::time::Duration;

use hashmesh::{
    cache::v1::{QuotaState, QuotaWindow, TakeQuotaRequest, TakeQuotaResponse, quota_service_server::QuotaService},
    error::bad_field,
    limits::MAX_CALLS,
};
use hashmesh_middleware::rate_limit::{Limit, State};
use hashmesh_runtime::metrics::catalogue::cache::QUOTA_DECISIONS;
use tonic::{Request, Response, Status};

pub(crate) use self::envoy::Envoy;
use crate::{redis::Redis, windows};

const MAX_WINDOWS: usize = 8;
const MAX_NAME_BYTES: usize = 128;
const LEAST_WINDOW: Duration = Duration::from_secs(1);
const LONGEST_WINDOW: Duration = Duration::from_secs(86_400);

/// The windows that all Gateways share.
#[derive(Debug)]
pub(crate) struct Quota {
    redis: Redis,
}

impl Quota {
    pub(crate) fn new(redis: Redis) -> Self {
        Self { redis }
    }
}

#[tonic::async_trait]
impl QuotaService for Quota {
    async fn take_quota(&self, request: Request<TakeQuotaRequest>) -> Result<Response<TakeQuotaResponse>, Status> {
        let asked = checked(request.into_inner())?;
        let states = windows::take(&self.redis, &asked, 1).await?;
        let admitted = states.iter().all(Result::is_ok);
        decided(admitted);
        Ok(Response::new(TakeQuotaResponse { admitted, states: states.into_iter().map(told).collect() }))
    }
}

/// A call was decided on.
fn decided(admitted: bool) {
    QUOTA_DECISIONS.add(1, &[if admitted { "admitted" } else { "refused" }]);
}

fn told(state: Result<State, State>) -> QuotaState {
    let exhausted = state.is_err();
    let (Ok(state) | Err(state)) = state;
    QuotaState { remaining: state.remaining, exhausted, reset_after: state.reset_after.try_into().ok() }
}

fn checked(request: TakeQuotaRequest) -> Result<Vec<(String, Limit)>, Status> {
    if !(1..=MAX_WINDOWS).contains(&request.windows.len()) {
        return Err(bad_field("windows", format!("must be 1 to {MAX_WINDOWS}")));
    }
    let check = |(place, window): (usize, QuotaWindow)| {
        let bad = |field: &str, wanted: String| bad_field(&format!("windows[{place}].{field}"), wanted);
        if !(1..=MAX_NAME_BYTES).contains(&window.name.len()) {
            return Err(bad("name", format!("must be 1 to {MAX_NAME_BYTES} bytes")));
        }
        if !(1..=MAX_CALLS).contains(&window.limit) {
            return Err(bad("limit", format!("must be 1 to {MAX_CALLS}")));
        }
        let length = window.window.and_then(|window| Duration::try_from(window).ok()).unwrap_or_default();
        if !(LEAST_WINDOW..=LONGEST_WINDOW).contains(&length) || length.subsec_nanos() % 1_000_000 != 0 {
            return Err(bad("window", "must be 1 s to 1 d in whole milliseconds".to_owned()));
        }
        Ok((window.name, Limit { calls: window.limit, window: length }))
    };
    request.windows.into_iter().enumerate().map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(name: &str, limit: u32, millis: u64) -> QuotaWindow {
        let window = Duration::from_millis(millis).try_into().ok();
        QuotaWindow { name: name.to_owned(), limit, window }
    }

    #[test]
    fn every_limit_holds_on_both_sides() {
        let fits = |windows: Vec<QuotaWindow>| checked(TakeQuotaRequest { windows }).is_ok();
        let good = window("a", 1, 1_000);
        assert!(fits(vec![good.clone(); 8]) && !fits(vec![good; 9]) && !fits(vec![]));
        assert!(fits(vec![window(&"a".repeat(128), 1, 1_000)]) && !fits(vec![window(&"a".repeat(129), 1, 1_000)]));
        assert!(!fits(vec![window("", 1, 1_000)]));
        assert!(fits(vec![window("a", MAX_CALLS, 1_000)]) && !fits(vec![window("a", MAX_CALLS + 1, 1_000)]));
        assert!(!fits(vec![window("a", 0, 1_000)]));
        assert!(fits(vec![window("a", 1, 86_400_000)]) && !fits(vec![window("a", 1, 86_400_001)]));
        assert!(!fits(vec![window("a", 1, 999)]));
        let odd = QuotaWindow { window: Some(prost_types::Duration { seconds: 1, nanos: 1 }), ..window("a", 1, 1) };
        assert!(!fits(vec![odd, window("b", 1, 1_000)]));
    }
}
