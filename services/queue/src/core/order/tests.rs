//! Who is next, in scenes small enough to follow by hand.

use std::{collections::BTreeMap, time::Duration};

use hashmesh::v1::Algorithm;
use proptest::prelude::*;
use uuid::Uuid;

use super::super::*;
use crate::{store::model::WorkOrder, wall::WallTime};

const NOW: Now = Duration::ZERO;

fn info(sources: &[&str]) -> WorkerInfo {
    WorkerInfo {
        name: "worker".to_owned(),
        session: Uuid::nil(),
        slots: 1,
        algorithms: AlgorithmSet::of(&Algorithm::ALL),
        source_prefixes: sources.iter().map(|&source| source.to_owned()).collect(),
        begins_alone: false,
    }
}

fn batch(sequence: u32, task_count: u32, prefix: Option<&str>) -> NewBatchMeta {
    NewBatchMeta {
        sequence,
        task_count,
        byte_count: task_count * 64,
        fingerprint: [7; 32],
        reference_prefix: prefix.map(Into::into),
        expected: AlgorithmSet::default(),
    }
}

/// A core, and what of it was leased to whom.
struct Scene {
    core: Core,
    worker: WorkerId,
    granted: Vec<Grant>,
    now: Now,
}

impl Scene {
    fn new() -> Self {
        let mut core = Core::new(CoreConfig::default());
        let worker = core.worker_connected(NOW, info(&["file:///data/"]));
        Self { core, worker, granted: Vec::new(), now: NOW }
    }

    fn create(&mut self, number: u128, tenant: &str, order: WorkOrder) -> Uuid {
        let id = Uuid::from_u128(number);
        self.core.create_for(id, tenant, &[Algorithm::Sha256], 3, order);
        id
    }

    fn fill(&mut self, id: Uuid, batches: u32, task_count: u32) {
        let first = self.core.submissions[&id].next_sequence();
        for sequence in first..first + batches {
            self.core.append(self.now, id, &batch(sequence, task_count, None)).unwrap();
        }
    }

    /// The worker takes this many tasks, and answers each lease as soon as it has it.
    fn work(&mut self, tasks: u32) -> Vec<Grant> {
        let mut done = Vec::new();
        let mut left = tasks;
        while left > 0 {
            self.core.credit(self.now, self.worker, 1, 1 << 40);
            let effects = self.core.take_effects();
            let grants = effects.into_iter().filter_map(|effect| match effect {
                Effect::Dispatch(grant) => Some(grant),
                _ => None,
            });
            let grants: Vec<Grant> = grants.collect();
            if grants.is_empty() {
                break;
            }
            for grant in grants {
                let part = OutcomesPart {
                    worker: grant.worker,
                    lease: grant.lease,
                    fingerprint: &[7; 32],
                    run: grant.run,
                    statuses: None,
                    failures: &[],
                    hashed_bytes: 0,
                    last: true,
                };
                assert!(matches!(self.core.outcomes(self.now, &part), Verdict::Taken { .. }));
                left = left.saturating_sub(grant.run.count);
                // What the lease used up comes back, as if the worker had said so.
                self.core.credit(self.now, self.worker, grant.run.count - 1, 0);
                done.push(grant);
            }
        }
        self.granted.extend(done.iter().cloned());
        done
    }
}

fn priority(priority: u8) -> WorkOrder {
    WorkOrder { priority, ..WorkOrder::default() }
}

/// Tasks granted by submission.
fn tasks(grants: &[Grant]) -> BTreeMap<u128, u32> {
    let mut tasks = BTreeMap::new();
    grants.iter().for_each(|grant| *tasks.entry(grant.submission.as_u128()).or_default() += grant.run.count);
    tasks
}

#[test]
fn promise_9_the_highest_priority_goes_first_and_every_lower_one_has_its_guaranteed_share() {
    let mut scene = Scene::new();
    for level in 0..10 {
        let id = scene.create(u128::from(level) + 1, "a", priority(level));
        scene.fill(id, 2000, 10);
    }
    let shares = tasks(&scene.work(10_000));
    for lower in 1..=9 {
        let share = f64::from(shares[&lower]) / 10_000.0;
        assert!((share - 1.0 / 32.0).abs() < 0.005, "priority {} had {share}", lower - 1);
    }
    assert!(shares[&10] > 7_000, "the highest had {}", shares[&10]);
}

#[test]
fn promise_9_urgent_work_is_next_in_a_full_backlog() {
    let mut scene = Scene::new();
    let slow = scene.create(1, "a", priority(0));
    scene.fill(slow, 1000, 100);
    scene.work(1000);
    let urgent = scene.create(2, "a", priority(9));
    scene.fill(urgent, 1, 1);
    assert_eq!(scene.work(1)[0].submission, urgent);
}

