//! The proof that the simulation would find a real defect: each deliberate one is found within so many schedules.

use super::schedules::run;
use crate::mutant::{HERE, Mutant};

/// Runs schedules with a defect until one finds it.
fn found_within(schedules: u64, mutant: Mutant) {
    HERE.set(Some(mutant));
    let found = (1..=schedules).find_map(|seed| Some((seed, run(seed, false).violation?)));
    HERE.set(None);
    let (seed, violation) = found.unwrap_or_else(|| panic!("{schedules} schedules did not find {mutant:?}"));
    let without = run(seed, false).violation;
    assert_eq!(without, None, "seed {seed} finds something without {mutant:?}");
    println!("{mutant:?} is found by seed {seed}: {violation}");
}

macro_rules! found {
    ($($name:ident: $mutant:ident within $schedules:literal,)*) => {$(
        #[test]
        fn $name() {
            found_within($schedules, Mutant::$mutant);
        }
    )*};
}

found! {
    batches_that_are_acknowledged_before_they_are_committed_are_found: AcknowledgeBeforeCommit within 100,
    outcomes_of_expired_leases_are_found: DropLeaseCheck within 100,
    outcomes_of_another_epoch_are_found: SkipEpochCheck within 500,
    a_failed_task_that_counts_twice_is_found: CountFailedTwice within 100,
    bytes_that_count_twice_are_found: CountBytesTwice within 100,
    counters_that_start_anew_are_found: CountersStartAnew within 100,
    a_lease_that_is_adopted_twice_is_found: AdoptTwice within 200,
    a_resolved_through_that_runs_ahead_of_commits_is_found: ResolvedRunsAhead within 200,
    a_lost_requeue_is_found: RequeueLost within 100,
    a_strike_that_is_not_awaited_is_found: StrikeNotAwaited within 300,
    a_cancel_that_records_later_outcomes_is_found: CancelKeepsLeases within 300,
    other_tasks_that_pass_as_a_repeat_are_found: RepeatNotCompared within 100,
    a_lost_retry_timer_is_found: RetryTimerLost within 100,
    inputs_that_are_left_out_too_early_are_found: ElideTooEarly within 200,
    a_lane_that_goes_on_behind_a_failed_unit_is_found: LaneGoesOn within 200,
    a_submission_that_completes_too_early_is_found: CompleteTooEarly within 100,
    an_attempt_too_many_is_found: OneAttemptTooMany within 100,
    a_follower_that_skips_is_found: FollowerSkips within 100,
    a_range_that_is_held_off_for_ever_is_found: HeldOffForever within 200,
    tasks_that_were_replaced_under_a_worker_are_found: FingerprintNotCompared within 2000,
}
