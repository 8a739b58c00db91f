//! How long things are kept: settings of whatever runs a Queue.

use std::time::Duration;

use clap::Args;
use hashmesh_queue::QueueConfig;

/// How long things are kept.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct StorageArgs {
    /// How long a submission is kept after its end, at least, if it does not say so itself; 0: for ever. A day of
    /// submissions is deleted at once, when the last of them may be.
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = duration_or_zero)]
    retention: Duration,
    /// A submission that is OPEN and to which nothing has happened for this long is cancelled; 0: never.
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = duration_or_zero)]
    idle_open_timeout: Duration,
    /// How long an upload is kept after its last bytes came, or after it was completed; 0: for ever.
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = duration_or_zero)]
    upload_retention: Duration,
}

/// What nobody waits for.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

impl StorageArgs {
    pub(crate) fn apply(self, config: &mut QueueConfig) {
        config.retention = self.retention;
        config.idle_open_timeout = self.idle_open_timeout;
        config.upload_retention =
            if self.upload_retention.is_zero() { FOR_EVER } else { self.upload_retention.min(FOR_EVER) };
    }
}

/// A duration with its unit, or a bare 0.
fn duration_or_zero(text: &str) -> Result<Duration, humantime::DurationError> {
    if text.trim() == "0" { Ok(Duration::ZERO) } else { humantime::parse_duration(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_needs_no_unit_and_everything_else_does() {
        assert_eq!(duration_or_zero("0").unwrap(), Duration::ZERO);
        assert_eq!(duration_or_zero("30d").unwrap(), Duration::from_secs(30 * 86_400));
        assert!(duration_or_zero("30").is_err());
    }
}