#[test]
fn promise_9_urgent_work_reaches_a_worker_whose_hands_are_full() {
    let mut core = Core::new(CoreConfig::default());
    let worker = core.worker_connected(NOW, info(&[]));
    core.create_for(Uuid::from_u128(1), "a", &[Algorithm::Sha256], 3, priority(0));
    core.credit(NOW, worker, 1000, 1 << 30);
    for sequence in 0..1000 {
        core.append(NOW, Uuid::from_u128(1), &batch(sequence, 10, None)).unwrap();
    }
    let held = core.take_effects().len();
    assert!((90..100).contains(&held), "{held} leases; the last part of the credit is kept");
    core.create_for(Uuid::from_u128(2), "b", &[Algorithm::Sha256], 3, priority(1));
    core.append(NOW, Uuid::from_u128(2), &batch(0, 10, None)).unwrap();
    let Some(Effect::Dispatch(grant)) = core.take_effects().pop() else { panic!("nothing was granted") };
    assert_eq!(grant.submission, Uuid::from_u128(2));
    // Only one: now it holds work as urgent as the rest of it.
    core.append(NOW, Uuid::from_u128(2), &batch(1, 10, None)).unwrap();
    assert!(core.take_effects().is_empty());
}

#[test]
fn promise_10_a_single_task_reaches_a_worker_whose_hands_are_full_of_anothers() {
    let mut core = Core::new(CoreConfig::default());
    let worker = core.worker_connected(NOW, info(&[]));
    core.create_for(Uuid::from_u128(1), "large", &[Algorithm::Sha256], 3, WorkOrder::default());
    core.credit(NOW, worker, 1000, 1 << 30);
    for sequence in 0..1000 {
        core.append(NOW, Uuid::from_u128(1), &batch(sequence, 10, None)).unwrap();
    }
    core.take_effects();
    for number in 2..5 {
        let (id, tenant) = (Uuid::from_u128(number), number.to_string());
        core.create_for(id, &tenant, &[Algorithm::Sha256], 3, WorkOrder::default());
        core.append(NOW, id, &batch(0, 10, None)).unwrap();
        let Some(Effect::Dispatch(grant)) = core.take_effects().pop() else { panic!("nothing was granted") };
        assert_eq!(grant.submission, id);
        // Only one: the worker holds something of this tenant now, and what it holds of others is no reason for more.
        core.append(NOW, id, &batch(1, 10, None)).unwrap();
        assert!(core.take_effects().is_empty());
    }
}

#[test]
fn promise_10_tenants_of_a_level_share_by_cost_however_many_submissions_and_how_large_batches_they_have() {
    let mut scene = Scene::new();
    let large = scene.create(1, "large", WorkOrder::default());
    scene.fill(large, 200, 500);
    for number in 0..50 {
        let id = scene.create(100 + number, "many", WorkOrder::default());
        scene.fill(id, 40, 10);
    }
    let shares = tasks(&scene.work(20_000));
    assert!((9_000..11_000).contains(&shares[&1]), "{shares:?}");
}

#[test]
fn promise_10_a_single_task_is_next_however_long_another_tenants_queue_is() {
    let mut scene = Scene::new();
    let large = scene.create(1, "large", WorkOrder::default());
    scene.fill(large, 2000, 100);
    scene.work(10_000);
    for number in 2..200 {
        let single = scene.create(number, "single", WorkOrder::default());
        scene.fill(single, 1, 1);
        let granted = scene.work(101);
        let place = granted.iter().position(|grant| grant.submission == single);
        assert!(place.is_some_and(|place| place <= 1), "place {place:?}");
    }
}

#[test]
fn promise_10_a_tenant_that_comes_and_goes_does_not_starve_one_that_stays() {
    let mut scene = Scene::new();
    let stays = scene.create(1, "stays", WorkOrder::default());
    scene.fill(stays, 1000, 100);
    let mut granted = Vec::new();
    for number in 2..200 {
        let id = scene.create(number, "comes and goes", WorkOrder::default());
        scene.fill(id, 1, 100);
        granted.extend(scene.work(100));
        scene.core.tick(scene.now);
    }
    let stayed = tasks(&granted)[&1];
    assert!((8_000..12_000).contains(&stayed), "{stayed} of 19,800");
}

