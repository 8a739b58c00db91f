//! Two scripted Queues that share the shards.

use std::time::Duration;

use hashmesh::{
    gateway::v1::{CreateSubmissionRequest, GetControlsRequest, GetStatsRequest, GetSubmissionRequest},
    queue::v1::{GetQueueStatsResponse, QueueProcess, ShardOwner, WatchShardsResponse},
    shards::{self, SHARDS},
    v1::{QueueStats, TenantControls},
};
use tokio::sync::watch;

use super::mesh::{ID, Mesh, Queue};

/// The shard of [`ID`].
const SHARD: u8 = 0x57 & (SHARDS - 1);

struct Shared {
    mesh: Mesh,
    other: Queue,
    pictures: watch::Sender<WatchShardsResponse>,
}

impl Shared {
    /// The first Queue owns everything; only it tells of the second.
    async fn start() -> Self {
        let (first, other) = (Queue::start().await, Queue::start().await);
        let process = |queue: &Queue| QueueProcess { process_id: vec![1; 16].into(), address: queue.url.clone() };
        let processes = vec![process(&first), process(&other)];
        let shards = vec![ShardOwner { epoch: 1, process: 1 }; usize::from(SHARDS)];
        let (pictures, told) = watch::channel(WatchShardsResponse { processes, shards });
        for queue in [&first, &other] {
            queue.script.lock().unwrap().pictures = Some(told.clone());
        }
        let urls = vec![first.url.clone()];
        let mesh = Mesh::start_with(first, urls).await;
        let shared = Self { mesh, other, pictures };
        shared.told(2).await;
        shared
    }

    /// Waits until the Gateway has heard of so many processes.
    async fn told(&self, processes: usize) {
        let heard = async {
            let mut interval = tokio::time::interval(Duration::from_millis(20));
            while self.stats().await.queue_processes.len() != processes {
                interval.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), heard).await.expect("the Gateway hears of the processes");
    }

    async fn stats(&self) -> hashmesh::gateway::v1::GetStatsResponse {
        self.mesh.client().get_stats(GetStatsRequest {}).await.unwrap().into_inner()
    }

    fn give(&self, shard: u8, process: u32) {
        self.pictures.send_modify(|picture| {
            let shard = &mut picture.shards[usize::from(shard)];
            *shard = ShardOwner { epoch: shard.epoch + 1, process };
        });
    }

    fn calls(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        let calls = |queue: &Queue| queue.script.lock().unwrap().calls.clone();
        (calls(&self.mesh.queue), calls(&self.other))
    }
}

#[tokio::test]
async fn calls_go_to_the_owner_of_their_shard_and_follow_it() {
    let shared = Shared::start().await;
    let get = || GetSubmissionRequest { submission_id: ID.to_owned() };
    shared.mesh.client().get_submission(get()).await.unwrap();
    assert_eq!(shared.calls(), (vec!["get"], vec![]));

    let key = (0..).map(|number| format!("key {number}")).find(|key| shards::of_key("default", key) == SHARD).unwrap();
    shared.give(SHARD, 2);
    // Nobody knows when the Gateway has heard of it: so it is refused where it is no more.
    shared.mesh.queue.script.lock().unwrap().refusals = vec![("get", not_owner(&shared.other.url))];
    shared.mesh.client().get_submission(get()).await.unwrap();
    let create = CreateSubmissionRequest { idempotency_key: key, ..Default::default() };
    shared.mesh.client().create_submission(create).await.unwrap();
    assert_eq!(shared.calls().1, ["get", "create"]);
}

#[tokio::test]
async fn what_all_do_is_joined_and_who_does_not_answer_is_seen() {
    let shared = Shared::start().await;
    for (queue, ready_tasks) in [(&shared.mesh.queue, 3), (&shared.other, 4)] {
        let queue_stats = Some(QueueStats { ready_tasks, ..Default::default() });
        let mut script = queue.script.lock().unwrap();
        script.stats = GetQueueStatsResponse { queue: queue_stats, ..Default::default() };
        script.controls =
            TenantControls { leased_tasks: ready_tasks, tasks_today: 10 - ready_tasks, ..Default::default() };
    }
    shared.give(5, 2);
    let heard = async {
        loop {
            let stats = shared.stats().await;
            if stats.queue_processes.iter().any(|process| process.shards == 1) {
                return stats;
            }
        }
    };
    let stats = tokio::time::timeout(Duration::from_secs(10), heard).await.unwrap();
    assert_eq!(stats.queue.unwrap().ready_tasks, 7);
    let mut seen: Vec<_> =
        stats.queue_processes.iter().map(|one| (one.shards, one.answered, one.ready_tasks)).collect();
    seen.sort_unstable();
    assert_eq!(seen, [(1, true, 4), (63, true, 3)]);
    let controls = shared.mesh.client().get_controls(GetControlsRequest {}).await.unwrap().into_inner().controls;
    let controls = controls.unwrap();
    assert_eq!((controls.leased_tasks, controls.tasks_today), (7, 7));

    // One that is in the picture and not there.
    shared.pictures.send_modify(|picture| {
        let address = "http://127.0.0.1:1".to_owned();
        picture.processes.push(QueueProcess { process_id: vec![2; 16].into(), address });
    });
    shared.told(3).await;
    let stats = shared.stats().await;
    assert_eq!(stats.queue_processes.iter().filter(|process| process.answered).count(), 2);
    assert_eq!(stats.queue.unwrap().ready_tasks, 7);
}

#[tokio::test]
async fn a_teller_that_ends_or_says_nothing_any_more_is_left_for_another() {
    let shared = Shared::start().await;
    // By its own channel, so that only one of them knows more.
    let process = |address: &str| QueueProcess { process_id: vec![3; 16].into(), address: address.to_owned() };
    let urls = [shared.mesh.queue.url.as_str(), shared.other.url.as_str(), "http://127.0.0.1:1"];
    let processes = urls.map(process).to_vec();
    let shards = vec![ShardOwner { epoch: 1, process: 1 }; usize::from(SHARDS)];
    let (silent, told) = watch::channel(WatchShardsResponse { processes, shards });
    // Who was watched so far is not asked again by the channel that ends; whoever is next tells of a third.
    for queue in [&shared.mesh.queue, &shared.other] {
        queue.script.lock().unwrap().pictures = Some(told.clone());
    }
    let Shared { mesh, other, pictures } = shared;
    drop(pictures);
    let shared = Shared { mesh, other, pictures: silent };
    shared.told(3).await;

    // Now one of the two is silent for good, and the other knows that the third has left.
    let mut picture = shared.pictures.borrow().clone();
    picture.processes.truncate(2);
    let (_newer, newer) = watch::channel(picture);
    for queue in [&shared.mesh.queue, &shared.other] {
        queue.script.lock().unwrap().pictures = Some(newer.clone());
    }
    shared.told(2).await;
}

fn not_owner(owner: &str) -> tonic::Status {
    use hashmesh::error::{Reason, StatusBuilder};
    StatusBuilder::new(Reason::NotOwner, "ask the owner").metadata("owner", owner).build()
}
