//! When work is done: priorities, times, limits, pauses (promises 9, 10), over restarts of the Queue.

use std::time::{Duration, SystemTime};

use hashmesh::{
    error::Reason,
    gateway::v1::{
        AppendBatchRequest, Batch, CancelSubmissionRequest, CreateSubmissionRequest, GetControlsRequest,
        PauseWorkRequest, ResumeWorkRequest, SealSubmissionRequest, SetTenantLimitsRequest, SubmitBatchRequest,
        submit_batch_request,
    },
    queue::v1::{self as queue, queue_service_client::QueueServiceClient},
    v1::{EndReason, Submission, SubmissionOptions, SubmissionState, TaskRows, TenantControls, WaitReason},
};

use crate::support::{
    Gateway, Mesh, MeshOptions, cli,
    raw::{assert_refused, inline, packed},
    wait::{PATIENCE, soon, until, until_value},
};

fn priority(priority: u32) -> SubmissionOptions {
    SubmissionOptions { priority: Some(priority), ..SubmissionOptions::default() }
}

/// A submission of one batch.
async fn submit(gateway: &mut Gateway, options: SubmissionOptions, tasks: usize) -> Submission {
    let tasks = (0..tasks).map(|task| inline(&task.to_string(), task.to_string())).collect();
    let request = SubmitBatchRequest {
        options: Some(options),
        tasks: Some(submit_batch_request::Tasks::Rows(TaskRows { tasks })),
        ..SubmitBatchRequest::default()
    };
    let answer = soon("SubmitBatch", gateway.submit_batch(request)).await.expect("it is accepted");
    answer.into_inner().submission.expect("the answer has it")
}

/// A sealed submission of batches of a thousand tasks.
async fn backlog(gateway: &mut Gateway, options: SubmissionOptions, batches: u32) -> String {
    let request = CreateSubmissionRequest { options: Some(options), ..CreateSubmissionRequest::default() };
    let created = gateway.create_submission(request).await.expect("it is created").into_inner();
    let submission_id = created.opened.expect("the answer has it").submission_id;
    for sequence in 0..batches {
        let tasks = Some(packed((0..1_000).map(|task| format!("{sequence} {task}"))));
        let batch = Some(Batch { sequence, tasks, ..Batch::default() });
        let request = AppendBatchRequest { submission_id: submission_id.clone(), batch };
        soon("AppendBatch", gateway.append_batch(request)).await.expect("it is stored");
    }
    let request = SealSubmissionRequest { submission_id: submission_id.clone(), batch_count: batches };
    soon("SealSubmission", gateway.seal_submission(request)).await.expect("it is sealed");
    submission_id
}

async fn pause(gateway: &mut Gateway, everyone: bool) -> TenantControls {
    let answer = soon("PauseWork", gateway.pause_work(PauseWorkRequest { everyone })).await.expect("an answer");
    answer.into_inner().controls.expect("the answer has them")
}

async fn resume(gateway: &mut Gateway, everyone: bool) -> TenantControls {
    let answer = soon("ResumeWork", gateway.resume_work(ResumeWorkRequest { everyone })).await.expect("an answer");
    answer.into_inner().controls.expect("the answer has them")
}

async fn limit(gateway: &mut Gateway, max_leased_tasks: u32) {
    let request = SetTenantLimitsRequest { max_leased_tasks };
    soon("SetTenantLimits", gateway.set_tenant_limits(request)).await.expect("an answer");
}

async fn controls(gateway: &mut Gateway) -> TenantControls {
    let answer = soon("GetControls", gateway.get_controls(GetControlsRequest {})).await.expect("an answer");
    answer.into_inner().controls.expect("the answer has them")
}

