//! Two Queue processes on one database: one owns, the other waits, and takes over when the first is gone or silent
//! (promises 1, 3, 9).

use std::time::{Duration, Instant};

use hashmesh::{
    error::Reason,
    queue::v1::{
        CreateSubmissionRequest, GetSubmissionRequest, OpenSubmission, queue_service_client::QueueServiceClient,
    },
    v1::SubmissionOptions,
};
use tonic::{Status, transport::Channel};
use tonic_types::StatusExt as _;

use crate::{
    history::{
        check::check,
        run::{Load, Run},
    },
    support::{
        Mesh, MeshOptions, Role, heavy,
        raw::assert_refused,
        wait::{PATIENCE, until},
    },
};

/// Five seconds of ownership, and what taking over takes on a busy machine.
const TAKEOVER: Duration = Duration::from_secs(10);

async fn queue(role: &Role) -> QueueServiceClient<Channel> {
    let channel = Channel::from_shared(role.url()).expect("a URL").connect().await.expect("it listens");
    QueueServiceClient::new(channel)
}

async fn create(role: &Role) -> Result<String, Status> {
    let options = SubmissionOptions { algorithms: vec![2], max_attempts: 5, ..SubmissionOptions::default() };
    let open = OpenSubmission { tenant: "default".to_owned(), options: Some(options), ..OpenSubmission::default() };
    let created = queue(role).await.create_submission(CreateSubmissionRequest { open: Some(open) }).await?;
    Ok(created.into_inner().opened.expect("the answer has it").submission_id)
}

/// Waits until a Queue takes writes, which takes a takeover at most.
async fn takes_over(role: &Role) -> Duration {
    let started = Instant::now();
    until("the second queue to take over", TAKEOVER, async || create(role).await.ok()).await;
    started.elapsed()
}

#[track_caller]
fn assert_not_owner(status: &Status, owner: &Role) {
    assert_refused(status, Reason::NotOwner);
    let info = status.get_details_error_info().expect("an ErrorInfo");
    assert_eq!(info.metadata.get("owner"), Some(&owner.url()), "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_queue_waits_and_names_the_owner() {
    let mesh = Mesh::start("second-waits", MeshOptions::default()).await;
    let second = mesh.second_queue().await;
    let not_owner = until("the second queue to answer", PATIENCE, async || match create(&second).await {
        Err(status) if hashmesh::error::reason(&status) == Some(Reason::NotOwner) => Some(status),
        Err(_) => None,
        Ok(id) => panic!("two owners: the second one made {id}"),
    })
    .await;
    assert_not_owner(&not_owner, &mesh.queue);
    let (code, page) = second.readiness().await.expect("it answers");
    assert_eq!(code, 503, "{page}");
    create(&mesh.queue).await.expect("the owner goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_1_a_second_queue_takes_over_when_the_first_is_killed_under_load() {
    let _turn = heavy::turn().await;
    let mut mesh = Mesh::start("owner-killed", MeshOptions { workers: 0, ..MeshOptions::default() }).await;
    let second = mesh.second_queue().await;
    let gateway = mesh.gateway_to(&[&mesh.queue, &second]).await;
    mesh.add_worker_of(&[mesh.queue.url(), second.url()]).await;
    let load = Load { tasks: 60_000, batch_tasks: 300, window: 16, cut_after: 20_000 };
    let mut run = Run::start(&gateway.url(), load);
    run.acknowledged(run.batch_count / 3).await;
    mesh.queue.process.kill();
    assert!(!run.all_acknowledged(), "the kill came too late to matter");
    let database = mesh.database.clone();
    let (history, outages) = run.finish(&database).await;
    assert!(outages >= 1, "nobody noticed");
    check(&history).assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_3_a_stopped_owner_that_is_continued_cannot_write_and_names_the_new_one() {
    let _turn = heavy::turn().await;
    let mesh = Mesh::start("owner-stopped", MeshOptions::default()).await;
    let first_id = create(&mesh.queue).await.expect("it owns");
    let mut old = queue(&mesh.queue).await;
    let second = mesh.second_queue().await;
    mesh.queue.process.freeze();
    takes_over(&second).await;

    // Sent while it slept, answered when it wakes up: it may still think that it owns.
    let options = SubmissionOptions { algorithms: vec![2], max_attempts: 5, ..SubmissionOptions::default() };
    let open = OpenSubmission { tenant: "default".to_owned(), options: Some(options), ..OpenSubmission::default() };
    let count = "SELECT count(*) FROM submissions";
    let before = mesh.database.value(count).await;
    let mut sleeping = old.clone();
    let request = CreateSubmissionRequest { open: Some(open) };
    let late = tokio::spawn(async move { sleeping.create_submission(request).await });
    mesh.queue.process.thaw();
    let status = late.await.expect("no panic").expect_err("a stale owner must not write");
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
    assert_eq!(mesh.database.value(count).await, before, "a stale owner wrote");

    let get = GetSubmissionRequest { tenant: "default".to_owned(), submission_id: first_id.clone() };
    let not_owner = until("the old owner to know", PATIENCE, async || match old.get_submission(get.clone()).await {
        Err(status) if hashmesh::error::reason(&status) == Some(Reason::NotOwner) => Some(status),
        _ => None,
    })
    .await;
    assert_not_owner(&not_owner, &second);
    let found = queue(&second).await.get_submission(get).await.expect("the new owner has it");
    assert_eq!(found.into_inner().submission.expect("the answer has it").submission_id, first_id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_12_a_planned_stop_hands_over_at_once() {
    let _turn = heavy::turn().await;
    let mut mesh = Mesh::start("owner-stops", MeshOptions::default()).await;
    let second = mesh.second_queue().await;
    assert!(mesh.queue.terminate().await.success());
    // No lease runs out: it was given back.
    let took = takes_over(&second).await;
    assert!(took < Duration::from_secs(4), "a handover took {took:?}");
}
