//! Whether a Gateway answers, how fast, of which version, and what stands in between.

use std::time::{Duration, Instant};

use hashmesh::{
    client::{Client, ClientError},
    gateway::v1::GetCapabilitiesRequest,
};
use tonic::{Code, Status, metadata::MetadataMap};

use super::check::Check;

/// Calls that are timed.
const CALLS: usize = 9;
const PATIENCE: Duration = Duration::from_secs(10);
/// Headers by which proxies name themselves.
const TELLING: [&str; 9] = [
    "server",
    "via",
    "cf-ray",
    "x-served-by",
    "x-cache",
    "x-amzn-requestid",
    "x-amz-cf-id",
    "x-kong-proxy-latency",
    "alt-svc",
];

/// How the mesh answers.
pub(super) enum Answer {
    Answers(Vec<Check>),
    /// It is there, and does not take our key.
    Refuses(Vec<Check>, Status),
    None(Check, ClientError),
}

/// Waits out an outage as other verbs do, then measures.
pub(super) async fn ask(client: &Client) -> Answer {
    let version = match client.get_capabilities().await {
        Ok(capabilities) => capabilities.version,
        Err(ClientError::Refused(status))
            if matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied) =>
        {
            let checks = vec![Check::ok("reach", "something answers, and refuses our calls"), proxy(status.metadata())];
            return Answer::Refuses(checks, status);
        }
        Err(error) => {
            let remedy = "is it the right --server, does a Gateway run there, does every proxy on the way pass gRPC (HTTP/2) on?";
            return Answer::None(Check::fail("reach", error.to_string(), remedy), error);
        }
    };
    let (mut times, mut failures, mut headers) = (Vec::new(), Vec::new(), MetadataMap::new());
    for _ in 0..CALLS {
        let begun = Instant::now();
        let mut gateway = client.gateway();
        match tokio::time::timeout(PATIENCE, gateway.get_capabilities(GetCapabilitiesRequest {})).await {
            Ok(Ok(answer)) => {
                times.push(begun.elapsed());
                headers = answer.metadata().clone();
            }
            Ok(Err(status)) => failures.push(format!("{:?}: {}", status.code(), status.message())),
            Err(_) => failures.push(format!("no answer within {} s", PATIENCE.as_secs())),
        }
    }
    let checks = vec![judge(times, &failures), judge_version(&version, env!("CARGO_PKG_VERSION")), proxy(&headers)];
    Answer::Answers(checks)
}

fn judge(mut times: Vec<Duration>, failures: &[String]) -> Check {
    times.sort_unstable();
    let millis = |duration: &Duration| duration.as_secs_f64() * 1e3;
    let median = times.get(times.len() / 2).map_or(0.0, millis);
    let longest = times.last().map_or(0.0, millis);
    let found = format!("a call takes {median:.1} ms (median of {}; the longest {longest:.1} ms)", times.len());
    let check = match failures.last() {
        None => Check::ok("reach", found),
        Some(last) => {
            let found = format!("{} of {CALLS} calls failed, the last with {last}; {found}", failures.len());
            let remedy = "is one of several Gateways, or of their addresses, not what it should be?";
            Check::fail("reach", found, remedy)
        }
    };
    check.with("median_ms", median).with("longest_ms", longest).with("failed_calls", failures.len())
}

fn judge_version(theirs: &str, ours: &str) -> Check {
    let check = if theirs == ours {
        Check::ok("version", format!("the Gateway and this command are {ours}"))
    } else {
        let found = format!("the Gateway is {theirs}, this command {ours}");
        Check::warn("version", found, "fine during a roll-out; later, bring the older of the two up to date")
    };
    check.with("gateway", theirs).with("command", ours)
}

/// What names itself in the headers of an answer.
fn proxy(headers: &MetadataMap) -> Check {
    let telling = |name: &str| TELLING.contains(&name) || name.starts_with("x-envoy-");
    let mut names: Vec<String> = headers
        .iter()
        .filter_map(|entry| match entry {
            tonic::metadata::KeyAndValueRef::Ascii(key, value) if telling(key.as_str()) => {
                Some(format!("{key}: {}", value.to_str().unwrap_or("…")))
            }
            _ => None,
        })
        .collect();
    names.sort_unstable();
    let check = match names.as_slice() {
        [] => Check::ok("proxy", "none names itself in the headers of an answer"),
        _ => Check::ok("proxy", names.join(", ")),
    };
    check.with("headers", names)
}

#[cfg(test)]
mod tests {
    use super::{super::check::State, *};

    #[test]
    fn the_median_is_told_and_one_failed_call_is_enough_to_fail() {
        let times: Vec<Duration> = [9, 1, 2].map(Duration::from_millis).into();
        let check = judge(times.clone(), &[]);
        assert_eq!((check.state, check.found.contains("takes 2.0 ms")), (State::Ok, true), "{check:?}");
        let check = judge(times, &["Unavailable: no route".to_owned()]);
        assert_eq!((check.state, check.found.contains("1 of 9 calls failed")), (State::Fail, true), "{check:?}");
    }

    #[test]
    fn another_version_is_worth_a_look() {
        assert_eq!(judge_version("0.1.0", "0.1.0").state, State::Ok);
        let check = judge_version("0.2.0", "0.1.0");
        assert_eq!(check.state, State::Warn);
        assert!(check.found.contains("0.2.0") && check.found.contains("0.1.0"));
    }

    #[test]
    fn proxies_are_known_by_their_headers() {
        let mut headers = MetadataMap::new();
        headers.insert("server", "envoy".parse().unwrap());
        headers.insert("x-envoy-upstream-service-time", "1".parse().unwrap());
        headers.insert("ratelimit-limit", "5".parse().unwrap());
        assert_eq!(proxy(&headers).found, "server: envoy, x-envoy-upstream-service-time: 1");
        assert!(proxy(&MetadataMap::new()).found.contains("none"));
    }
}
