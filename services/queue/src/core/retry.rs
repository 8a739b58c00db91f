//! When a failed attempt is made again: exponential back-off with full jitter, and the runs that wait for it.

use std::{cmp::Ordering, time::Duration};

use uuid::Uuid;

use super::{
    Core, Now,
    ranges::TaskRun,
    submission::{ReadyRun, Submission},
};

/// Exponential back-off with full jitter, after Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015):
/// a uniformly random part of `base × 2^(attempt − 1)`, at most `cap`.
#[derive(Debug)]
pub(super) struct Backoff {
    base: Duration,
    cap: Duration,
    state: u64,
}

impl Backoff {
    pub(super) fn new(base: Duration, cap: Duration, seed: u64) -> Self {
        Self { base, cap, state: seed }
    }

    /// How long to wait after failed attempt number `attempt`, from 1.
    pub(super) fn delay(&mut self, attempt: u32) -> Duration {
        let longest = self.base.saturating_mul(1 << (attempt - 1).min(20)).min(self.cap);
        longest.mul_f64(self.uniform())
    }

    /// Uniform in [0, 1): SplitMix64 (Steele, Lea, Flood 2014).
    fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        #[allow(clippy::cast_precision_loss)] // 53 bits fit exactly
        let fraction = (bits >> 11) as f64 / (1u64 << 53) as f64;
        fraction
    }
}

/// A run that waits for its next attempt. Ordered so that a max-heap yields the soonest first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) due: Now,
    pub(super) submission: Uuid,
    pub(super) sequence: u32,
    pub(super) run: TaskRun,
    pub(super) attempt: u32,
    pub(super) strikes: u32,
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |waiting: &Self| (waiting.due, waiting.submission, waiting.sequence, waiting.run);
        key(other).cmp(&key(self))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Core {
    /// Lets a run wait until `due` before its next attempt.
    pub(super) fn wait(&mut self, waiting: Waiting) {
        let Some(submission) = self.submissions.get_mut(&waiting.submission) else { return };
        submission.waiting_tasks += u64::from(waiting.run.count);
        self.waiting.push(waiting);
    }

    /// Makes every run ready whose time has come.
    pub(super) fn release_due(&mut self, now: Now) {
        while self.waiting.peek().is_some_and(|waiting| waiting.due <= now) {
            let Some(due) = self.waiting.pop() else { return };
            if let Some(submission) = self.submissions.get_mut(&due.submission) {
                submission.waiting_tasks -= u64::from(due.run.count);
            }
            let ready = ReadyRun { count: due.run.count, attempt: due.attempt, since: now, strikes: due.strikes };
            self.queue_run(due.submission, due.sequence, due.run, ready);
        }
    }

    /// Puts a run at the disposal of the dispatcher, unless its submission is over.
    pub(super) fn make_ready(&mut self, id: Uuid, sequence: u32, run: TaskRun, attempt: u32, now: Now) {
        self.insert_ready(id, sequence, run, ReadyRun { count: run.count, attempt, since: now, strikes: 0 });
    }

    /// The same, with all that is known of the run.
    pub(super) fn insert_ready(&mut self, id: Uuid, sequence: u32, run: TaskRun, ready: ReadyRun) {
        if run.count > 0 && self.submissions.get(&id).is_some_and(Submission::active) {
            self.put_ready(id, sequence, run.first, ready);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_stays_within_its_bounds_and_is_the_same_for_the_same_seed() {
        let (base, cap) = (Duration::from_millis(500), Duration::from_secs(30));
        let delays = |seed| {
            let mut backoff = Backoff::new(base, cap, seed);
            (1..=20).map(|attempt| backoff.delay(attempt)).collect::<Vec<_>>()
        };
        for seed in 0..200 {
            for (index, delay) in delays(seed).into_iter().enumerate() {
                assert!(delay <= cap.min(base * (1 << index)));
            }
            assert_eq!(delays(seed), delays(seed));
        }
        assert_ne!(delays(1), delays(2));
    }
}
