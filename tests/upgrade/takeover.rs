//! A Queue of one version ends while others wait beside it, of the other version or of both.

use std::{path::Path, time::Instant};

use hashmesh::{
    client::{Client, ClientConfig},
    gateway::v1::{SubmitBatchRequest, submit_batch_request},
    v1::TaskRows,
};

use super::{newer, older};
use crate::{
    history::{run::Load, runs::Runs},
    ownership::TAKEOVER,
    support::{
        Mesh, MeshOptions, Role, heavy,
        raw::inline,
        wait::{PATIENCE, until},
    },
};

/// Submissions that are asked for twice.
const KEYS: usize = 64;
/// Several submissions at once.
const RUNS: usize = 4;
const LOAD: Load = Load { tasks: 10_000, batch_tasks: 100, window: 16, cut_after: 3_000 };

/// Two Queues on one database, the first of which works; a Worker of each version, and the Gateway of the first's.
struct Two {
    mesh: Mesh,
    waiting: Role,
}

impl Two {
    async fn start(name: &str, first: &Path, second: &Path) -> Self {
        let options = MeshOptions { program: first.to_owned(), workers: 0, ..MeshOptions::default() };
        let mut mesh = Mesh::start(name, options).await;
        mesh.options.program = second.to_owned();
        let waiting = mesh.second_queue().await;
        assert_eq!([&mesh.queue, &waiting].map(|queue| queue.process.executable()), [first, second]);
        let queues = [mesh.queue.url(), waiting.url()];
        mesh.add_worker_of(&queues).await;
        mesh.options.program = first.to_owned();
        mesh.add_worker_of(&queues).await;
        mesh.gateway = mesh.gateway_to(&[&mesh.queue, &waiting]).await;
        Self { mesh, waiting }
    }
}

/// Asks for a submission of many keys, of most shards. Gives their ids.
async fn submit_keyed(mesh: &Mesh) -> Vec<String> {
    let client = Client::connect(ClientConfig::new(mesh.gateway.url())).expect("a URL");
    let mut ids = Vec::new();
    for key in 0..KEYS {
        let tasks = TaskRows { tasks: vec![inline("keyed", key.to_string())] };
        let tasks = Some(submit_batch_request::Tasks::Rows(tasks));
        let idempotency_key = format!("key {key}");
        let request = SubmitBatchRequest { tasks, idempotency_key, wait: true, ..SubmitBatchRequest::default() };
        let answer = client.submit_batch(request).await.unwrap_or_else(|error| panic!("SubmitBatch: {error:?}"));
        ids.push(answer.submission.expect("the answer has it").submission_id);
    }
    ids
}

/// `first` is killed, `second` takes over.
async fn takes_over(name: &str, first: &Path, second: &Path) {
    let _turn = heavy::turn().await;
    let Two { mut mesh, mut waiting } = Two::start(name, first, second).await;
    let keyed = submit_keyed(&mesh).await;
    let runs = Runs::in_their_middle(vec![vec![mesh.gateway.url()]; RUNS], LOAD).await;
    assert_ne!(waiting.readiness().await.expect("it answers").0, 200, "it owns something beside one that lives");
    let began = Instant::now();
    mesh.queue.process.kill();
    waiting.ready().await;
    let took = began.elapsed();
    eprintln!("after a kill the other version owned the shards within {took:?}");
    assert!(took < TAKEOVER, "{took:?}");
    assert_eq!(submit_keyed(&mesh).await, keyed, "a key of the one version is not found by the other");
    runs.finish(&mesh.database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an earlier program: make upgrade-test"]
async fn promises_1_and_2_a_newer_queue_takes_over_from_an_older_one_that_is_killed_under_load() {
    takes_over("upgrade-older-killed", &older(), &newer()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an earlier program: make upgrade-test"]
async fn promises_1_and_2_an_older_queue_takes_over_from_a_newer_one_that_is_killed_under_load() {
    takes_over("upgrade-newer-killed", &newer(), &older()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an earlier program: make upgrade-test"]
async fn promises_1_and_2_queues_of_both_versions_that_wait_for_the_same_shards_come_to_one_owner_each() {
    let _turn = heavy::turn().await;
    let (older, newer) = (older(), newer());
    let Two { mut mesh, waiting } = Two::start("upgrade-both-wait", &older, &newer).await;
    let mut also_waiting = mesh.second_queue().await;
    let runs = Runs::in_their_middle(vec![vec![mesh.gateway.url()]; RUNS], LOAD).await;
    let began = Instant::now();
    assert!(mesh.queue.terminate().await.success());
    // The older one takes all or nothing; what it took of a part lapses.
    let owners = until("every shard to have an owner that works", TAKEOVER + PATIENCE, async || {
        let older_owns = matches!(also_waiting.readiness().await, Some((200, _)));
        let owned = "SELECT count(*) FROM shards JOIN shard_leases USING (shard) \
            WHERE owner IS NOT NULL AND expires_at > clock_timestamp() AND address = '";
        let of = async |role: &Role| mesh.database.value(&format!("{owned}{}'", role.url())).await;
        let owners = (of(&also_waiting).await, of(&waiting).await);
        (older_owns && owners.0 == "64" || !older_owns && owners.1 == "64").then_some(owners)
    })
    .await;
    eprintln!("the older and the newer one came to own {owners:?} within {:?}", began.elapsed());
    if owners.0 == "64" {
        assert!(also_waiting.terminate().await.success());
    }
    runs.finish(&mesh.database).await;
}
