//! Tasks that kill or hang whoever works on them, among thousands of others (promises 2 and 9): each ends as the only dead
//! letter, at the price of a stated number of workers.

use std::time::Instant;

use hashmesh::{
    gateway::v1::{
        GetSubmissionRequest, SubmitBatchRequest, gateway_service_client::GatewayServiceClient, submit_batch_request,
    },
    v1::{Outcome, OutcomeStatus, SubmissionState, Task, TaskRows},
};

use crate::{
    ownership::shared,
    support::{
        Gateway, Mesh, MeshOptions, Up, cli, heavy,
        raw::{inline, packed},
        wait::{PATIENCE, until},
    },
};

const TASKS: u32 = 10_000;
const POISONOUS: u32 = TASKS / 3;

/// Batches of `batch_tasks`, one task among them poisonous; gives the submission's id.
async fn submit(gateway: &Gateway, batch_tasks: u32, kind: &str) -> String {
    let (mut stream, opened) = gateway.open_new().await;
    let input = |task: u32| {
        if task == POISONOUS { format!("hashmesh-poison:{kind}").into_bytes() } else { task.to_le_bytes().to_vec() }
    };
    let batches = TASKS / batch_tasks;
    for sequence in 0..batches {
        let first = sequence * batch_tasks;
        stream.batch(sequence, packed((first..first + batch_tasks).map(input))).await;
    }
    stream.seal(batches).await;
    stream.finish();
    let (_, ended) = stream.end().await;
    ended.expect("all of it is accepted");
    opened.submission_id
}

/// What every range of n tasks may cost.
fn bound(batch_tasks: u32) -> u32 {
    2 + batch_tasks.next_power_of_two().ilog2() + 3
}

fn assert_only_dead_letter(outcomes: &[Outcome], reason: &str) {
    assert_eq!(outcomes.len(), TASKS as usize);
    let failed: Vec<&Outcome> =
        outcomes.iter().filter(|outcome| outcome.status() != OutcomeStatus::Succeeded).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0].error.as_ref().map(|error| error.reason.as_str()), Some(reason), "{:?}", failed[0]);
}

fn options(threads: usize) -> MeshOptions {
    let worker_environment = vec![("HASHMESH_POISON".to_owned(), "1".to_owned())];
    MeshOptions { threads, worker_environment, ..MeshOptions::default() }
}

