//! Several Queue processes on one database: they share the shards, take over from one another when one is gone or silent,
//! and hand over when one joins or stops (promises 1, 3, 9, 12).

use std::time::{Duration, Instant};

use hashmesh::{
    error::{Reason, reason},
    queue::v1::{
        CreateSubmissionRequest, GetSubmissionRequest, OpenSubmission, WatchShardsRequest, WatchShardsResponse,
        queue_service_client::QueueServiceClient,
    },
    shards,
    v1::SubmissionOptions,
};
use tonic::{Status, transport::Channel};
use tonic_types::StatusExt as _;

use crate::{
    history::{run::Load, runs::Runs},
    support::{
        Mesh, MeshOptions, Role, heavy,
        raw::assert_refused,
        wait::{PATIENCE, until},
    },
};

/// Five seconds of ownership, and what taking over takes on a busy machine.
pub(crate) const TAKEOVER: Duration = Duration::from_secs(10);

async fn queue(role: &Role) -> QueueServiceClient<Channel> {
    let channel = Channel::from_shared(role.url()).expect("a URL").connect().await.expect("it listens");
    QueueServiceClient::new(channel)
}

/// A key whose submission is of this shard.
fn key_of(shard: u8) -> String {
    let key = |number: u32| format!("key {number}");
    (0..).map(key).find(|key| shards::of_key("default", key) == shard).expect("there are many")
}

/// Creates a submission in this shard.
async fn create_in(role: &Role, shard: u8) -> Result<String, Status> {
    let options = SubmissionOptions { algorithms: vec![2], max_attempts: 5, ..SubmissionOptions::default() };
    let open = OpenSubmission {
        tenant: "default".to_owned(),
        options: Some(options),
        idempotency_key: key_of(shard),
        ..OpenSubmission::default()
    };
    let created = queue(role).await.create_submission(CreateSubmissionRequest { open: Some(open) }).await?;
    Ok(created.into_inner().opened.expect("the answer has it").submission_id)
}

async fn get(role: &Role, id: &str) -> Result<String, Status> {
    let get = GetSubmissionRequest { tenant: "default".to_owned(), submission_id: id.to_owned() };
    let found = queue(role).await.get_submission(get).await?.into_inner();
    Ok(found.submission.expect("the answer has it").submission_id)
}

/// What a process says about who owns the shards: the URL of each shard's owner.
fn owners(picture: &WatchShardsResponse) -> Vec<Option<String>> {
    assert_eq!(picture.shards.len(), usize::from(shards::SHARDS));
    let place = |shard: &hashmesh::queue::v1::ShardOwner| (shard.process as usize).checked_sub(1);
    picture.shards.iter().map(|shard| Some(picture.processes[place(shard)?].address.clone())).collect()
}

/// Waits until this process says that each of these owns its part of all shards, and nobody else any. Gives the owners.
pub(crate) async fn shared(role: &Role, among: &[&Role]) -> Vec<String> {
    let share = usize::from(shards::SHARDS).div_ceil(among.len());
    until("the shards to be shared", TAKEOVER + PATIENCE, async || {
        let mut pictures = queue(role).await.watch_shards(WatchShardsRequest {}).await.ok()?.into_inner();
        let picture = pictures.message().await.ok()??;
        let owners: Vec<String> = owners(&picture).into_iter().collect::<Option<_>>()?;
        let of = |role: &Role| owners.iter().filter(|owner| **owner == role.url()).count();
        let all: usize = among.iter().map(|role| of(role)).sum();
        (all == owners.len() && among.iter().all(|role| of(role) <= share)).then_some(owners)
    })
    .await
}

/// A shard of this process.
fn shard_of(owners: &[String], role: &Role) -> u8 {
    let place = owners.iter().position(|owner| *owner == role.url()).expect("it owns one");
    u8::try_from(place).expect("below 64")
}

