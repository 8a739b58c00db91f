//! Who is a suspect and who is not, and what holds for suspects, in scenes small enough to follow by hand.

use super::{world::Table, *};
use crate::store::model::{LoadedBatches, Totals};

/// A core with one submission for each tenant, and rows that are written at once.
struct Scene {
    core: Core,
    now: Now,
    granted: Vec<Grant>,
    table: Table,
    buried: Vec<&'static str>,
}

const A: Uuid = Uuid::from_u128(1);
const B: Uuid = Uuid::from_u128(2);

impl Scene {
    fn new(config: CoreConfig) -> Self {
        let core = Core::new(config);
        Self { core, now: Duration::ZERO, granted: Vec::new(), table: Table::new(), buried: Vec::new() }
    }

    /// One batch of a new submission.
    fn submit(&mut self, id: Uuid, tenant: &str, task_count: u32, order: WorkOrder) {
        self.core.create_for(id, tenant, &[Algorithm::Sha256], 5, order);
        self.core.append(self.now, id, &batch(0, task_count, false)).unwrap();
        self.core.seal(id, 1).unwrap();
        self.effects();
    }

    fn connect(&mut self, session: u128) -> WorkerId {
        let worker = self.core.worker_connected(self.now, process(session));
        self.core.credit(self.now, worker, 1000, 1 << 30);
        self.effects();
        worker
    }

    fn disconnect(&mut self, worker: WorkerId) {
        self.core.worker_disconnected(self.now, worker);
        self.effects();
    }

    /// A while passes in which these workers are heard and name their leases.
    fn pass(&mut self, duration: Duration, lively: &[WorkerId]) {
        let end = self.now + duration;
        while self.now < end {
            self.now += Duration::from_millis(100);
            for worker in lively {
                self.core.heard(self.now, *worker);
                for grant in self.granted.iter().filter(|grant| grant.worker == *worker) {
                    self.core.heartbeat(self.now, *worker, grant.lease, 0, 0, false);
                }
            }
            self.core.tick(self.now);
            self.effects();
        }
    }

    fn effects(&mut self) {
        loop {
            let effects = self.core.take_effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Dispatch(grant) => self.granted.push(grant),
                    Effect::Bury { code, .. } => self.buried.push(code),
                    Effect::WriteAhead(row) => {
                        self.table.insert((row.submission, row.sequence, row.first_task), row.clone());
                        self.core.written_ahead(self.now, &row);
                    }
                    _ => {}
                }
            }
        }
    }

    /// The oldest of what a worker holds.
    fn held(&self, worker: WorkerId) -> Option<&Grant> {
        self.granted.iter().find(|grant| grant.worker == worker && self.core.leases.contains_key(&grant.lease))
    }

    fn succeed(&mut self, worker: WorkerId) {
        let grant = self.held(worker).expect("it holds a lease").clone();
        let part = OutcomesPart {
            worker,
            lease: grant.lease,
            fingerprint: &batch(grant.sequence, 1, false).fingerprint,
            run: grant.run,
            statuses: None,
            failures: &[],
            hashed_bytes: 0,
            last: true,
        };
        assert!(matches!(self.core.outcomes(self.now, &part), Verdict::Taken { .. }));
        self.effects();
    }

    /// Two workers die of a submission's only task: from then on it is leased alone.
    fn make_suspect(&mut self, id: Uuid, task_count: u32, order: WorkOrder) {
        let dies = self.connect(1001);
        self.submit(id, "a", task_count, order);
        self.disconnect(dies);
        let dies = self.connect(1002);
        assert!(self.held(dies).is_some());
        self.disconnect(dies);
        assert!(!self.core.suspects.is_empty());
    }
}

#[test]
fn a_worker_that_hands_its_work_back_before_it_goes_strikes_nobody() {
    let mut scene = Scene::new(CoreConfig::default());
    scene.submit(A, "a", 1, WorkOrder::default());
    for session in 1..20 {
        let worker = scene.connect(session);
        let lease = scene.held(worker).expect("it gets the task").lease;
        scene.core.worker_draining(worker);
        scene.core.nack(scene.now, worker, lease, Duration::ZERO);
        scene.disconnect(worker);
        assert!(scene.core.suspects.is_empty() && scene.core.accused.is_empty());
    }
    assert_eq!(scene.core.ready.tried().count(), 0, "a strike");
}

#[test]
fn promise_9_broken_streams_of_workers_that_live_make_no_dead_letter() {
    let mut scene = Scene::new(CoreConfig::default());
    scene.make_suspect(A, 1, WorkOrder::default());
    let mut worker = scene.connect(1);
    for _ in 0..8 {
        assert!(scene.held(worker).is_some(), "it is leased again");
        scene.disconnect(worker);
        scene.pass(Duration::from_secs(3), &[]);
        worker = scene.connect(1);
    }
    scene.succeed(worker);
    assert_eq!(scene.buried, [""; 0]);
}

