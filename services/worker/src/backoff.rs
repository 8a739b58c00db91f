//! How long to wait before a queue is tried again.

use std::time::Duration;

use rand::Rng;

/// The first wait: a queue that restarts on the same machine is back within it.
const FIRST: Duration = Duration::from_millis(50);
/// The longest wait. A queue that was gone for long has its workers back within it.
const LONGEST: Duration = Duration::from_secs(2);

/// Exponential back-off with jitter: each wait is drawn from the upper half of a bound that doubles. The jitter keeps
/// the workers of a queue that restarts from arriving together; the lower bound keeps one worker from spinning.
#[derive(Debug)]
pub(crate) struct Backoff {
    bound: Duration,
}

impl Backoff {
    /// Starts with the shortest wait.
    pub(crate) fn new() -> Self {
        Self { bound: FIRST }
    }

    /// It worked: starts again with the shortest wait.
    pub(crate) fn reset(&mut self) {
        self.bound = FIRST;
    }

    /// The next wait.
    pub(crate) fn next(&mut self, random: &mut impl Rng) -> Duration {
        let bound = self.bound;
        self.bound = (bound * 2).min(LONGEST);
        random.random_range(bound / 2..=bound)
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_again_after_a_success() {
        let mut random = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::new();
        let mut bound = FIRST;
        for _ in 0..20 {
            let wait = backoff.next(&mut random);
            assert!((bound / 2..=bound).contains(&wait), "{wait:?} for {bound:?}");
            bound = (bound * 2).min(LONGEST);
        }
        backoff.reset();
        assert!(backoff.next(&mut random) <= FIRST);
    }
}
