//! The rules under random schedules: clients, workers, time and stale frames in any order. After each step the invariants
//! are checked against a model that knows only what was recorded.

mod adoption;
mod known;
mod poison;
mod stats;
mod suspects;
mod unread;
mod world;

use std::time::Duration;

use hashmesh::v1::{Algorithm, OutcomeStatus};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{
    store::model::{Recovered, RecoveredBatch, RecoveredLease, WorkOrder},
    wall::WallTime,
};
use world::{Step, World, step};

const LEASE: Duration = Duration::from_secs(5);

fn info() -> WorkerInfo {
    process(0)
}

/// What the worker in this process says.
fn process(session: u128) -> WorkerInfo {
    WorkerInfo {
        name: "worker".to_owned(),
        session: Uuid::from_u128(session),
        slots: 2,
        algorithms: AlgorithmSet::of(&Algorithm::ALL),
        source_prefixes: vec!["file:///data/".to_owned()],
        begins_alone: false,
    }
}

fn batch(sequence: u32, task_count: u32, by_reference: bool) -> NewBatchMeta {
    NewBatchMeta {
        sequence,
        task_count,
        byte_count: task_count * 10,
        fingerprint: [u8::try_from(sequence % 251).unwrap(); 32],
        reference_prefix: by_reference.then(|| "file:///data/set/".into()),
        expected: AlgorithmSet::default(),
    }
}

fn run(steps: &[Step], honours_expired: bool) -> Result<(), TestCaseError> {
    let mut world = World::new(honours_expired);
    for step in steps {
        world.apply(step)?;
    }
    world.finish()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn promises_2_4_5_6_and_9_hold_under_random_schedules(steps in prop::collection::vec(step(), 1..120)) {
        run(&steps, false)?;
    }
}

#[test]
fn promise_3_a_core_that_honours_expired_leases_is_found_out() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        max_shrink_iters: 0,
        ..ProptestConfig::default()
    });
    let found = runner.run(&prop::collection::vec(step(), 1..120), |steps| run(&steps, true));
    assert!(found.is_err(), "2000 random schedules did not find that outcomes of expired leases are recorded");
}

#[test]
fn promise_2_what_is_being_cancelled_does_not_count_as_resolved_before_that_is_committed() {
    let mut core = Core::new(CoreConfig::default());
    let id = Uuid::from_u128(1);
    core.create(id, &[Algorithm::Sha256], 5);
    let worker = core.worker_connected(Duration::ZERO, info());
    core.credit(Duration::ZERO, worker, 1000, 1 << 30);
    for sequence in 0..3 {
        core.append(Duration::ZERO, id, &batch(sequence, 5, false)).unwrap();
    }
    let Some(Effect::Dispatch(grant)) = core.take_effects().into_iter().next() else { panic!("nothing is leased") };
    let part = OutcomesPart {
        worker,
        lease: grant.lease,
        fingerprint: &batch(0, 5, false).fingerprint,
        run: grant.run,
        statuses: None,
        failures: &[],
        hashed_bytes: 5,
        last: true,
    };
    assert!(matches!(core.outcomes(Duration::ZERO, &part), Verdict::Taken { .. }));
    assert_eq!(core.cancel(id), Ok(true));
    // The cancellation takes its time, and may never be committed: then the next owner has to do the rest.
    for _ in 0..3 {
        assert_eq!(core.take_resolved(|_| Some(5)), []);
    }
}

#[test]
fn promise_9_a_worker_that_fell_silent_is_not_given_its_own_leases_again() {
    let mut core = Core::new(CoreConfig::default());
    let id = Uuid::from_u128(1);
    core.create(id, &[Algorithm::Sha256], 5);
    let silent = core.worker_connected(Duration::ZERO, info());
    core.credit(Duration::ZERO, silent, 1000, 1 << 30);
    core.append(Duration::ZERO, id, &batch(0, 5, false)).unwrap();
    let lively = core.worker_connected(Duration::ZERO, info());
    core.credit(Duration::ZERO, lively, 1000, 1 << 30);
    let mut granted = Vec::new();
    for second in 0..=6 {
        let now = Duration::from_secs(second);
        core.heard(now, lively);
        core.tick(now);
        let effects = core.take_effects();
        granted.extend(effects.into_iter().filter_map(|effect| match effect {
            Effect::Dispatch(grant) => Some((second, grant.worker)),
            _ => None,
        }));
    }
    assert_eq!(granted, [(0, silent), (5, lively)]);
}