#[test]
fn promise_9_workers_that_fall_silent_and_go_on_make_no_dead_letter() {
    let mut scene = Scene::new(CoreConfig::default());
    scene.make_suspect(A, 1, WorkOrder::default());
    let worker = scene.connect(1);
    for _ in 0..8 {
        assert!(scene.held(worker).is_some(), "it is leased again");
        scene.pass(Duration::from_secs(7), &[]);
        assert!(scene.held(worker).is_none(), "it was taken back");
        scene.pass(Duration::from_millis(200), &[worker]);
    }
    scene.succeed(worker);
    assert_eq!(scene.buried, [""; 0]);
}

#[test]
fn promise_9_a_task_that_kills_is_a_dead_letter_once_its_last_worker_has_not_come_back() {
    let mut scene = Scene::new(CoreConfig::default());
    scene.make_suspect(A, 1, WorkOrder::default());
    for session in 1..=3 {
        let worker = scene.connect(session);
        assert!(scene.held(worker).is_some());
        scene.disconnect(worker);
    }
    let bystander = scene.connect(4);
    scene.pass(Duration::from_millis(4_800), &[bystander]);
    assert!(scene.held(bystander).is_none() && scene.buried.is_empty(), "too early");
    scene.pass(Duration::from_millis(400), &[bystander]);
    assert_eq!(scene.buried, ["WORKER_LOST"]);
}

#[test]
fn promise_9_a_task_that_breaks_every_stream_is_a_dead_letter_in_the_end() {
    let mut scene = Scene::new(CoreConfig::default());
    scene.make_suspect(A, 1, WorkOrder::default());
    let mut breaks = 0;
    while scene.buried.is_empty() {
        let worker = scene.connect(1);
        assert!(scene.held(worker).is_some());
        breaks += 1;
        scene.disconnect(worker);
        assert!(breaks < 20, "for ever");
    }
    assert_eq!(breaks, 13, "three that count, and ten that did not");
}

#[test]
fn promise_10_a_paused_tenants_suspect_waits_and_holds_no_worker() {
    let mut scene = Scene::new(CoreConfig::default());
    scene.make_suspect(A, 1, WorkOrder::default());
    scene.core.control_tenant(scene.now, "a", true, None);
    let worker = scene.connect(1);
    scene.submit(B, "b", 1, WorkOrder::default());
    assert_eq!(scene.held(worker).map(|grant| grant.submission), Some(B));
    scene.succeed(worker);
    scene.pass(Duration::from_secs(1), &[worker]);
    assert!(scene.held(worker).is_none(), "it is paused");
    scene.core.control_tenant(scene.now, "a", false, None);
    scene.effects();
    assert_eq!(scene.held(worker).map(|grant| grant.submission), Some(A));
}

#[test]
fn promise_9_a_suspect_larger_than_what_may_be_leased_at_once_is_leased_in_parts() {
    let mut scene = Scene::new(CoreConfig::default());
    scene.make_suspect(A, 8, WorkOrder::default());
    scene.core.control_tenant(scene.now, "a", false, Some(3));
    let worker = scene.connect(1);
    let mut tasks = 0;
    while tasks < 8 {
        let grant = scene.held(worker).expect("a part");
        assert!(grant.run.count <= 3);
        tasks += grant.run.count;
        scene.succeed(worker);
    }
    assert_eq!(scene.core.phase(A), Some(Phase::Completing));
}

#[test]
fn a_suspect_that_is_cancelled_is_gone() {
    let mut scene = Scene::new(CoreConfig::default());
    scene.make_suspect(A, 1, WorkOrder::default());
    let worker = scene.connect(1);
    assert!(scene.held(worker).is_some());
    scene.disconnect(worker);
    assert!(!scene.core.suspects.is_empty() && !scene.core.accused.is_empty());
    scene.core.cancel(A).unwrap();
    assert!(scene.core.suspects.is_empty() && scene.core.accused.is_empty());
}

/// As a new owner finds it: many batches of one task, nothing of which is recorded.
fn found(id: Uuid, tenant: &str, batches: u32, prefix: Option<&str>) -> Recovered {
    let batch = |sequence| RecoveredBatch {
        sequence,
        task_count: 1,
        byte_count: 1,
        fingerprint: batch(sequence, 1, false).fingerprint,
        reference_prefix: prefix.map(str::to_owned),
        trace_context: None,
        recorded: Vec::new(),
        leases: Vec::new(),
    };
    let loaded =
        LoadedBatches { from: 0, through: batches, batches: (0..batches).map(batch).collect(), outcomes_behind: false };
    Recovered {
        cache: hashmesh::v1::CacheMode::Unspecified,
        expansion_uri: None,
        listed_to: None,
        id,
        tenant: tenant.to_owned(),
        order: WorkOrder::default(),
        algorithms: vec![Algorithm::Sha256],
        part_bytes: 0,
        max_attempts: 5,
        keep_inputs: false,
        batch_count: Some(batches),
        resolved_through: 0,
        outcomes_after: 0,
        next_sequence: batches,
        accepted_tasks: batches.into(),
        totals: Totals::default(),
        loaded: Some(loaded),
    }
}