fn ended(submission: &Submission) -> SystemTime {
    SystemTime::try_from(submission.end_time.expect("it has ended")).expect("a time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_9_urgent_work_ends_long_before_a_backlog_that_was_there_first_and_the_backlog_ends_too() {
    let mesh = Mesh::start("priorities", MeshOptions::default()).await;
    let mut gateway = mesh.connect().await;
    pause(&mut gateway, false).await;
    let slow = backlog(&mut gateway, priority(0), 200).await;
    let urgent = submit(&mut gateway, priority(9), 1).await;
    assert_eq!(urgent.options.as_ref().and_then(|options| options.priority), Some(9));
    resume(&mut gateway, false).await;
    let urgent = gateway.reaches(&urgent.submission_id, SubmissionState::Completed).await;
    let slow = gateway.reaches(&slow, SubmissionState::Completed).await;
    assert_eq!((urgent.succeeded_tasks, slow.succeeded_tasks), (1, 200_000));
    assert!(ended(&urgent) < ended(&slow), "{urgent:?} {slow:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_outlives_the_queue_is_shown_and_ends_when_told() {
    let mut mesh = Mesh::start("pause", MeshOptions::default()).await;
    let mut gateway = mesh.connect().await;
    assert_eq!(controls(&mut gateway).await, TenantControls::default());
    assert!(pause(&mut gateway, false).await.paused);
    assert!(pause(&mut gateway, true).await.everyone_paused);
    limit(&mut gateway, 7).await;
    let id = submit(&mut gateway, SubmissionOptions::default(), 10).await.submission_id;
    assert_eq!(gateway.submission(&id).await.wait_reason(), WaitReason::Paused);

    mesh.queue.restart().await;
    mesh.queue.ready().await;
    mesh.workers[0].ready().await;
    let expected =
        TenantControls { paused: true, everyone_paused: true, max_leased_tasks: 7, ..TenantControls::default() };
    // What was counted in the last second may be forgotten.
    let found = controls(&mut gateway).await;
    assert_eq!(TenantControls { tasks_today: 0, bytes_today: 0, ..found }, expected);
    assert!(!resume(&mut gateway, false).await.paused);
    let still = gateway.submission(&id).await;
    assert_eq!((still.wait_reason(), still.recorded_tasks), (WaitReason::Paused, 0), "everyone is paused still");
    assert!(!resume(&mut gateway, true).await.everyone_paused);
    let end = gateway.reaches(&id, SubmissionState::Completed).await;
    assert_eq!((end.succeeded_tasks, end.end_reason()), (10, EndReason::Unspecified));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_10_a_pause_or_a_limit_of_one_tenant_does_not_touch_another() {
    let mesh = Mesh::start("tenants", MeshOptions::default()).await;
    let mut queue = QueueServiceClient::connect(mesh.queue.url()).await.expect("it answers");
    let mut gateway = mesh.connect().await;
    let other = |paused| queue::SetControlsRequest {
        tenant: "other".to_owned(),
        paused,
        max_leased_tasks: Some(1),
        ..queue::SetControlsRequest::default()
    };
    let answer = queue.set_controls(other(Some(true))).await.expect("an answer").into_inner();
    let expected = TenantControls { paused: true, max_leased_tasks: 1, ..TenantControls::default() };
    assert_eq!(answer.controls, Some(expected));
    assert_eq!(controls(&mut gateway).await, TenantControls::default());
    let mine = submit(&mut gateway, SubmissionOptions::default(), 100).await;
    gateway.reaches(&mine.submission_id, SubmissionState::Completed).await;
    // A change of one thing leaves the other as it is.
    let answer = queue.set_controls(queue::SetControlsRequest { max_leased_tasks: None, ..other(Some(false)) }).await;
    let controls = answer.expect("an answer").into_inner().controls.expect("the answer has them");
    assert_eq!((controls.paused, controls.max_leased_tasks), (false, 1));
    let nobody = queue.set_controls(queue::SetControlsRequest::default()).await.expect_err("whose?");
    assert_refused(&nobody, Reason::InvalidArgument);
    let request = SetTenantLimitsRequest { max_leased_tasks: i32::MAX as u32 + 1 };
    assert_refused(&gateway.set_tenant_limits(request).await.expect_err("too many"), Reason::InvalidArgument);
    limit(&mut gateway, i32::MAX as u32).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_task_is_done_before_its_time_even_if_the_queue_starts_anew_meanwhile() {
    let mut mesh = Mesh::start("not-before", MeshOptions::default()).await;
    let mut gateway = mesh.connect().await;
    let not_before = SystemTime::now() + Duration::from_secs(6);
    let options = SubmissionOptions { not_before: Some(not_before.into()), ..SubmissionOptions::default() };
    let id = submit(&mut gateway, options, 10).await.submission_id;
    let before = gateway.submission(&id).await;
    mesh.queue.restart().await;
    mesh.queue.ready().await;
    if SystemTime::now() < not_before - Duration::from_secs(1) {
        assert_eq!(before.wait_reason(), WaitReason::NotBefore);
    }
    let end = gateway.reaches(&id, SubmissionState::Completed).await;
    // Stored in microseconds; the end is the database's time, on the same machine.
    assert!(ended(&end) + Duration::from_micros(1) >= not_before, "{end:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_cancels_what_has_not_ended_even_if_it_passes_while_no_queue_runs() {
    let mut mesh = Mesh::start("deadline", MeshOptions::default()).await;
    let mut gateway = mesh.connect().await;
    pause(&mut gateway, false).await;
    let deadline = SystemTime::now() + Duration::from_secs(2);
    let options = SubmissionOptions { deadline: Some(deadline.into()), ..SubmissionOptions::default() };
    let passes = submit(&mut gateway, options.clone(), 10).await.submission_id;
    let late = SubmissionOptions { deadline: Some(SystemTime::UNIX_EPOCH.into()), ..SubmissionOptions::default() };
    let late = submit(&mut gateway, late, 10).await.submission_id;
    let by_caller = submit(&mut gateway, SubmissionOptions::default(), 10).await.submission_id;
    let cancel = CancelSubmissionRequest { submission_id: by_caller.clone() };
    gateway.cancel_submission(cancel).await.expect("an answer");
    let end = gateway.reaches(&late, SubmissionState::Cancelled).await;
    assert_eq!((end.end_reason(), end.cancelled_tasks), (EndReason::Deadline, 10));

    mesh.queue.process.kill();
    until("the deadline to pass", PATIENCE, async || (SystemTime::now() > deadline).then_some(())).await;
    mesh.queue.restart().await;
    mesh.queue.ready().await;
    let end = gateway.reaches(&passes, SubmissionState::Cancelled).await;
    assert_eq!((end.end_reason(), end.cancelled_tasks), (EndReason::Deadline, 10));
    assert_eq!(gateway.submission(&by_caller).await.end_reason(), EndReason::Caller);
    // One that ends in time is not touched.
    resume(&mut gateway, false).await;
    let far = SystemTime::now() + Duration::from_secs(3_600);
    let options = SubmissionOptions { deadline: Some(far.into()), ..SubmissionOptions::default() };
    let in_time = submit(&mut gateway, options, 10).await.submission_id;
    gateway.reaches(&in_time, SubmissionState::Completed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_hold_no_more_tasks_than_a_submission_and_its_tenant_allow() {
    let mesh = Mesh::start("leased", MeshOptions::default()).await;
    let mut gateway = mesh.connect().await;
    mesh.workers[0].process.freeze();
    limit(&mut gateway, 5).await;
    let own = SubmissionOptions { max_leased_tasks: 2, ..SubmissionOptions::default() };
    let first = submit(&mut gateway, own, 100).await;
    assert_eq!(first.options.as_ref().map(|options| options.max_leased_tasks), Some(2));
    let leased = async |gateway: &mut Gateway, wanted: u64| {
        let what = format!("{wanted} leased tasks");
        until_value(&what, PATIENCE, async || controls(gateway).await.leased_tasks, |leased| *leased == wanted).await;
    };
    leased(&mut gateway, 2).await;
    let second = submit(&mut gateway, SubmissionOptions::default(), 100).await;
    leased(&mut gateway, 5).await;
    mesh.workers[0].process.thaw();
    limit(&mut gateway, 0).await;
    for submission in [first, second] {
        let end = gateway.reaches(&submission.submission_id, SubmissionState::Completed).await;
        assert_eq!(end.succeeded_tasks, 100);
    }
    assert_eq!(controls(&mut gateway).await.leased_tasks, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_says_when_work_is_done_and_pauses_it() {
    let mesh = Mesh::start("order-cli", MeshOptions::default()).await;
    let server = mesh.gateway.url();
    let run = |arguments: &[&str]| cli::hashmesh(arguments.iter().copied()).arg("--server").arg(&server);
    let paused = run(&["pause", "--output", "json"]).run().await.succeeded().json();
    assert_eq!(paused["paused"], true);
    let arguments = ["submit", "--lines", "-", "--detach", "--priority", "9", "--not-before", "2020-01-02T03:04:05Z"];
    let more = ["--deadline", "2h", "--max-leased-tasks", "3"];
    let ended = run(&[&arguments[..], &more[..]].concat()).stdin("a\nb\n").run().await.succeeded();
    let id = ended.text().trim().to_owned();
    let shown = run(&["get", &id, "--output", "json"]).run().await.succeeded().json();
    assert_eq!((&shown["priority"], &shown["max_leased_tasks"]), (&9.into(), &3.into()));
    assert_eq!((&shown["not_before"], &shown["wait_reason"]), (&"2020-01-02T03:04:05.000Z".into(), &"paused".into()));
    assert!(shown["deadline"].is_string());
    let limited = run(&["controls", "--max-leased-tasks", "4", "--output", "json"]).run().await.succeeded().json();
    assert_eq!((&limited["paused"], &limited["max_leased_tasks"]), (&true.into(), &4.into()));
    run(&["resume"]).run().await.succeeded();
    let text = run(&["controls"]).run().await.succeeded().text();
    assert!(text.contains("paused: false"), "{text}");
    mesh.connect().await.reaches(&id, SubmissionState::Completed).await;
}
