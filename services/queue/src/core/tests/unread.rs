//! Workers that do not read, in scenes small enough to follow by hand.

use super::*;

const SHARE: u64 = 1_000;

/// A core with two workers that have credit for everything, and how many leases each was given.
struct Scene {
    core: Core,
    workers: [WorkerId; 2],
    next_sequence: u32,
}

const ID: Uuid = Uuid::from_u128(1);

impl Scene {
    fn new() -> Self {
        let mut core = Core::new(CoreConfig { unread_bytes: 2 * SHARE, ..CoreConfig::default() });
        core.create(ID, &[Algorithm::Sha256], 5);
        let workers = [0, 1].map(|_| core.worker_connected(Duration::ZERO, info()));
        workers.iter().for_each(|worker| core.credit(Duration::ZERO, *worker, u32::MAX, u64::MAX));
        Self { core, workers, next_sequence: 0 }
    }

    /// So many batches of 400 bytes come; how many each worker is given.
    fn append(&mut self, batches: u32) -> [usize; 2] {
        for _ in 0..batches {
            self.core.append(Duration::ZERO, ID, &batch(self.next_sequence, 40, false)).unwrap();
            self.next_sequence += 1;
        }
        self.granted()
    }

    fn granted(&mut self) -> [usize; 2] {
        let granted: Vec<Grant> = self
            .core
            .take_effects()
            .into_iter()
            .filter_map(|effect| if let Effect::Dispatch(grant) = effect { Some(grant) } else { None })
            .collect();
        self.workers.map(|worker| granted.iter().filter(|grant| grant.worker == worker).count())
    }

    fn unread(&mut self, worker: usize, bytes: u64) -> [usize; 2] {
        self.core.unread(Duration::ZERO, self.workers[worker], bytes);
        self.granted()
    }
}

#[test]
fn promise_8_a_worker_that_does_not_read_is_given_its_share_and_no_more_whatever_its_credit() {
    let mut scene = Scene::new();
    let [slow, quick] = scene.append(6);
    assert_eq!([slow, quick], [3, 3], "1,000 bytes each, and the lease that exceeds them");
    assert_eq!(scene.append(10), [0, 0]);
    assert_eq!(scene.unread(1, 0), [0, 3]);
    for _ in 0..2 {
        assert_eq!(scene.unread(1, 0), [0, 3], "who reads gets what the other does not");
    }
}

#[test]
fn a_worker_that_is_behind_gets_work_again_once_half_of_its_share_is_read() {
    let mut scene = Scene::new();
    scene.append(20);
    assert_eq!(scene.unread(0, 501), [0, 0]);
    assert_eq!(scene.unread(0, 500), [2, 0]);
}

#[test]
fn the_shares_of_workers_are_those_of_all_that_are_connected() {
    let mut scene = Scene::new();
    scene.core.worker_disconnected(Duration::ZERO, scene.workers[1]);
    assert_eq!(scene.append(20), [6, 0]);
}
