//! The schedules that every test run goes through, and those that are asked for.

use super::{
    schedules::{explain, run, run_many, run_twice, run_with},
    world::Options,
};

/// Seeds that once found something, a line each; what follows `#` says what.
const REGRESSIONS: &str = include_str!("../../simulation/regressions.txt");

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn all_hold(seeds: impl Iterator<Item = u64>) {
    for seed in seeds {
        let report = run_twice(seed);
        assert!(report.violation.is_none(), "{}", explain(seed));
    }
}

#[test]
fn promises_1_to_7_and_9_hold_in_some_hundred_simulated_schedules() {
    let summary = run_many(1, 200);
    if let Some((seed, _)) = summary.failed.first() {
        panic!("{}", explain(*seed));
    }
    assert_eq!(summary.schedules, 200);
}

#[test]
fn promises_hold_wherever_the_queue_restarts_right_before_or_behind_a_commit() {
    for seed in 1..=4 {
        let at = |restart_at| run_with(seed, Options { restart_at: Some(restart_at), ..Options::default() });
        let boundaries = at(u64::MAX).boundaries;
        assert!(boundaries >= 4, "seed {seed} has {boundaries}");
        for boundary in 1..=boundaries {
            let report = at(boundary);
            assert_eq!(report.violation, None, "seed {seed}, restarted at {boundary} of {boundaries}");
            assert_eq!(report.counts.get("owners that die at a commit boundary"), Some(&1));
        }
    }
}

#[test]
fn schedules_that_once_found_something_find_nothing() {
    let seeds = REGRESSIONS.lines().filter_map(|line| line.split('#').next()?.trim().parse().ok());
    all_hold(seeds);
}

#[test]
fn a_seed_is_the_same_schedule_event_by_event() {
    for seed in 0..20 {
        let (first, second) = (run(seed, true), run(seed, true));
        let differs = first.lines.iter().zip(&second.lines).position(|(one, other)| one != other);
        if let Some(line) = differs {
            panic!("seed {seed}, line {line}:\n{}\n{}", first.lines[line], second.lines[line]);
        }
        assert_eq!((first.lines.len(), first.trace), (second.lines.len(), second.trace));
        assert!(first.lines.len() > 10);
    }
    assert_ne!(run(1, false).trace, run(2, false).trace);
}

/// As many as `HASHMESH_SIM_SCHEDULES` says, from `HASHMESH_SIM_SEED` on; writes what happened to `HASHMESH_SIM_REPORT`.
#[test]
#[ignore = "as many as are asked for"]
fn schedules_of_the_environment() {
    let (first, schedules) =
        (setting("HASHMESH_SIM_SEED").unwrap_or(1), setting("HASHMESH_SIM_SCHEDULES").unwrap_or(100_000));
    let summary = run_many(first, schedules);
    let report = summary.to_json();
    println!("{report}");
    if let Ok(path) = std::env::var("HASHMESH_SIM_REPORT") {
        std::fs::write(path, &report).unwrap();
    }
    for (seed, why) in &summary.failed {
        println!("seed {seed}: {why}");
    }
    if let Some((seed, _)) = summary.failed.first() {
        panic!("{}", explain(*seed));
    }
    if schedules == 1 {
        println!("{}", explain(first));
    }
}