#[track_caller]
fn assert_not_owner(status: &Status, owner: &Role) {
    assert_refused(status, Reason::NotOwner);
    let info = status.get_details_error_info().expect("an ErrorInfo");
    assert_eq!(info.metadata.get("owner"), Some(&owner.url()), "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_share_the_shards_and_name_the_owners_of_those_that_are_not_theirs() {
    let mesh = Mesh::start("shards-shared", MeshOptions::default()).await;
    let mut second = mesh.second_queue().await;
    let owners = shared(&mesh.queue, &[&mesh.queue, &second]).await;
    second.ready().await;
    assert_eq!(shared(&second, &[&mesh.queue, &second]).await, owners, "they see the same");
    for (mine, other) in [(&mesh.queue, &second), (&second, &mesh.queue)] {
        let shard = shard_of(&owners, mine);
        let id = create_in(mine, shard).await.expect("it owns the shard");
        assert_eq!(get(mine, &id).await.expect("it has it"), id);
        assert_not_owner(&get(other, &id).await.expect_err("it is another's"), mine);
        assert_not_owner(&create_in(other, shard).await.expect_err("it is another's"), mine);
    }
}

/// A mesh of three Queue processes that share the shards, with two Workers of all and a Gateway to all.
struct Three {
    mesh: Mesh,
    others: [Role; 2],
}

impl Three {
    async fn start(name: &str) -> Self {
        let mut mesh = Mesh::start(name, MeshOptions { workers: 0, ..MeshOptions::default() }).await;
        let others = [mesh.second_queue().await, mesh.second_queue().await];
        shared(&mesh.queue, &[&mesh.queue, &others[0], &others[1]]).await;
        // One is enough to hear of the others.
        mesh.gateway = mesh.gateway_to(&[&mesh.queue, &others[0]]).await;
        let seeds = [mesh.queue.url(), others[0].url()];
        for _ in 0..2 {
            mesh.add_worker_of(&seeds).await;
        }
        Self { mesh, others }
    }
}

/// Several submissions at once, so that every process has some.
const RUNS: usize = 6;

async fn start_runs(mesh: &Mesh, tasks: usize) -> Runs {
    let load = Load { tasks, batch_tasks: 100, window: 16, cut_after: tasks / 3 };
    Runs::in_their_middle(vec![vec![mesh.gateway.url()]; RUNS], load).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_1_and_2_the_others_take_over_from_a_process_that_is_killed_under_load() {
    let _turn = heavy::turn().await;
    let Three { mesh, mut others } = Three::start("owner-killed").await;
    let runs = start_runs(&mesh, 10_000).await;
    let began = Instant::now();
    others[1].process.kill();
    shared(&mesh.queue, &[&mesh.queue, &others[0]]).await;
    let took = began.elapsed();
    eprintln!("after a kill the shards had owners again within {took:?}");
    assert!(took < TAKEOVER, "{took:?}");
    runs.finish(&mesh.database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_3_a_stopped_process_that_wakes_up_gets_not_one_row_in_and_names_the_new_owners() {
    let _turn = heavy::turn().await;
    let mesh = Mesh::start("owner-stopped", MeshOptions::default()).await;
    let second = mesh.second_queue().await;
    let owners = shared(&mesh.queue, &[&mesh.queue, &second]).await;
    let shard = shard_of(&owners, &mesh.queue);
    let first_id = create_in(&mesh.queue, shard).await.expect("it owns");
    let mut old = queue(&mesh.queue).await;
    mesh.queue.process.freeze();
    shared(&second, &[&second]).await;

    // Sent while it slept, answered when it wakes up: it may still think that it owns.
    let options = SubmissionOptions { algorithms: vec![2], max_attempts: 5, ..SubmissionOptions::default() };
    let open = OpenSubmission { tenant: "default".to_owned(), options: Some(options), ..OpenSubmission::default() };
    let written = "SELECT count(*) FROM submissions";
    let before = mesh.database.value(written).await;
    let request = CreateSubmissionRequest { open: Some(open) };
    let late = tokio::spawn(async move { old.create_submission(request).await });
    mesh.queue.process.thaw();
    let late = late.await.expect("no panic");

    // It joins again, and has another part of the shards than before, or the same anew.
    let owners = shared(&second, &[&mesh.queue, &second]).await;
    match late {
        Err(status) => {
            assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
            assert_eq!(mesh.database.value(written).await, before, "a stale owner wrote");
        }
        // Asked once it had joined again: then it is in a shard that it had taken anew, and is the only one there.
        Ok(created) => {
            let id = created.into_inner().opened.expect("the answer has it").submission_id;
            until("its owner to have it", PATIENCE, async || {
                get(&mesh.queue, &id).await.or(get(&second, &id).await).ok()
            })
            .await;
        }
    }
    let (owner, other) =
        if owners[usize::from(shard)] == second.url() { (&second, &mesh.queue) } else { (&mesh.queue, &second) };
    until("the owner to have it", PATIENCE, async || get(owner, &first_id).await.ok()).await;
    let refused = until("the other to know", PATIENCE, async || match get(other, &first_id).await {
        Err(status) if reason(&status) == Some(Reason::NotOwner) => Some(status),
        _ => None,
    })
    .await;
    assert_not_owner(&refused, owner);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_12_processes_join_and_stop_under_load_and_no_task_is_lost_or_waits_for_a_lease_to_lapse() {
    let _turn = heavy::turn().await;
    let Three { mesh, mut others } = Three::start("owners-move").await;
    let runs = start_runs(&mesh, 10_000).await;
    let began = Instant::now();
    assert!(others[0].terminate().await.success());
    shared(&mesh.queue, &[&mesh.queue, &others[1]]).await;
    let took = began.elapsed();
    eprintln!("after a planned stop the shards had owners again within {took:?}");
    assert!(took < Duration::from_secs(4), "it waited for the ownership to lapse: {took:?}");
    others[0].restart().await;
    shared(&others[1], &[&mesh.queue, &others[0], &others[1]]).await;
    runs.finish(&mesh.database).await;
}
