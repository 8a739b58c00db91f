//! Percentiles of durations in constant memory.

use std::time::Duration;

/// Buckets per power of two: an error of at most 1/64, about 1.6 %.
const FINE: usize = 64;
/// Up to 2^42 µs.
const POWERS: usize = 36;

/// Durations by size, in microseconds: exact below 64 µs, then in buckets that grow with the duration.
#[derive(Debug)]
pub(super) struct Latencies {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { counts: vec![0; FINE * (POWERS + 1)], total: 0 }
    }
}

impl Latencies {
    pub(super) fn add(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let last = self.counts.len() - 1;
        self.counts[bucket(micros).min(last)] += 1;
        self.total += 1;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
    }

    /// The duration that this share (0 to 1) of all do not exceed, in milliseconds. 0 if there is none.
    pub(super) fn percentile_ms(&self, share: f64) -> f64 {
        let wanted = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper_bound(bucket) as f64 / 1_000.0;
            }
        }
        0.0
    }
}

/// Below `FINE` a bucket is a microsecond; above, each power of two has `FINE` buckets.
fn bucket(micros: u64) -> usize {
    let fine_bits = FINE.trailing_zeros();
    let Some(power) = micros.checked_ilog2().and_then(|log| log.checked_sub(fine_bits)) else {
        return micros as usize;
    };
    (power as usize + 1) * FINE + ((micros >> power) as usize - FINE)
}

/// The largest duration of a bucket, in microseconds.
fn upper_bound(bucket: usize) -> u64 {
    let Some(power) = (bucket / FINE).checked_sub(1) else { return bucket as u64 };
    (((bucket % FINE + FINE + 1) as u64) << power) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_added() {
        let mut latencies = Latencies::default();
        assert!(latencies.percentile_ms(0.5) < f64::EPSILON);
        for micros in 1..=1_000 {
            latencies.add(Duration::from_micros(micros));
        }
        for (share, expected) in [(0.5, 0.5), (0.99, 0.99), (1.0, 1.0)] {
            let found = latencies.percentile_ms(share);
            assert!((found - expected).abs() <= expected / 50.0, "{share}: {found}");
        }
    }

    proptest! {
        #[test]
        fn a_bucket_holds_its_duration_within_two_percent(micros in 0..1_u64 << 40) {
            let upper = upper_bound(bucket(micros));
            prop_assert!(upper >= micros && upper - micros <= micros / 50 + 1);
        }
    }
}