#[test]
fn promise_9_after_a_crash_what_nobody_may_work_on_holds_up_nothing_else() {
    let mut scene = Scene::new(CoreConfig { after_crash: true, ..CoreConfig::default() });
    scene.core.control_tenant(scene.now, "paused", true, None);
    scene.core.recover(scene.now, &found(A, "paused", 100, None));
    scene.core.recover(scene.now, &found(B, "a", 100, Some("file:///elsewhere/")));
    let last = Uuid::from_u128(3);
    scene.core.recover(scene.now, &found(last, "a", 100, None));
    let worker = scene.connect(1);
    for _ in 0..100 {
        while scene.held(worker).is_some() {
            assert_eq!(scene.held(worker).map(|grant| grant.submission), Some(last));
            scene.succeed(worker);
        }
        scene.pass(Duration::from_millis(100), &[worker]);
    }
    assert_eq!(scene.core.phase(last), Some(Phase::Completing));
}

#[test]
fn after_a_crash_what_was_in_hand_within_the_last_second_is_announced_before_it_is_leased() {
    let mut scene = Scene::new(CoreConfig { after_crash: true, ..CoreConfig::default() });
    let mut recovered = found(A, "a", 1, None);
    let row = RecoveredLease { first_task: 0, task_count: 1, attempt: 1, strikes: 0, worker: Some(String::new()) };
    recovered.loaded.as_mut().unwrap().batches[0].leases.push(row);
    scene.core.recover(scene.now, &recovered);
    let worker = scene.connect(1);
    scene.pass(Duration::from_millis(100), &[worker]);
    assert!(scene.held(worker).is_some());
    let row = scene.table.get(&(A, 0, 0)).expect("it was announced");
    assert_eq!((row.strikes, row.worker.as_deref()), (1, Some("")));
}

#[test]
fn after_a_crash_a_new_batch_is_leased_only_once_it_is_stored() {
    let mut scene = Scene::new(CoreConfig { after_crash: true, ..CoreConfig::default() });
    let worker = scene.connect(1);
    scene.submit(A, "a", 1, WorkOrder::default());
    assert!(scene.held(worker).is_none());
    scene.core.stored(A, 1);
    let effects = scene.core.take_effects();
    assert!(matches!(effects[..], [Effect::Load(_)]), "{effects:?}");
    scene.pass(Duration::from_secs(60), &[worker]);
    scene.submit(B, "a", 1, WorkOrder::default());
    assert_eq!(scene.held(worker).map(|grant| grant.submission), Some(B), "it is careful for ever");
}

#[test]
fn promise_9_a_suspect_on_which_work_had_not_begun_is_not_blamed_for_the_loss_of_its_worker() {
    let mut scene = Scene::new(CoreConfig::default());
    scene.submit(A, "a", 1, WorkOrder::default());
    let lose = |scene: &mut Scene, session: u128, begins: bool| {
        let info = WorkerInfo { begins_alone: true, ..process(session) };
        let worker = scene.core.worker_connected(scene.now, info);
        scene.core.credit(scene.now, worker, 1000, 1 << 30);
        scene.effects();
        let grant = scene.granted.last().cloned().expect("the task is leased again");
        assert_eq!(grant.worker, worker);
        if begins {
            assert!(scene.core.begin_alone(worker, grant.lease));
        }
        scene.disconnect(worker);
        assert!(!scene.core.begin_alone(worker, grant.lease), "it is over");
        grant.alone
    };
    assert!(!lose(&mut scene, 1, false) && !lose(&mut scene, 2, false), "it is no suspect before two losses");
    for session in 3..20 {
        assert!(lose(&mut scene, session, false));
    }
    assert!(scene.buried.is_empty());
    assert!(lose(&mut scene, 20, true) && lose(&mut scene, 21, true));
    assert!(lose(&mut scene, 22, false));
    scene.pass(2 * LEASE, &[]);
    assert!(scene.buried.is_empty(), "two were lost by it for sure");
    assert!(lose(&mut scene, 23, true));
    scene.pass(2 * LEASE, &[]);
    assert_eq!(scene.buried, ["WORKER_LOST"]);
}
