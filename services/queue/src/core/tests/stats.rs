//! What counts as ready: what a worker that came now would be given.

use super::*;

const A: Uuid = Uuid::from_u128(1);
const B: Uuid = Uuid::from_u128(2);

/// A core without workers, in which each submission has a batch of ten tasks.
fn core(submissions: &[(Uuid, &str, WorkOrder)]) -> Core {
    let mut core = Core::new(CoreConfig::default());
    for (id, tenant, order) in submissions {
        core.create_for(*id, tenant, &[Algorithm::Sha256], 5, *order);
        core.append(Duration::ZERO, *id, &batch(0, 10, false)).unwrap();
    }
    core
}

/// Ready tasks, and for how many seconds the oldest has been ready.
fn ready(core: &Core, second: u64) -> (u64, u64) {
    let stats = core.stats(Duration::from_secs(second));
    (stats.ready_tasks, stats.oldest_ready.as_secs())
}

fn anytime() -> WorkOrder {
    WorkOrder::default()
}

#[test]
fn what_is_paused_is_not_ready_and_begins_to_wait_when_it_goes_on() {
    let mut core = core(&[(A, "a", anytime()), (B, "b", anytime())]);
    let second = Duration::from_secs;
    assert_eq!(ready(&core, 5), (20, 5));
    core.control_tenant(second(5), "a", true, None);
    assert_eq!(ready(&core, 7), (10, 7));
    core.pause_everyone(second(8), true);
    assert_eq!(ready(&core, 9), (0, 0));
    core.pause_everyone(second(10), false);
    assert_eq!(ready(&core, 15), (10, 5));
    core.control_tenant(second(20), "a", false, None);
    assert_eq!(ready(&core, 22), (20, 12));
    core.cancel(B).unwrap();
    assert_eq!(ready(&core, 22), (10, 2));
    // Whoever was not paused is not resumed.
    core.control_tenant(second(22), "a", false, Some(100));
    core.pause_everyone(second(22), false);
    assert_eq!(ready(&core, 23), (10, 3));
}

#[test]
fn what_is_for_later_is_not_ready() {
    let later = WorkOrder { not_before: Some(WallTime(60_000_000)), ..anytime() };
    let mut core = core(&[(A, "a", later)]);
    assert_eq!(ready(&core, 59), (0, 0));
    core.clock(WallTime(60_000_000));
    core.tick(Duration::from_secs(60));
    assert_eq!(ready(&core, 61), (10, 1));
}

#[test]
fn what_is_beyond_a_limit_is_not_ready() {
    let limited = WorkOrder { max_leased_tasks: Some(4), ..anytime() };
    let mut core = core(&[(A, "a", limited), (B, "b", anytime())]);
    assert_eq!(ready(&core, 1), (14, 1));
    core.control_tenant(Duration::ZERO, "b", false, Some(3));
    assert_eq!(ready(&core, 1), (7, 1));
    let worker = core.worker_connected(Duration::ZERO, info());
    core.credit(Duration::ZERO, worker, 1000, 1 << 30);
    let stats = core.stats(Duration::from_secs(1));
    assert_eq!((stats.ready_tasks, stats.oldest_ready, stats.leased_tasks), (0, Duration::ZERO, 7));
    // Its worker gone, what it held is ready again.
    core.worker_disconnected(Duration::from_secs(1), worker);
    assert_eq!(ready(&core, 2), (7, 2));
}

#[test]
fn what_waits_for_its_next_attempt_is_not_ready() {
    let mut core = core(&[(A, "a", anytime())]);
    let worker = core.worker_connected(Duration::ZERO, info());
    core.credit(Duration::ZERO, worker, 10, 1 << 30);
    assert_eq!(ready(&core, 0), (0, 0));
    let lease = core.take_effects().into_iter().find_map(|effect| match effect {
        Effect::Dispatch(grant) => Some(grant.lease),
        _ => None,
    });
    core.nack(Duration::ZERO, worker, lease.unwrap(), Duration::from_secs(30));
    assert_eq!(ready(&core, 29), (0, 0));
    core.tick(Duration::from_secs(30));
    assert_eq!(ready(&core, 31), (10, 1));
}

#[test]
fn a_suspect_is_ready_unless_it_is_paused() {
    let mut core = core(&[(A, "a", anytime())]);
    for second in [0, 1] {
        let now = Duration::from_secs(second);
        let worker = core.worker_connected(now, process(u128::from(second)));
        core.credit(now, worker, 1000, 1 << 30);
        core.worker_disconnected(now, worker);
    }
    assert!(!core.suspects.is_empty());
    assert_eq!(ready(&core, 4), (10, 3));
    core.control_tenant(Duration::from_secs(4), "a", true, None);
    assert_eq!(ready(&core, 5), (0, 0));
}
