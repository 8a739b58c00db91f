//! `envoy.service.ratelimit.v3`: the same windows, for an Envoy that asks before a request reaches any Gateway.

use std::time::Duration;

use hashmesh::envoy::{
    config::core::v3::HeaderValue,
    extensions::common::ratelimit::v3::{RateLimitDescriptor, rate_limit_descriptor::Entry},
    service::ratelimit::v3::{
        RateLimitRequest, RateLimitResponse,
        rate_limit_response::rate_limit::Unit,
        rate_limit_response::{Code, DescriptorStatus, RateLimit},
        rate_limit_service_server::RateLimitService,
    },
    r#type::v3::RateLimitUnit,
};
use hashmesh::{error::bad_field, limits::MAX_CALLS};
use hashmesh_middleware::rate_limit::{Limit, State};
use tonic::{Request, Response, Status};

use super::{MAX_NAME_BYTES, MAX_WINDOWS, decided};
use crate::{redis::Redis, windows};

/// What Envoy asks, in its own words.
#[derive(Debug)]
pub(crate) struct Envoy {
    redis: Redis,
    calls_per_address: u32,
}

impl Envoy {
    pub(crate) fn new(redis: Redis, calls_per_address: u32) -> Self {
        Self { redis, calls_per_address }
    }

    /// The limit of a descriptor. `None`: it has none.
    fn limit(&self, descriptor: &RateLimitDescriptor) -> Option<(Limit, Unit)> {
        if let Some(own) = &descriptor.limit {
            let (seconds, unit) = match own.unit() {
                RateLimitUnit::Second => (1, Unit::Second),
                RateLimitUnit::Minute => (60, Unit::Minute),
                RateLimitUnit::Hour => (3_600, Unit::Hour),
                RateLimitUnit::Day => (86_400, Unit::Day),
                RateLimitUnit::Unknown => return None,
            };
            let calls = own.requests_per_unit.min(MAX_CALLS);
            return Some((Limit { calls, window: Duration::from_secs(seconds) }, unit));
        }
        let by_address = matches!(descriptor.entries.as_slice(), [one] if one.key == "remote_address");
        (by_address && self.calls_per_address > 0).then(|| (Limit::per_minute(self.calls_per_address), Unit::Minute))
    }
}

#[tonic::async_trait]
impl RateLimitService for Envoy {
    async fn should_rate_limit(
        &self,
        request: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        let RateLimitRequest { domain, descriptors, hits_addend } = request.into_inner();
        if descriptors.len() > MAX_WINDOWS {
            return Err(bad_field("descriptors", format!("must be at most {MAX_WINDOWS}")));
        }
        let limits: Vec<_> = descriptors.iter().map(|descriptor| self.limit(descriptor)).collect();
        let asked: Vec<(String, Limit)> = descriptors
            .iter()
            .zip(&limits)
            .filter_map(|(descriptor, limit)| limit.map(|(limit, _)| (name(&domain, &descriptor.entries), limit)))
            .collect();
        let states = match asked.as_slice() {
            [] => Vec::new(),
            asked => windows::take(&self.redis, asked, hits_addend.max(1)).await?,
        };
        if !states.is_empty() {
            decided(states.iter().all(Result::is_ok));
        }
        Ok(Response::new(answer(&limits, &states)))
    }
}

/// A window's name: its digest where the entries are long.
fn name(domain: &str, entries: &[Entry]) -> String {
    let text = entries.iter().fold(format!("envoy/{domain}"), |text, Entry { key, value }| {
        // Lengths keep `a=bc` apart from `ab=c`.
        format!("{text}/{}:{key}={}:{value}", key.len(), value.len())
    });
    if text.len() <= MAX_NAME_BYTES { text } else { format!("envoy/{}", hashmesh::keys::short_name(&text)) }
}

fn answer(limits: &[Option<(Limit, Unit)>], states: &[Result<State, State>]) -> RateLimitResponse {
    let mut states = states.iter();
    let (mut overall, mut tightest) = (Code::Ok, None::<State>);
    let mut statuses = Vec::with_capacity(limits.len());
    for limit in limits {
        let Some(((limit, unit), looked)) = limit.zip(limit.and_then(|_| states.next())) else {
            statuses.push(DescriptorStatus { code: Code::Ok.into(), ..DescriptorStatus::default() });
            continue;
        };
        let code = if looked.is_ok() { Code::Ok } else { Code::OverLimit };
        let (Ok(state) | Err(state)) = looked;
        if code == Code::OverLimit {
            overall = Code::OverLimit;
        }
        if tightest.is_none_or(|tightest| state.remaining < tightest.remaining) {
            tightest = Some(*state);
        }
        statuses.push(DescriptorStatus {
            code: code.into(),
            current_limit: Some(RateLimit { requests_per_unit: limit.calls, unit: unit.into(), name: String::new() }),
            limit_remaining: state.remaining,
            duration_until_reset: state.reset_after.try_into().ok(),
        });
    }
    let header = |(key, value): (&str, u64)| HeaderValue { key: key.to_owned(), value: value.to_string() };
    let response_headers_to_add = tightest.iter().flat_map(State::headers).map(header).collect();
    RateLimitResponse { overall_code: overall.into(), statuses, response_headers_to_add }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_with_other_entries_have_other_windows_however_long_they_are() {
        let entry = |key: &str, value: &str| Entry { key: key.to_owned(), value: value.to_owned() };
        let long = "x".repeat(1_000);
        let names = [
            name("d", &[entry("a", "bc")]),
            name("d", &[entry("ab", "c")]),
            name("d", &[entry("a", "b"), entry("c", "d")]),
            name("e", &[entry("a", "bc")]),
            name("d", &[entry("a", &long)]),
            name("d", &[entry("b", &long)]),
        ];
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        assert!(names.iter().all(|name| name.len() <= MAX_NAME_BYTES));
    }
}
