//! Who gets what was in somebody's hands at a takeover, in scenes small enough to follow by hand.

use super::{world::Table, *};
use crate::store::model::{LeaseRow, LoadedBatches, Totals};

const ID: Uuid = Uuid::from_u128(1);
/// Tasks of the one batch.
const TASKS: u32 = 20;

/// A worker, and the name under which rows speak of it.
fn named(name: &str) -> WorkerInfo {
    WorkerInfo { name: name.to_owned(), ..info() }
}

/// A takeover after which "old" holds tasks 5 to 9 by its rows; tasks 5 and 6 have outcomes.
fn taken_over() -> Core {
    let mut core = Core::new(CoreConfig::default());
    let meta = batch(0, TASKS, false);
    let row = LeaseRow {
        submission: ID,
        sequence: 0,
        first_task: 5,
        task_count: 5,
        attempt: 1,
        worker: Some("old".to_owned()),
        strikes: 0,
    };
    let table = Table::from([((ID, 0, 5), row)]);
    let recorded = vec![(5, 2)];
    let found = RecoveredBatch {
        sequence: 0,
        task_count: TASKS,
        byte_count: meta.byte_count,
        fingerprint: meta.fingerprint,
        reference_prefix: None,
        trace_context: None,
        leases: known::found_leases(&table, ID, &meta, &recorded),
        recorded,
    };
    let loaded = LoadedBatches { from: 0, through: 1, batches: vec![found], outcomes_behind: false };
    core.recover(
        Duration::ZERO,
        &Recovered {
            cache: hashmesh::v1::CacheMode::Unspecified,
            expansion_uri: None,
            listed_to: None,
            id: ID,
            tenant: String::new(),
            algorithms: vec![Algorithm::Sha256],
            part_bytes: 0,
            max_attempts: 5,
            keep_inputs: false,
            order: WorkOrder::default(),
            batch_count: Some(1),
            resolved_through: 0,
            outcomes_after: 0,
            next_sequence: 1,
            accepted_tasks: TASKS.into(),
            totals: Totals { succeeded: 2, ..Totals::default() },
            loaded: Some(loaded),
        },
    );
    core
}

fn claim(run: TaskRun) -> Claim {
    Claim { submission: ID, sequence: 0, run, attempt: 1, fingerprint: batch(0, 1, false).fingerprint, cost_bytes: 9 }
}

fn credited(core: &mut Core, now: Now, worker: WorkerId) -> Vec<TaskRun> {
    core.credit(now, worker, 1000, 1 << 30);
    dispatched(core)
}

fn dispatched(core: &mut Core) -> Vec<TaskRun> {
    let effects = core.take_effects().into_iter();
    effects.filter_map(|effect| if let Effect::Dispatch(grant) = effect { Some(grant.run) } else { None }).collect()
}

#[test]
fn promise_3_a_holder_that_is_back_gets_what_has_no_outcome_under_a_new_lease() {
    let mut core = taken_over();
    let other = core.worker_connected(Duration::ZERO, named("new"));
    assert_eq!(credited(&mut core, Duration::ZERO, other), [TaskRun::new(0, 5), TaskRun::new(10, 10)]);
    let old = core.worker_connected(Duration::ZERO, named("old"));
    let adopted = core.adopt(Duration::ZERO, old, &[claim(TaskRun::new(5, 5))]);
    assert_eq!(
        adopted.iter().map(|one| one.unresolved.iter().collect::<Vec<_>>()).collect::<Vec<_>>(),
        [[TaskRun::new(7, 3)]]
    );
    assert!(core.adopt(Duration::ZERO, old, &[claim(TaskRun::new(5, 5))]).is_empty(), "once");
    let fingerprint = batch(0, 1, false).fingerprint;
    let part = OutcomesPart {
        worker: old,
        lease: adopted[0].lease,
        fingerprint: &fingerprint,
        run: TaskRun::new(7, 3),
        statuses: None,
        failures: &[],
        hashed_bytes: 1,
        last: true,
    };
    assert!(matches!(core.outcomes(Duration::ZERO, &part), Verdict::Taken { lease_over: true, .. }));
}

#[test]
fn promise_9_what_is_held_waits_for_its_holder_for_one_lease_duration() {
    let mut core = taken_over();
    let other = core.worker_connected(Duration::ZERO, named("new"));
    assert_eq!(credited(&mut core, Duration::ZERO, other).len(), 2);
    let just_before = LEASE - Duration::from_millis(1);
    core.heard(just_before, other);
    core.tick(just_before);
    assert!(dispatched(&mut core).is_empty());
    core.tick(LEASE);
    assert!(dispatched(&mut core).contains(&TaskRun::new(7, 3)));
    let old = core.worker_connected(LEASE, named("old"));
    assert!(core.adopt(LEASE, old, &[claim(TaskRun::new(5, 5))]).is_empty(), "it is another's by now");
}

#[test]
fn a_holder_that_is_back_and_claims_nothing_frees_what_was_kept_for_it() {
    let mut core = taken_over();
    let old = core.worker_connected(Duration::ZERO, named("old"));
    assert!(core.adopt(Duration::ZERO, old, &[]).is_empty());
    let granted = credited(&mut core, Duration::ZERO, old);
    assert!(granted.contains(&TaskRun::new(7, 3)), "{granted:?}");
}

#[test]
fn promise_3_claims_of_other_bytes_attempts_or_tasks_are_not_adopted() {
    let run = TaskRun::new(7, 3);
    let wrong = [
        Claim { fingerprint: [9; 32], ..claim(run) },
        Claim { attempt: 2, ..claim(run) },
        Claim { sequence: 1, ..claim(run) },
        Claim { submission: Uuid::from_u128(2), ..claim(run) },
        claim(TaskRun::new(5, 2)),
        claim(TaskRun::new(TASKS - 1, 2)),
    ];
    for claim in wrong {
        let mut core = taken_over();
        let old = core.worker_connected(Duration::ZERO, named("old"));
        assert!(core.adopt(Duration::ZERO, old, std::slice::from_ref(&claim)).is_empty(), "{claim:?}");
        let all: u32 = credited(&mut core, Duration::ZERO, old).iter().map(|run| run.count).sum();
        assert_eq!(all, TASKS - 2, "and nothing is lost");
    }
}

#[test]
fn what_is_held_off_stays_in_the_rows_until_it_is_decided() {
    let mut core = taken_over();
    let holders = |core: &Core| {
        core.lease_rows(Duration::ZERO, LEASE).into_iter().map(|row| (row.first_task, row.worker)).collect::<Vec<_>>()
    };
    assert_eq!(holders(&core), [(7, Some("old".to_owned()))]);
    core.tick(LEASE);
    assert_eq!(holders(&core), []);
}

#[test]
fn a_cancelled_submission_is_adopted_by_nobody() {
    let mut core = taken_over();
    assert_eq!(core.cancel(ID), Ok(true));
    let old = core.worker_connected(Duration::ZERO, named("old"));
    assert!(core.adopt(Duration::ZERO, old, &[claim(TaskRun::new(7, 3))]).is_empty());
}
