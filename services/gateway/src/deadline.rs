//! A call's deadline, as the client sent it. tonic's own would answer CANCELLED.

use std::time::Duration;

use tokio::time::Instant;
use tonic::{Code, Status, metadata::MetadataMap};

use crate::error;

/// For calls without a deadline: nothing may wait for ever.
const DEFAULT: Duration = Duration::from_secs(60);

/// When a call must have been answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    at: Instant,
}

impl Deadline {
    /// The call's `grpc-timeout`; [`DEFAULT`] if it has none.
    pub(crate) fn of(metadata: &MetadataMap) -> Self {
        Self::within(metadata, DEFAULT)
    }

    /// The call's `grpc-timeout`, at most `maximum`.
    pub(crate) fn within(metadata: &MetadataMap, maximum: Duration) -> Self {
        let asked = metadata.get("grpc-timeout").and_then(|value| value.to_str().ok()).and_then(parse);
        Self { at: Instant::now() + asked.unwrap_or(maximum).min(maximum) }
    }

    /// This long from now.
    pub(crate) fn after(time: Duration) -> Self {
        Self { at: Instant::now() + time }
    }

    /// Time that is left.
    pub(crate) fn remaining(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// The answer, or DEADLINE_EXCEEDED.
    pub(crate) async fn limit<T>(&self, answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        match tokio::time::timeout_at(self.at, answer).await {
            Err(_) => Err(error::deadline_exceeded()),
            // The inner call has the same deadline, and tonic may be the first to notice.
            Ok(Err(status)) if status.code() == Code::Cancelled && self.remaining() < Duration::from_millis(5) => {
                Err(error::deadline_exceeded())
            }
            Ok(answer) => answer,
        }
    }
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
        for text in ["", "S", "5", "123456789S", "-1S", "+1S", "1s", "1é"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_deadline_exceeded_whoever_notices_it_first() {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", "100m".parse().unwrap());
        let deadline = Deadline::of(&metadata);
        let never = std::future::pending::<Result<(), Status>>();
        assert_eq!(deadline.limit(never).await.unwrap_err().code(), Code::DeadlineExceeded);
        let inner = async { Err::<(), _>(Status::cancelled("Timeout expired")) };
        assert_eq!(deadline.limit(inner).await.unwrap_err().code(), Code::DeadlineExceeded);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_a_deadline_gets_one() {
        assert_eq!(Deadline::of(&MetadataMap::new()).remaining(), DEFAULT);
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", "2H".parse().unwrap());
        assert_eq!(Deadline::of(&metadata).remaining(), DEFAULT);
    }
}
