//! Rates over the last ten seconds.

use std::{collections::VecDeque, time::Duration};

/// The window, in seconds.
const WINDOW: usize = 10;

/// Counters since the takeover, and how fast they grow.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    pub(crate) accepted: u64,
    pub(crate) recorded: u64,
    pub(crate) commits: u64,
    accepted_samples: Samples,
    recorded_samples: Samples,
}

impl Rates {
    /// Takes a sample once a second.
    pub(crate) fn tick(&mut self, now: Duration) {
        self.accepted_samples.tick(now, || self.accepted);
        self.recorded_samples.tick(now, || self.recorded);
    }

    /// Tasks accepted per second.
    pub(crate) fn accepted_per_second(&self) -> f64 {
        self.accepted_samples.per_second()
    }

    /// Outcomes recorded per second.
    pub(crate) fn recorded_per_second(&self) -> f64 {
        self.recorded_samples.per_second()
    }
}

/// What a counter was at the last ten full seconds.
#[derive(Debug, Default)]
pub(crate) struct Samples(VecDeque<(Duration, u64)>);

impl Samples {
    /// Takes a sample once a second.
    pub(crate) fn tick(&mut self, now: Duration, value: impl FnOnce() -> u64) {
        if self.0.back().is_some_and(|(at, _)| now < *at + Duration::from_secs(1)) {
            return;
        }
        self.0.push_back((now, value()));
        if self.0.len() > WINDOW + 1 {
            self.0.pop_front();
        }
    }

    /// How much the counter grew per second.
    #[allow(clippy::cast_precision_loss)] // a rate for people
    pub(crate) fn per_second(&self) -> f64 {
        let (Some((since, first)), Some((until, last))) = (self.0.front(), self.0.back()) else { return 0.0 };
        let seconds = until.saturating_sub(*since).as_secs_f64();
        if seconds > 0.0 { last.saturating_sub(*first) as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_covers_the_last_ten_seconds_only() {
        let mut rates = Rates::default();
        for second in 0..30 {
            rates.accepted += if second < 15 { 1000 } else { 10 };
            rates.tick(Duration::from_secs(second));
        }
        assert!((rates.accepted_per_second() - 10.0).abs() < 1e-9);
        assert!(rates.recorded_per_second().abs() < 1e-9);
    }
}
