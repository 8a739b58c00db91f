//! What changed between two answers, per second.

use std::time::Duration;

use hashmesh::{
    gateway::v1::GetStatsResponse,
    v1::{CacheStats, QueueStats},
};

/// Rates between two answers. A counter that began anew in between counts as 0, and so do the Queue's if others of its
/// processes are in the sums: what one did before is not of this interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Changes {
    pub(super) seconds: f64,
    pub(super) accepted: f64,
    pub(super) recorded: f64,
    pub(super) refused: f64,
    pub(super) retried: f64,
    pub(super) rescued: f64,
    pub(super) commits: f64,
    pub(super) wal_bytes: f64,
    pub(super) saved_bytes: f64,
    /// Of what was looked up in the cache, the share that was found, 0 to 1. `None`: nothing was looked up.
    pub(super) hit_ratio: Option<f64>,
}

impl Changes {
    pub(super) fn between(before: &GetStatsResponse, now: &GetStatsResponse, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        let per_second = |more: u64| if seconds > 0.0 { more as f64 / seconds } else { 0.0 };
        let same = answered(before).eq(answered(now));
        let queue = |value: fn(&QueueStats) -> u64| {
            if same { per_second(growth(&before.queue, &now.queue, value)) } else { 0.0 }
        };
        let cache = |value: fn(&CacheStats) -> u64| growth(&before.cache, &now.cache, value);
        let hits =
            cache(|cache| cache.memory_hits) + cache(|cache| cache.redis_hits) + cache(|cache| cache.postgres_hits);
        let lookups = hits + cache(|cache| cache.misses);
        Self {
            seconds,
            accepted: queue(|queue| queue.accepted_tasks),
            recorded: queue(|queue| queue.recorded_tasks),
            refused: queue(|queue| queue.refused_tasks),
            retried: queue(|queue| queue.retried_tasks),
            rescued: queue(|queue| queue.rescued_leases),
            commits: queue(|queue| queue.commits),
            wal_bytes: per_second(growth(&before.database, &now.database, |database| database.wal_bytes)),
            saved_bytes: per_second(cache(|cache| cache.saved_bytes)),
            hit_ratio: (lookups > 0).then(|| hits as f64 / lookups as f64),
        }
    }
}

/// The processes of the Queue that its counters are of, ordered.
fn answered(stats: &GetStatsResponse) -> impl Iterator<Item = (&str, &str)> {
    let answered = stats.queue_processes.iter().filter(|process| process.answered);
    answered.map(|process| (process.address.as_str(), process.process_id.as_str()))
}

/// How much a counter grew; 0 if either answer lacks it.
fn growth<T>(before: &Option<T>, now: &Option<T>, value: fn(&T) -> u64) -> u64 {
    match (before, now) {
        (Some(before), Some(now)) => value(now).saturating_sub(value(before)),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use hashmesh::v1::{DatabaseStats, QueueProcessStats};

    use super::*;

    fn answer(recorded_tasks: u64, wal_bytes: u64, cache: Option<(u64, u64)>) -> GetStatsResponse {
        GetStatsResponse {
            queue: Some(QueueStats { recorded_tasks, ..QueueStats::default() }),
            database: Some(DatabaseStats { wal_bytes, ..DatabaseStats::default() }),
            cache: cache.map(|(memory_hits, misses)| CacheStats { memory_hits, misses, ..CacheStats::default() }),
            ..GetStatsResponse::default()
        }
    }

    #[test]
    fn rates_are_differences_per_second() {
        let changes = Changes::between(
            &answer(1_000, 5_000, Some((10, 10))),
            &answer(1_500, 9_000, Some((13, 11))),
            Duration::from_secs(2),
        );
        assert!((changes.recorded - 250.0).abs() < 1e-9 && (changes.wal_bytes - 2_000.0).abs() < 1e-9);
        assert_eq!(changes.hit_ratio, Some(0.75));
    }

    #[test]
    fn a_counter_that_began_anew_is_no_negative_rate() {
        let second = Duration::from_secs(1);
        let changes = Changes::between(&answer(1_000, 5_000, Some((10, 10))), &answer(3, 0, Some((0, 0))), second);
        assert_eq!(changes, Changes { seconds: 1.0, ..Changes::default() });
        let changes = Changes::between(&answer(1, 1, None), &answer(1, 1, Some((5, 5))), second);
        assert_eq!(changes.hit_ratio, None, "what a cache did before is not of this interval");
    }

    #[test]
    fn what_a_process_did_before_it_answered_is_of_no_interval() {
        let process = |address: &str, answered| QueueProcessStats {
            address: address.to_owned(),
            answered,
            ..QueueProcessStats::default()
        };
        let sums = |recorded_tasks, second_answered| GetStatsResponse {
            queue_processes: vec![process("http://a:1", true), process("http://b:1", second_answered)],
            ..answer(recorded_tasks, 0, None)
        };
        let second = Duration::from_secs(1);
        assert!(Changes::between(&sums(100, false), &sums(9_000, true), second).recorded.abs() < 1e-9);
        let changes = Changes::between(&sums(9_000, true), &sums(9_100, true), second);
        assert!((changes.recorded - 100.0).abs() < 1e-9);
    }

    #[test]
    fn two_answers_at_the_same_instant_have_no_rate() {
        let changes = Changes::between(&answer(0, 0, None), &answer(1_000, 1_000, None), Duration::ZERO);
        assert_eq!(changes, Changes::default());
    }
}