#[test]
fn a_schedule_run_twice_has_the_same_effects() {
    let effects = || {
        let mut core = Core::new(CoreConfig { seed: 3, ..CoreConfig::default() });
        let id = Uuid::from_u128(1);
        core.create(id, &[Algorithm::Sha256], 5);
        let workers: Vec<WorkerId> = (0..3).map(|_| core.worker_connected(Duration::ZERO, info())).collect();
        workers.iter().for_each(|worker| core.credit(Duration::ZERO, *worker, 500, 1 << 30));
        for sequence in 0..20 {
            core.append(Duration::from_millis(u64::from(sequence)), id, &batch(sequence, 37, sequence % 2 == 0))
                .unwrap();
        }
        core.worker_disconnected(Duration::from_secs(1), workers[1]);
        core.tick(Duration::from_secs(7));
        core.take_effects()
    };
    assert_eq!(effects(), effects());
}

#[test]
fn promise_9_a_batch_that_no_worker_reaches_does_not_stand_before_others() {
    let mut core = Core::new(CoreConfig::default());
    let id = Uuid::from_u128(1);
    core.create(id, &[Algorithm::Sha256], 5);
    let worker = core.worker_connected(Duration::ZERO, info());
    core.credit(Duration::ZERO, worker, 100, 1 << 30);
    let unreachable = NewBatchMeta { reference_prefix: Some("file:///elsewhere/".into()), ..batch(0, 5, true) };
    core.append(Duration::ZERO, id, &unreachable).unwrap();
    core.append(Duration::ZERO, id, &batch(1, 5, false)).unwrap();
    assert!(core.waits_for_worker(id));
    let sequences: Vec<u32> = core
        .take_effects()
        .into_iter()
        .filter_map(|effect| if let Effect::Dispatch(grant) = effect { Some(grant.sequence) } else { None })
        .collect();
    assert_eq!(sequences, [1]);

    let elsewhere = WorkerInfo { source_prefixes: vec!["file:///elsewhere/".to_owned()], ..info() };
    let other = core.worker_connected(Duration::ZERO, elsewhere);
    core.credit(Duration::ZERO, other, 100, 1 << 30);
    assert!(!core.waits_for_worker(id));

    // It does not reach the first task after all. While others have their outcomes there is news; then there is none.
    for (now, count, waits) in [(Duration::ZERO, 5, false), (Duration::from_secs(2), 1, true)] {
        core.tick(now);
        let granted = core.take_effects().into_iter().find_map(|effect| match effect {
            Effect::Dispatch(grant) if grant.worker == other => Some(grant),
            _ => None,
        });
        let grant = granted.expect("what is left of the first batch is leased to it");
        assert_eq!((grant.run, grant.attempt), (TaskRun::new(0, count), 1));
        let failures = [AttemptFailure { offset: 0, retryable: true, retry_after: None, uncharged: true }];
        let mut statuses = vec![OutcomeStatus::Succeeded as u8; count as usize];
        statuses[0] = OutcomeStatus::Failed as u8;
        let part = OutcomesPart {
            worker: other,
            lease: grant.lease,
            fingerprint: &[0; 32],
            run: grant.run,
            statuses: Some(&statuses),
            failures: &failures,
            hashed_bytes: 0,
            last: true,
        };
        let verdict = core.outcomes(now, &part);
        assert!(matches!(verdict, Verdict::Taken { .. }), "{verdict:?}");
        assert_eq!(core.waits_for_worker(id), waits, "{now:?}");
    }
}
