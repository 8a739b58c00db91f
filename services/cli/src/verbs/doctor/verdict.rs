//! What the end of a stream means.

use std::{error::Error as _, iter, time::Duration};

use hashmesh::{
    error::{Reason, reason},
    limits::PING_INTERVAL,
};
use tonic::{Code, Status};

use super::{
    check::Check,
    stream::{End, Kept},
};

const NAME: &str = "stream";
/// A ping may take this long.
const LATE: Duration = Duration::from_secs(1);
/// For every proxy.
const LIMITS: &str = "give streams no timeout, and what is idle more than the 20 s between two pings: Envoy `timeout: 0s` on the \
                      routes of SubmitTasks, StreamResults and WatchSubmission and `stream_idle_timeout` of 60s or more, nginx \
                      `grpc_read_timeout 1h; grpc_send_timeout 1h`, HAProxy `timeout server 1h`, an ALB an idle timeout of 60 s \
                      or more";
const BUFFERS: &str = "something keeps answers back until they are complete: have it pass gRPC on (nginx `grpc_pass`, not \
                       `proxy_pass`; no buffering, no gRPC-Web or HTTP/1.1 on the way)";

/// Limits that come with proxies: how long, and whose.
const KNOWN: [(u64, &str); 4] = [
    (15, "which is Envoy's default timeout of a route"),
    (30, "which is the default of several cloud load balancers"),
    (60, "which is the default of nginx and of AWS load balancers"),
    (300, "which is Envoy's default for idle streams"),
];

/// Judges a stream that was to live this long.
pub(super) fn judge(kept: &Kept, idle: Duration) -> Check {
    let check = verdict(kept, idle).with("seconds", kept.lived.as_secs_f64()).with("pings", kept.pings);
    let Some((submission_id, error)) = &kept.left else { return check };
    let found = format!("{}; submission {submission_id} could not be cancelled: {error}", check.found);
    let remedy = format!("hashmesh cancel {submission_id}; {}", check.remedy.as_deref().unwrap_or_default());
    Check::fail(NAME, found, remedy.trim_end_matches("; "))
        .with("seconds", kept.lived.as_secs_f64())
        .with("pings", kept.pings)
}

fn verdict(kept: &Kept, idle: Duration) -> Check {
    let lived = kept.lived.as_secs_f64();
    let wanted = idle.as_secs_f64();
    match &kept.end {
        End::Orderly if kept.pings == 0 && idle >= PING_INTERVAL + LATE => {
            Check::fail(NAME, format!("no ping came within {lived:.0} s, although one is sent every 20 s"), BUFFERS)
        }
        End::Orderly => {
            let plural = if kept.pings == 1 { "" } else { "s" };
            let found = format!("lived {lived:.1} s with {} ping{plural}, and ended in order", kept.pings);
            Check::ok(NAME, found)
        }
        End::Silent => {
            Check::fail(NAME, format!("lived {lived:.1} s, and did not say that its submission had ended"), BUFFERS)
        }
        End::Mute => Check::fail(NAME, format!("nothing came of it in {lived:.0} s"), BUFFERS),
        End::Refused(status) => refused(status),
        End::Died(Some(status)) => {
            let known = known(kept.lived);
            let found = format!(
                "ended after {lived:.1} s of {wanted:.0} s{}: {}",
                known.map_or(String::new(), |known| format!(", {known}")),
                told(status)
            );
            Check::fail(NAME, found, LIMITS)
        }
        End::Died(None) => {
            let found = format!(
                "ended after {lived:.1} s of {wanted:.0} s as if all were well, with its submission still open"
            );
            Check::fail(NAME, found, LIMITS)
        }
        End::Draining(why) => Check::warn(
            NAME,
            format!("ended in order after {lived:.1} s of {wanted:.0} s: {why}"),
            "that is planned, and clients open again; ask again",
        ),
    }
}

fn refused(status: &Status) -> Check {
    let found = format!("cannot be opened: {}", told(status));
    match (status.code(), reason(status)) {
        (Code::PermissionDenied, Some(_)) => {
            Check::skipped(NAME, format!("our key may not submit: {}", status.message()))
        }
        (_, Some(Reason::Overloaded | Reason::Draining)) => Check::warn(NAME, found, "ask again later"),
        (_, Some(reason)) => Check::fail(NAME, found, format!("`hashmesh explain {}`", reason.as_str())),
        (_, None) => {
            let remedy = "have streams of gRPC (HTTP/2, both directions) passed on: route /hashmesh.gateway.v1.GatewayService/ to \
                          the Gateways";
            Check::fail(NAME, found, remedy)
        }
    }
}

/// Whose limit this may be.
fn known(lived: Duration) -> Option<&'static str> {
    let near =
        |seconds: u64| lived.as_secs_f64() >= seconds as f64 - 0.5 && lived.as_secs_f64() < seconds as f64 * 1.02 + 1.0;
    KNOWN.iter().find(|(seconds, _)| near(*seconds)).map(|(_, whose)| *whose)
}

/// With the innermost cause, if the transport knows one: what is around it says less.
fn told(status: &Status) -> String {
    let text = format!("{:?}: {}", status.code(), status.message());
    let innermost = iter::successors(status.source(), |cause| (*cause).source()).last().map(ToString::to_string);
    match innermost {
        Some(cause) if !text.contains(&cause) => format!("{text}: {cause}"),
        _ => text.trim_end_matches([':', ' ']).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::check::State, *};

    fn kept(end: End, seconds: f64, pings: u32) -> Kept {
        Kept { end, lived: Duration::from_secs_f64(seconds), pings, left: None, reading: None }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_stream_that_died_is_told_with_its_age_the_status_and_what_to_change() {
        let check = judge(&kept(End::Died(Some(Status::unavailable("upstream request timeout"))), 3.04, 0), MINUTE);
        assert_eq!(check.state, State::Fail);
        assert!(
            check.found.contains("after 3.0 s of 60 s") && check.found.contains("upstream request timeout"),
            "{check:?}"
        );
        assert!(check.remedy.unwrap().contains("timeout: 0s"));
    }

    #[test]
    fn limits_that_come_with_proxies_are_known_by_their_length() {
        for (seconds, whose) in [(15.1, "Envoy's default timeout"), (60.3, "nginx"), (300.2, "idle streams")] {
            let check = judge(&kept(End::Died(Some(Status::unknown("reset"))), seconds, 0), MINUTE * 6);
            assert!(check.found.contains(whose), "{check:?}");
        }
        let check = judge(&kept(End::Died(None), 40.0, 0), MINUTE);
        assert!(check.found.contains("as if all were well"), "{check:?}");
    }

    #[test]
    fn a_stream_without_pings_is_held_back_by_somebody_unless_none_was_due() {
        assert_eq!(judge(&kept(End::Orderly, 20.0, 0), Duration::from_secs(20)).state, State::Ok);
        assert_eq!(judge(&kept(End::Orderly, 60.0, 2), MINUTE).state, State::Ok);
        let check = judge(&kept(End::Orderly, 60.0, 0), MINUTE);
        assert_eq!(check.state, State::Fail);
        assert!(check.found.contains("no ping"), "{check:?}");
    }

    #[test]
    fn a_planned_end_is_no_failure() {
        let check = judge(&kept(End::Draining("the gateway is stopping".into()), 4.0, 0), MINUTE);
        assert_eq!(check.state, State::Warn);
    }
}