#[test]
fn the_oldest_submission_of_a_tenant_goes_first_and_one_that_cannot_be_served_does_not_hold_the_others_up() {
    let mut scene = Scene::new();
    for (number, prefix) in [(1, Some("file:///elsewhere/")), (2, None), (3, None)] {
        let id = scene.create(number, "a", WorkOrder::default());
        scene.core.append(NOW, id, &batch(0, 10, prefix)).unwrap();
    }
    let limited = WorkOrder { max_leased_tasks: Some(1), ..WorkOrder::default() };
    let id = scene.create(0, "a", limited);
    scene.fill(id, 1, 2);
    let order: Vec<u128> = scene.work(100).iter().map(|grant| grant.submission.as_u128()).collect();
    assert_eq!(order, [0, 0, 2, 3]);
    assert!(scene.core.waits_for_worker(Uuid::from_u128(1)));
    // A worker of another kind comes, and takes what only it can take.
    let elsewhere = scene.core.worker_connected(NOW, info(&["file:///elsewhere/"]));
    assert_eq!(scene.core.waits(Uuid::from_u128(1)), None);
    scene.core.credit(NOW, elsewhere, 100, 1 << 40);
    let effects = scene.core.take_effects();
    assert!(matches!(&effects[..], [Effect::Dispatch(grant)] if grant.submission == Uuid::from_u128(1)), "{effects:?}");
    // It goes and comes back.
    scene.core.worker_disconnected(NOW, elsewhere);
    assert_eq!(scene.core.waits(Uuid::from_u128(1)), Some(Waits::ForWorker));
    let again = scene.core.worker_connected(NOW, info(&["file:///elsewhere/"]));
    scene.core.credit(NOW, again, 100, 1 << 40);
    assert_eq!(scene.core.take_effects().len(), 1);
}

#[test]
fn why_a_submission_waits_is_shown() {
    let mut scene = Scene::new();
    let id = scene.create(1, "a", WorkOrder { not_before: Some(WallTime(5_000_000)), ..WorkOrder::default() });
    assert_eq!(scene.core.waits(id), None, "it has no task");
    scene.fill(id, 1, 1);
    assert_eq!(scene.core.waits(id), Some(Waits::NotBefore));
    scene.core.pause_everyone(NOW, true);
    assert_eq!(scene.core.waits(id), Some(Waits::Paused));
    scene.core.control_tenant(NOW, "a", true, None);
    scene.core.pause_everyone(NOW, false);
    assert_eq!(scene.core.waits(id), Some(Waits::Paused));
    scene.core.control_tenant(NOW, "a", false, None);
    scene.core.clock(WallTime(4_999_999));
    scene.core.tick(NOW);
    assert_eq!(scene.core.waits(id), Some(Waits::NotBefore));
    scene.core.clock(WallTime(5_000_000));
    scene.core.tick(NOW);
    assert_eq!(scene.core.waits(id), None);
    assert_eq!(scene.work(1).len(), 1);
}

#[test]
fn tenants_without_work_and_controls_are_forgotten() {
    let mut scene = Scene::new();
    for number in 1..=1000 {
        let id = scene.create(number, &format!("tenant {number}"), WorkOrder::default());
        scene.fill(id, 1, 1);
        scene.work(1);
        scene.core.forget(id);
        scene.core.tick(NOW);
    }
    let known = scene.core.order.tenants.len();
    assert!(known <= 2, "{known} are known");
}

#[test]
fn a_dispatch_does_not_get_slower_with_the_number_of_submissions() {
    let seconds = |submissions: u128| {
        let mut scene = Scene::new();
        for number in 0..submissions {
            let id = scene.create(number, &format!("tenant {}", number % 100), priority((number % 10) as u8));
            scene.core.append(NOW, id, &batch(0, 2, Some("file:///elsewhere/"))).unwrap();
            scene.core.append(NOW, id, &batch(1, 2, None)).unwrap();
        }
        let elsewhere = info(&["file:///elsewhere/"]);
        scene.core.worker_connected(NOW, elsewhere);
        let begun = std::time::Instant::now();
        assert_eq!(scene.work(2_000).len(), 1_000);
        begun.elapsed().as_secs_f64()
    };
    seconds(1_000);
    let (few, many) = (seconds(1_000), seconds(50_000));
    assert!(many < 20.0 * few.max(0.005), "1,000 leases took {few} s among 1,000 submissions, {many} s among 50,000");
}

proptest! {
    /// Start-time fair queueing: no tenant that always has work is behind another by more than a lease of each.
    #[test]
    fn no_tenant_with_work_falls_behind_another(sizes in prop::collection::vec(1u32..300, 2..6)) {
        let mut scene = Scene::new();
        for (number, size) in sizes.iter().enumerate() {
            let id = scene.create(number as u128, &format!("tenant {number}"), WorkOrder::default());
            scene.fill(id, 20_000 / size, *size);
        }
        let shares = tasks(&scene.work(10_000));
        let largest = *sizes.iter().max().unwrap();
        let (least, most) = (shares.values().min().unwrap(), shares.values().max().unwrap());
        prop_assert!(most - least <= 2 * largest, "{:?} of {:?}", shares, sizes);
    }
}
