//! How long tasks spend in each phase of their way, over about the last minute.
//!
//! Durations are counted in buckets that grow with the duration, as HDR histograms do (an eighth of a power of two each), in
//! slots of ten seconds that are used in turn. So memory is the same however much is measured, and what is reported is
//! at most an eighth above what was measured.

use std::time::Duration;

use hashmesh::v1::{Phase, PhaseStats};
use hashmesh_runtime::metrics::catalogue::queue::{LEASE_SLACK, PHASE_SECONDS};

use crate::core::Now;

/// All that is measured, in the order of a task's way.
const PHASES: [Phase; 6] = [
    Phase::ReceivedToCommitted,
    Phase::CommittedToLeased,
    Phase::LeasedToDone,
    Phase::DoneToRecorded,
    Phase::ReceivedToRecorded,
    Phase::LeaseSlack,
];
/// How long one slot is written.
const SLOT: Duration = Duration::from_secs(10);
/// Slots that are reported: the last 50 to 60 s.
const SLOTS: usize = 6;
/// Buckets per power of two.
const FINE: usize = 8;
/// Up to 2^40 µs, about 12 days; what is longer counts as that, except in the maximum.
const POWERS: usize = 37;
const BUCKETS: usize = FINE * (POWERS + 1);

/// The durations of the last minute, by phase, weighted by tasks.
#[derive(Debug)]
pub(crate) struct Phases {
    windows: [Window; PHASES.len()],
}

impl Default for Phases {
    fn default() -> Self {
        Self { windows: std::array::from_fn(|_| Window::default()) }
    }
}

impl Phases {
    /// So many tasks have spent so long in a phase. The one place where a phase is measured; called once for a batch or
    /// for a part of a lease, never for each task.
    pub(crate) fn record(&mut self, now: Now, phase: Phase, took: Duration, tasks: u64) {
        if let Some(index) = PHASES.iter().position(|one| *one == phase)
            && tasks > 0
        {
            self.windows[index].slot(now).add(micros(took), tasks);
            match name(phase) {
                Some(name) => PHASE_SECONDS.record_time(took, &[name]),
                None => LEASE_SLACK.record_time(took, &[]),
            }
        }
    }

    /// What was measured in the last minute, for each phase.
    pub(crate) fn stats(&self, now: Now) -> Vec<PhaseStats> {
        PHASES.iter().zip(&self.windows).map(|(phase, window)| window.sum(now).stats(*phase)).collect()
    }
}

/// As the metric has it. `None`: it is one of its own.
fn name(phase: Phase) -> Option<&'static str> {
    match phase {
        Phase::ReceivedToCommitted => Some("received_to_committed"),
        Phase::CommittedToLeased => Some("committed_to_leased"),
        Phase::LeasedToDone => Some("leased_to_done"),
        Phase::DoneToRecorded => Some("done_to_recorded"),
        Phase::ReceivedToRecorded => Some("received_to_recorded"),
        Phase::LeaseSlack | Phase::Unspecified => None,
    }
}

/// Slots in turn; each says which ten seconds it is of.
#[derive(Debug, Default)]
struct Window {
    slots: [(u64, Slot); SLOTS],
}

impl Window {
    /// The slot of now, empty if it was that of another time.
    fn slot(&mut self, now: Now) -> &mut Slot {
        let period = period(now);
        let (written, slot) = &mut self.slots[period as usize % SLOTS];
        if *written != period {
            *written = period;
            slot.clear();
        }
        slot
    }

    fn sum(&self, now: Now) -> Slot {
        let newest = period(now);
        let mut sum = Slot::default();
        for (_, slot) in self.slots.iter().filter(|(written, _)| written + SLOTS as u64 > newest) {
            sum.merge(slot);
        }
        sum
    }
}

fn period(now: Now) -> u64 {
    now.as_secs() / SLOT.as_secs()
}

/// Tasks by how long they took.
#[derive(Debug)]
struct Slot {
    counts: Vec<u64>,
    tasks: u64,
    min: u64,
    max: u64,
}

impl Default for Slot {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], tasks: 0, min: u64::MAX, max: 0 }
    }
}

impl Slot {
    fn clear(&mut self) {
        self.counts.fill(0);
        (self.tasks, self.min, self.max) = (0, u64::MAX, 0);
    }

    fn add(&mut self, micros: u64, tasks: u64) {
        self.counts[bucket(micros)] += tasks;
        self.tasks += tasks;
        self.min = self.min.min(micros);
        self.max = self.max.max(micros);
    }

    fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.tasks += other.tasks;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// What so many of a hundred tasks did not exceed. 0 if there is none.
    fn percentile(&self, percent: u64) -> u64 {
        let wanted = self.tasks.saturating_mul(percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper_bound(bucket).min(self.max);
            }
        }
        0
    }

    fn stats(&self, phase: Phase) -> PhaseStats {
        PhaseStats {
            phase: phase.into(),
            tasks: self.tasks,
            min_micros: if self.tasks > 0 { self.min } else { 0 },
            p50_micros: self.percentile(50),
            p95_micros: self.percentile(95),
            p99_micros: self.percentile(99),
            max_micros: self.max,
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Below `FINE` a bucket is a microsecond; above, each power of two has `FINE` buckets.
fn bucket(micros: u64) -> usize {
    let Some(power) = micros.checked_ilog2().and_then(|log| log.checked_sub(FINE.ilog2())) else {
        return micros as usize;
    };
    ((power as usize + 1) * FINE + ((micros >> power) as usize - FINE)).min(BUCKETS - 1)
}

/// The longest duration of a bucket, in microseconds; the last one has none.
fn upper_bound(bucket: usize) -> u64 {
    if bucket == BUCKETS - 1 {
        return u64::MAX;
    }
    let Some(power) = (bucket / FINE).checked_sub(1) else { return bucket as u64 };
    (((bucket % FINE + FINE + 1) as u64) << power) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PHASE: Phase = Phase::LeasedToDone;

    fn of(phases: &Phases, now: Now, phase: Phase) -> PhaseStats {
        phases.stats(now).into_iter().find(|stats| stats.phase() == phase).unwrap()
    }

    #[test]
    fn every_phase_that_users_can_read_of_is_measured_and_reported_once() {
        let reported: Vec<i32> = Phases::default().stats(Now::ZERO).iter().map(|stats| stats.phase).collect();
        assert_eq!(reported, [1, 2, 3, 4, 5, 6]);
        assert!(Phase::try_from(7).is_err());
    }

    #[test]
    fn a_phase_counts_for_itself_only_and_nothing_is_zero_everywhere() {
        let mut phases = Phases::default();
        phases.record(Now::ZERO, PHASE, Duration::from_millis(3), 7);
        phases.record(Now::ZERO, Phase::DoneToRecorded, Duration::from_millis(1), 0);
        assert_eq!(of(&phases, Now::ZERO, PHASE).tasks, 7);
        for phase in PHASES.into_iter().filter(|phase| *phase != PHASE) {
            let expected = PhaseStats { phase: phase.into(), ..PhaseStats::default() };
            assert_eq!(of(&phases, Now::ZERO, phase), expected);
        }
    }

    #[test]
    fn the_window_forgets_what_is_a_minute_old() {
        let mut phases = Phases::default();
        for second in 0..60 {
            phases.record(Duration::from_secs(second), PHASE, Duration::from_secs(1 + second / 10), 1);
        }
        let tasks_and_max = |now| {
            let stats = of(&phases, Duration::from_secs(now), PHASE);
            (stats.tasks, stats.max_micros)
        };
        assert_eq!(tasks_and_max(59), (60, 6_000_000));
        assert_eq!(tasks_and_max(60), (50, 6_000_000));
        assert_eq!(tasks_and_max(109), (10, 6_000_000));
        assert_eq!(tasks_and_max(110), (0, 0));
        // A slot that comes round again begins empty, also after a long pause.
        phases.record(Duration::from_secs(6_000), PHASE, Duration::from_millis(1), 2);
        let stats = of(&phases, Duration::from_secs(6_000), PHASE);
        assert_eq!((stats.tasks, stats.min_micros, stats.max_micros), (2, 1_000, 1_000));
    }

    #[test]
    fn a_batch_of_many_tasks_weighs_as_many_tasks() {
        let mut phases = Phases::default();
        phases.record(Now::ZERO, PHASE, Duration::from_micros(5), 9_400);
        (0..600).for_each(|_| phases.record(Now::ZERO, PHASE, Duration::from_secs(1), 1));
        let stats = of(&phases, Now::ZERO, PHASE);
        assert_eq!((stats.tasks, stats.min_micros, stats.p50_micros), (10_000, 5, 5));
        assert_eq!((stats.p95_micros, stats.p99_micros, stats.max_micros), (1_000_000, 1_000_000, 1_000_000));
    }

    #[test]
    fn the_longest_durations_have_a_bucket_and_keep_their_maximum() {
        let mut phases = Phases::default();
        phases.record(Now::ZERO, PHASE, Duration::MAX, 1);
        phases.record(Now::ZERO, PHASE, Duration::from_secs(40 * 24 * 3_600), 1);
        let stats = of(&phases, Now::ZERO, PHASE);
        assert_eq!((stats.p50_micros, stats.max_micros), (u64::MAX, u64::MAX));
    }

    proptest! {
        #[test]
        fn a_percentile_is_at_most_an_eighth_above_the_true_one_and_never_below(
            mut measured in proptest::collection::vec((0_u64..1 << 39, 1_u64..1_000), 1..100),
        ) {
            let mut phases = Phases::default();
            for (micros, tasks) in &measured {
                phases.record(Now::ZERO, PHASE, Duration::from_micros(*micros), *tasks);
            }
            measured.sort_unstable();
            let all: u64 = measured.iter().map(|(_, tasks)| tasks).sum();
            let exact = |percent: u64| {
                let mut left = (all * percent).div_ceil(100);
                measured.iter().find(|(_, tasks)| { let here = left <= *tasks; left = left.saturating_sub(*tasks); here }).unwrap().0
            };
            let stats = of(&phases, Now::ZERO, PHASE);
            prop_assert_eq!(stats.tasks, all);
            for (percent, found) in [(50, stats.p50_micros), (95, stats.p95_micros), (99, stats.p99_micros)] {
                let exact = exact(percent);
                prop_assert!(found >= exact && found - exact <= exact / 8, "{} {} {}", percent, exact, found);
            }
            prop_assert_eq!(stats.min_micros, measured[0].0);
            prop_assert_eq!(stats.max_micros, measured[measured.len() - 1].0);
        }
    }
}
