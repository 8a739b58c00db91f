//! How long to wait before the next attempt, and when to stop trying.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Status;

use super::{
    error::{ClientError, transient},
    tls,
};
use crate::error::retry_after;

/// Before the second attempt; doubles from there.
const FIRST_DELAY: Duration = Duration::from_millis(50);
/// Between two attempts, at most, unless the server asks for more.
const MAX_DELAY: Duration = Duration::from_secs(2);

/// One outage after another: from the first failure until there was progress.
#[derive(Debug)]
pub(super) struct Outage {
    retry_for: Duration,
    since: Option<Instant>,
    failures: u32,
}

impl Outage {
    pub(super) fn new(retry_for: Duration) -> Self {
        Self { retry_for, since: None, failures: 0 }
    }

    /// There was progress: the next failure begins a new outage. To have connected is no progress, else a server that
    /// accepts and fails at once would be tried for ever.
    pub(super) fn over(&mut self) {
        self.since = None;
        self.failures = 0;
    }

    /// After a failure at `now`: how long to wait before the next attempt, or nothing if the outage has lasted too long.
    /// `random` from 0 to 1 spreads the attempts of many clients over the upper half of the delay.
    fn next_delay(&mut self, now: Instant, asked: Option<Duration>, random: f64) -> Option<Duration> {
        let since = *self.since.get_or_insert(now);
        let left = self.retry_for.checked_sub(now.duration_since(since)).filter(|left| !left.is_zero())?;
        let doubled = FIRST_DELAY.saturating_mul(1_u32.checked_shl(self.failures.min(16)).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        let own = doubled.min(MAX_DELAY).mul_f64(f64::midpoint(1.0, random.clamp(0.0, 1.0)));
        // The server's word is a lower bound; the own delay on top keeps clients from coming back all at once.
        let delay = asked.map_or(own, |asked| asked.saturating_add(own));
        // The last attempt is made when the time is up.
        Some(delay.min(left))
    }

    /// Waits after `status` and returns, or says why no other attempt is due.
    pub(super) async fn wait(&mut self, server: &str, status: Status) -> Result<(), ClientError> {
        if let Some(cause) = tls::refusal(&status) {
            return Err(ClientError::Tls { server: server.to_owned(), cause });
        }
        if !transient(&status) {
            return Err(ClientError::Refused(status));
        }
        let now = Instant::now();
        let Some(delay) = self.next_delay(now, retry_after(&status), rand::random()) else {
            let waited = self.since.map_or(Duration::ZERO, |since| now.duration_since(since));
            return Err(ClientError::Unreachable { server: server.to_owned(), waited, last: status });
        };
        tracing::debug!(server, code = ?status.code(), message = status.message(), ?delay, "trying again");
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn delays_double_up_to_their_limit_and_keep_to_their_upper_half() {
        let now = Instant::now();
        let mut longest = Outage::new(MINUTE);
        let mut shortest = Outage::new(MINUTE);
        for millis in [50, 100, 200, 400, 800, 1600, 2000, 2000] {
            let expected = Duration::from_millis(millis);
            assert_eq!(longest.next_delay(now, None, 1.0), Some(expected));
            assert_eq!(shortest.next_delay(now, None, 0.0), Some(expected / 2));
        }
    }

    #[test]
    fn an_outage_is_given_up_when_its_time_is_over_and_not_before() {
        let start = Instant::now();
        let mut outage = Outage::new(MINUTE);
        assert!(outage.next_delay(start, None, 1.0).is_some());
        assert_eq!(
            outage.next_delay(start + Duration::from_millis(59_990), None, 1.0),
            Some(Duration::from_millis(10))
        );
        assert_eq!(outage.next_delay(start + MINUTE, None, 1.0), None);
    }

    #[test]
    fn progress_ends_the_outage() {
        let start = Instant::now();
        let mut outage = Outage::new(MINUTE);
        assert!(outage.next_delay(start, None, 1.0).is_some());
        outage.over();
        assert_eq!(outage.next_delay(start + MINUTE * 2, None, 1.0), Some(FIRST_DELAY));
    }

    #[test]
    fn the_servers_word_is_a_lower_bound() {
        let asked = Duration::from_secs(7);
        let delay = Outage::new(MINUTE).next_delay(Instant::now(), Some(asked), 0.0);
        assert_eq!(delay, Some(asked + FIRST_DELAY / 2));
    }

    #[test]
    fn without_patience_the_first_failure_is_final() {
        assert_eq!(Outage::new(Duration::ZERO).next_delay(Instant::now(), None, 0.5), None);
    }
}
