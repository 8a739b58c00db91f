//! Rates over the last ten seconds.

use std::{collections::VecDeque, time::Duration};

/// The window, in seconds.
const WINDOW: usize = 10;

/// Counters since the takeover, and their values at the last ten full seconds.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    pub(crate) accepted: u64,
    pub(crate) recorded: u64,
    pub(crate) commits: u64,
    samples: VecDeque<(Duration, u64, u64)>,
}

impl Rates {
    /// Takes a sample once a second.
    pub(crate) fn tick(&mut self, now: Duration) {
        if self.samples.back().is_some_and(|(at, _, _)| now < *at + Duration::from_secs(1)) {
            return;
        }
        self.samples.push_back((now, self.accepted, self.recorded));
        if self.samples.len() > WINDOW + 1 {
            self.samples.pop_front();
        }
    }

    /// Tasks accepted per second.
    pub(crate) fn accepted_per_second(&self) -> f64 {
        self.rate(|(_, accepted, _)| *accepted)
    }

    /// Outcomes recorded per second.
    pub(crate) fn recorded_per_second(&self) -> f64 {
        self.rate(|(_, _, recorded)| *recorded)
    }

    #[allow(clippy::cast_precision_loss)] // a rate for people
    fn rate(&self, value: impl Fn(&(Duration, u64, u64)) -> u64) -> f64 {
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else { return 0.0 };
        let seconds = last.0.saturating_sub(first.0).as_secs_f64();
        if seconds > 0.0 { (value(last) - value(first)) as f64 / seconds } else { 0.0 }
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
