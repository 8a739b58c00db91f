//! What a client asked for, and what it gets.

use std::{fmt, sync::Arc, time::Duration};

use http::HeaderMap;
use tokio::time::Instant;
use tonic::Status;

/// Where a gRPC client says how long it waits.
pub(super) const HEADER: &str = "grpc-timeout";

/// How long a call of the method with a path (`/package.Service/Method`) may take; `None` for streams.
pub type Longest = Arc<dyn Fn(&str) -> Option<Duration> + Send + Sync>;

/// What whoever mounts a [`DeadlineLayer`](super::DeadlineLayer) knows and it does not.
#[derive(Clone)]
pub struct Limits {
    /// How long a unary call may take at most, whatever its client asks for. Streams: what their client asks for, for ever
    /// if it asks for nothing.
    pub longest: Longest,
    /// What the caller of a call that took too long is told.
    pub exceeded: fn() -> Status,
}

impl fmt::Debug for Limits {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Limits")
    }
}

/// When a call must have been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    at: Instant,
}

impl Deadline {
    /// This long from now.
    #[must_use]
    pub fn after(time: Duration) -> Self {
        Self { at: Instant::now() + time }
    }

    /// This one, or this long from now if that is sooner.
    #[must_use]
    pub fn within(self, longest: Duration) -> Self {
        Self { at: self.at.min(Instant::now() + longest) }
    }

    /// The moment itself.
    #[must_use]
    pub fn at(&self) -> Instant {
        self.at
    }

    /// Time that is left.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}

/// How long the call may take: what was asked for, at most the longest. `None`: as long as it likes.
pub(super) fn time(asked: Option<Duration>, longest: Option<Duration>) -> Option<Duration> {
    match (asked, longest) {
        (Some(asked), Some(longest)) => Some(asked.min(longest)),
        (asked, longest) => asked.or(longest),
    }
}

/// What the client asked for. What cannot be read was not asked for.
pub(super) fn asked(headers: &HeaderMap) -> Option<Duration> {
    parse(headers.get(HEADER)?.to_str().ok()?)
}

/// gRPC's `TimeoutValue TimeoutUnit`: at most 8 digits and one letter.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3_600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        assert_eq!(parse("2H"), Some(Duration::from_secs(7_200)));
        assert_eq!(parse("99999999n"), Some(Duration::from_nanos(99_999_999)));
        assert_eq!(parse("30S"), Some(Duration::from_secs(30)));
        assert_eq!(parse("0m"), Some(Duration::ZERO));
        for text in ["", "S", "5", "123456789S", "-1S", "+1S", "1s", "1é"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_call_gets_what_it_asks_for_but_not_more_than_its_method_may_take() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(time(seconds(3), seconds(60)), seconds(3));
        assert_eq!(time(seconds(300), seconds(60)), seconds(60));
        assert_eq!(time(None, seconds(60)), seconds(60));
        assert_eq!(time(seconds(300), None), seconds(300));
        assert_eq!(time(None, None), None);
    }
}