/// Starts workers again that end, until the submission has ended; counts how often.
async fn survive(mesh: &mut Mesh, id: &str, batch_tasks: u32, address_space: Option<u64>) {
    let mut gateway = mesh.connect().await;
    let mut deaths = 0;
    let began = Instant::now();
    loop {
        if let Some(bytes) = address_space {
            let pid = mesh.workers[0].process.pid().to_string();
            // One that has just died is started again below.
            let limit = format!("--as={bytes}");
            let _ = cli::program("prlimit", ["--pid", pid.as_str(), limit.as_str()]).run().await;
        }
        let ended = until("the worker or the submission to end", PATIENCE, async || {
            if mesh.workers[0].process.exited().is_some() {
                return Some(false);
            }
            (gateway.submission(id).await.state() == SubmissionState::Completed).then_some(true)
        })
        .await;
        if ended {
            let (bound, elapsed) = (bound(batch_tasks), began.elapsed());
            println!("batches of {batch_tasks}: {deaths} of at most {bound} deaths in {elapsed:?}");
            return;
        }
        deaths += 1;
        assert!(deaths <= bound(batch_tasks), "{deaths} workers died of a batch of {batch_tasks}");
        mesh.workers[0].restart().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_9_a_task_that_aborts_its_worker_is_the_only_dead_letter_of_ten_thousand() {
    let _turn = heavy::turn().await;
    let mut mesh = Mesh::start("poison-abort", MeshOptions { workers: 1, ..options(1) }).await;
    let mut gateway = mesh.connect().await;
    let id = submit(&gateway, 1_000, "abort").await;
    survive(&mut mesh, &id, 1_000, None).await;
    assert_only_dead_letter(&gateway.outcomes_after(&id, 0).await, "WORKER_LOST");
    assert_eq!(mesh.database.value("SELECT COUNT(*) FROM tasks WHERE status = 'failed'").await, "1");
}

/// Submissions at once, and in which of them a task kills its worker.
const SUBMISSIONS: usize = 6;
const GUILTY: std::ops::Range<usize> = 0..3;
/// Each task is a batch, and thus a lease.
const SINGLES: u32 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_9_what_the_task_of_one_owner_does_to_a_worker_is_blamed_on_no_task_of_another() {
    let _turn = heavy::turn().await;
    let mut mesh = Mesh::start("poison-owners", MeshOptions { workers: 0, ..options(1) }).await;
    let second = mesh.second_queue().await;
    shared(&second, &[&mesh.queue, &second]).await;
    mesh.gateway = mesh.gateway_to(&[&mesh.queue, &second]).await;
    mesh.add_worker_of(&[mesh.queue.url(), second.url()]).await;
    let mut gateway = mesh.connect().await;
    let mut ids = Vec::new();
    for submission in 0..SUBMISSIONS {
        let (mut stream, opened) = gateway.open_new().await;
        for task in 0..SINGLES {
            let kills = GUILTY.contains(&submission) && task == 1;
            let input = if kills { b"hashmesh-poison:abort".to_vec() } else { task.to_le_bytes().to_vec() };
            stream.batch(task, packed([input].into_iter())).await;
        }
        stream.seal(SINGLES).await;
        stream.finish();
        stream.end().await.1.expect("all of it is accepted");
        ids.push(opened.submission_id);
    }
    let mut deaths = 0;
    for id in &ids {
        while gateway.submission(id).await.state() != SubmissionState::Completed {
            let ended = until("the worker or a submission to end", PATIENCE, async || {
                let died = mesh.workers[0].process.exited().is_some();
                let over = gateway.submission(id).await.state() == SubmissionState::Completed;
                (died || over).then_some(died)
            });
            if ended.await {
                deaths += 1;
                assert!(deaths <= 5 * GUILTY.len(), "{deaths} workers died of {} tasks", GUILTY.len());
                mesh.workers[0].restart().await;
            }
        }
    }
    println!("{} tasks that kill, two owners: {deaths} deaths", GUILTY.len());
    for (submission, id) in ids.iter().enumerate() {
        let outcomes = gateway.outcomes_after(id, 0).await;
        let failed: Vec<u32> = outcomes
            .iter()
            .filter(|outcome| outcome.status() != OutcomeStatus::Succeeded)
            .map(|outcome| outcome.sequence)
            .collect();
        let guilty: &[u32] = if GUILTY.contains(&submission) { &[1] } else { &[] };
        assert_eq!(failed, guilty, "submission {submission}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_9_a_task_that_eats_its_workers_memory_is_the_only_dead_letter_of_ten_thousand() {
    let _turn = heavy::turn().await;
    let mut mesh = Mesh::start("poison-memory", MeshOptions { workers: 1, ..options(2) }).await;
    let mut gateway = mesh.connect().await;
    let id = submit(&gateway, 100, "memory").await;
    survive(&mut mesh, &id, 100, Some(4 << 30)).await;
    assert_only_dead_letter(&gateway.outcomes_after(&id, 0).await, "WORKER_LOST");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_9_a_task_that_never_returns_is_the_only_dead_letter_of_ten_thousand() {
    let _turn = heavy::turn().await;
    let stall = vec![("HASHMESH_STALL_TIMEOUT".to_owned(), "1s".to_owned())];
    let mut mesh = Mesh::start("poison-loop", MeshOptions { workers: 1, queue_environment: stall, ..options(1) }).await;
    let mut gateway = mesh.connect().await;
    let id = submit(&gateway, 10, "loop").await;
    survive(&mut mesh, &id, 10, None).await;
    assert_only_dead_letter(&gateway.outcomes_after(&id, 0).await, "WORKER_STALLED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_9_a_task_that_aborts_the_whole_mesh_is_the_only_dead_letter_once_that_was_started_often_enough() {
    let _turn = heavy::turn().await;
    let environment = [("HASHMESH_POISON".to_owned(), "1".to_owned())];
    let mut up = Up::start_in("poison-up", &["--threads", "1"], &environment).await;
    let tasks: Vec<Task> = (0..TASKS)
        .map(|task| match task {
            POISONOUS => inline("poison", &b"hashmesh-poison:abort"[..]),
            task => inline(&task.to_string(), task.to_le_bytes().to_vec()),
        })
        .collect();
    let request = SubmitBatchRequest {
        idempotency_key: "poison".to_owned(),
        tasks: Some(submit_batch_request::Tasks::Rows(TaskRows { tasks })),
        ..SubmitBatchRequest::default()
    };
    let mut deaths = 0;
    let id = loop {
        // The mesh may die before it answers, or as soon as it has.
        if let Some(id) = completed(&mut up, &request).await {
            break id;
        }
        until("the mesh to end", PATIENCE, async || up.ended().then_some(())).await;
        deaths += 1;
        while !up.start_again().await {
            deaths += 1;
        }
        assert!(deaths <= bound(TASKS), "the mesh died {deaths} times");
    };
    println!("up, a batch of {TASKS}: {deaths} of at most {} deaths", bound(TASKS));
    let mut gateway = Gateway::connect(&up.server).await;
    assert_only_dead_letter(&gateway.outcomes_after(&id, 0).await, "WORKER_LOST");
    assert!(up.terminate().await.success());
}

/// The submission's id, once it is completed; `None` if the mesh is gone before.
async fn completed(up: &mut Up, request: &SubmitBatchRequest) -> Option<String> {
    let endpoint = tonic::transport::Channel::from_shared(up.server.clone()).expect("a URL");
    let mut gateway = GatewayServiceClient::new(endpoint.connect_lazy());
    // One that has just started may ask to be asked again.
    let submission = until("the mesh to take the batch, or to end", PATIENCE, async || {
        if up.ended() {
            return Some(None);
        }
        match gateway.submit_batch(request.clone()).await {
            Ok(answer) => Some(answer.into_inner().submission),
            Err(status) => {
                println!("not taken: {}", status.message());
                None
            }
        }
    })
    .await?;
    let ask = GetSubmissionRequest { submission_id: submission.submission_id.clone() };
    until("the submission to be completed, or the mesh to end", PATIENCE, async || {
        if up.ended() {
            return Some(None);
        }
        let found = gateway.get_submission(ask.clone()).await.ok()?.into_inner().submission?;
        (found.state() == SubmissionState::Completed).then_some(Some(found.submission_id))
    })
    .await
}
