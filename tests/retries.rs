//! Tasks that fail: attempts, back-off, dead letters, and trying those again (promises 2, 7, 9).

use std::{
    fs,
    io::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use hashmesh::{
    error::Reason,
    gateway::v1::{ListSubmissionsRequest, RetryTasksRequest, SubmitBatchRequest, submit_batch_request},
    v1::{Outcome, OutcomeStatus, Submission, SubmissionOptions, SubmissionState, Task, TaskRows, WaitReason},
};

use crate::support::{
    Gateway, Mesh, MeshOptions,
    oracle::sha256_hex,
    raw::{assert_refused, file, inline},
    rundir,
    wait::{PATIENCE, soon, until},
};

async fn submit(gateway: &mut Gateway, max_attempts: u32, tasks: Vec<Task>) -> Submission {
    let request = SubmitBatchRequest {
        options: Some(SubmissionOptions { max_attempts, ..SubmissionOptions::default() }),
        tasks: Some(submit_batch_request::Tasks::Rows(TaskRows { tasks })),
        ..SubmitBatchRequest::default()
    };
    let answer = soon("SubmitBatch", gateway.submit_batch(request)).await.expect("it is accepted");
    answer.into_inner().submission.expect("the answer has it")
}

async fn retry(gateway: &mut Gateway, id: &str, key: &str) -> Result<Submission, tonic::Status> {
    let request = RetryTasksRequest { submission_id: id.to_owned(), idempotency_key: key.to_owned() };
    Ok(gateway.retry_tasks(request).await?.into_inner().submission.expect("the answer has it"))
}

fn named<'a>(outcomes: &'a [Outcome], name: &str) -> &'a Outcome {
    outcomes.iter().find(|outcome| outcome.name == name).unwrap_or_else(|| panic!("{name} has no outcome"))
}

#[track_caller]
fn assert_failed(outcome: &Outcome, reason: &str, attempt: u32) {
    assert_eq!(outcome.status(), OutcomeStatus::Failed, "{outcome:?}");
    let error = outcome.error.as_ref().expect("it says why");
    assert_eq!((error.reason.as_str(), outcome.attempt), (reason, attempt), "{outcome:?}");
    assert!(!error.message.is_empty() && outcome.digests.is_empty(), "{outcome:?}");
}

/// Something that changes a file for as long as it is kept.
#[derive(Debug)]
struct Restless {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Restless {
    fn start(path: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut file = fs::OpenOptions::new().append(true).open(path).expect("it is there");
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                file.write_all(b"x").expect("there is room");
                std::thread::yield_now();
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Restless {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_7_a_file_that_changes_while_it_is_read_fails_each_attempt_and_succeeds_once_it_rests() {
    let root = rundir::directory("restless");
    let path = root.join("restless");
    // A hole, long enough to read that whoever changes it gets its turn during every attempt, however busy the machine.
    fs::File::create(&path).and_then(|file| file.set_len(256 * 1024 * 1024)).expect("a file");
    let mesh = Mesh::start("restless", MeshOptions { sources: vec![root.clone()], ..MeshOptions::default() }).await;
    let mut gateway = mesh.connect().await;
    let restless = Restless::start(&path);
    let tasks = vec![inline("before", "a"), file("restless", &path), inline("after", "b")];
    let submitted = submit(&mut gateway, 3, tasks).await;
    let end = gateway.reaches(&submitted.submission_id, SubmissionState::Completed).await;
    assert_eq!((end.succeeded_tasks, end.failed_tasks), (2, 1));
    let outcomes = gateway.outcomes_after(&submitted.submission_id, 0).await;
    assert_failed(named(&outcomes, "restless"), "SOURCE_CHANGED", 3);
    assert_eq!(named(&outcomes, "before").attempt, 1);
    let retried = gateway.get_stats(hashmesh::gateway::v1::GetStatsRequest {}).await.expect("an answer").into_inner();
    assert_eq!(retried.queue.expect("it has one").retried_tasks, 2);

    drop(restless);
    let content = fs::read(&path).expect("it is there");
    let again = retry(&mut gateway, &submitted.submission_id, "").await.expect("it has a dead letter");
    assert_eq!((again.retry_of.as_str(), again.accepted_tasks), (submitted.submission_id.as_str(), 1));
    gateway.reaches(&again.submission_id, SubmissionState::Completed).await;
    let outcomes = gateway.outcomes_after(&again.submission_id, 0).await;
    assert_eq!(named(&outcomes, "restless").digests[0].hex, sha256_hex(&content));
    // The old one has not changed.
    assert_eq!(gateway.submission(&submitted.submission_id).await, end);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permanent_errors_are_not_tried_again_and_dead_letters_are_retried_on_request() {
    let root = rundir::directory("dead-letters");
    let (denied, missing) = (root.join("denied"), root.join("missing"));
    fs::write(&denied, "denied").expect("a file");
    crate::support::tree::make_unreadable(&denied);
    fs::create_dir(root.join("directory")).expect("a directory");
    fs::write(root.join("short"), "short").expect("a file");
    let mut beyond = file("beyond", &root.join("short"));
    if let Some(hashmesh::v1::task::Source::Object(object)) = &mut beyond.source {
        object.range = Some(hashmesh::v1::ByteRange { offset: 3, length: 3 });
    }
    let mesh = Mesh::start("dead-letters", MeshOptions { sources: vec![root.clone()], ..MeshOptions::default() }).await;
    let mut gateway = mesh.connect().await;
    let tasks = vec![
        file("denied", &denied),
        inline("fine", "a"),
        file("missing", &missing),
        file("directory", &root.join("directory")),
        beyond,
    ];
    let started = Instant::now();
    let submitted = submit(&mut gateway, 20, tasks).await;
    let id = submitted.submission_id;
    assert_refused(&retry_unless_ended(&mut gateway, &id).await, Reason::SubmissionNotCompleted);
    let end = gateway.reaches(&id, SubmissionState::Completed).await;
    assert!(started.elapsed() < Duration::from_secs(10), "twenty attempts would have taken longer");
    assert_eq!((end.succeeded_tasks, end.failed_tasks), (1, 4));
    let outcomes = gateway.outcomes_after(&id, 0).await;
    assert_failed(named(&outcomes, "denied"), "SOURCE_DENIED", 1);
    assert_failed(named(&outcomes, "missing"), "SOURCE_NOT_FOUND", 1);
    assert_failed(named(&outcomes, "directory"), "SOURCE_NOT_REGULAR", 1);
    assert_failed(named(&outcomes, "beyond"), "SOURCE_TOO_SHORT", 1);

    fs::write(&missing, "found").expect("a file");
    let again = retry(&mut gateway, &id, "again").await.expect("it has dead letters");
    assert_eq!((again.accepted_tasks, again.options), (4, end.options.clone()));
    let second = gateway.reaches(&again.submission_id, SubmissionState::Completed).await;
    assert_eq!((second.succeeded_tasks, second.failed_tasks), (1, 3));
    let outcomes = gateway.outcomes_after(&again.submission_id, 0).await;
    assert_eq!(named(&outcomes, "missing").digests[0].hex, sha256_hex(b"found"));
    // In the order of the failed tasks.
    let mut names: Vec<(u32, &str)> = outcomes.iter().map(|outcome| (outcome.task, outcome.name.as_str())).collect();
    names.sort_unstable();
    assert_eq!(names.iter().map(|(_, name)| *name).collect::<Vec<_>>(), ["denied", "missing", "directory", "beyond"]);

    // A rerun with the key finds it; without one there is another.
    let same = retry(&mut gateway, &id, "again").await.expect("it is found");
    assert_eq!(same.submission_id, again.submission_id);
    let other = retry(&mut gateway, &id, "").await.expect("it has dead letters");
    assert_ne!(other.submission_id, again.submission_id);
    let listed = ListSubmissionsRequest { retry_of: id.clone(), ..ListSubmissionsRequest::default() };
    let listed = gateway.list_submissions(listed).await.expect("a page").into_inner().submissions;
    let ids: Vec<&str> = listed.iter().map(|one| one.submission_id.as_str()).collect();
    assert_eq!(ids, [other.submission_id.as_str(), again.submission_id.as_str()]);
    // The key names the retry of that submission, and of no other.
    gateway.reaches(&other.submission_id, SubmissionState::Completed).await;
    let status = retry(&mut gateway, &other.submission_id, "again").await.expect_err("the key is another's");
    assert_refused(&status, Reason::IdempotencyConflict);

    let fine = submit(&mut gateway, 1, vec![inline("fine", "a")]).await;
    gateway.reaches(&fine.submission_id, SubmissionState::Completed).await;
    let status = retry(&mut gateway, &fine.submission_id, "").await.expect_err("nothing failed");
    assert_refused(&status, Reason::NothingToRetry);
}

/// The refusal of a retry of a submission that runs: one that waits for a worker runs for ever.
async fn retry_unless_ended(gateway: &mut Gateway, _ended: &str) -> tonic::Status {
    let outside = file("outside", Path::new("/outside/of/every/root"));
    let running = submit(gateway, 1, vec![outside]).await;
    retry(gateway, &running.submission_id, "").await.expect_err("it runs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_9_tasks_wait_for_a_worker_that_may_read_them_and_are_done_once_it_comes() {
    let root = rundir::directory("waits");
    fs::write(root.join("file"), "content").expect("a file");
    let mut mesh = Mesh::start("waits", MeshOptions::default()).await;
    let mut gateway = mesh.connect().await;
    let submitted = submit(&mut gateway, 1, vec![file("file", &root.join("file"))]).await;
    let id = submitted.submission_id;
    until("it to wait", PATIENCE, async || {
        (gateway.submission(&id).await.wait_reason() == WaitReason::WaitingForWorker).then_some(())
    })
    .await;
    mesh.options.sources = vec![root.clone()];
    mesh.add_worker().await;
    let end = gateway.reaches(&id, SubmissionState::Completed).await;
    assert_eq!((end.succeeded_tasks, end.wait_reason()), (1, WaitReason::Unspecified));
    let outcomes = gateway.outcomes_after(&id, 0).await;
    assert_eq!((named(&outcomes, "file").attempt, outcomes[0].digests[0].hex.clone()), (1, sha256_hex(b"content")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_of_files_are_hashed_and_only_they() {
    let root = rundir::directory("ranges");
    let path = root.join("file");
    let content: Vec<u8> = (0..200_000_u32).map(|index| (index % 239) as u8).collect();
    fs::write(&path, &content).expect("a file");
    let mesh = Mesh::start("ranges", MeshOptions { sources: vec![root.clone()], ..MeshOptions::default() }).await;
    let mut gateway = mesh.connect().await;
    let ranges: [(usize, usize); 6] = [(0, 0), (0, 1), (199_999, 1), (100, 131_072), (65_535, 2), (200_000, 0)];
    let tasks = ranges.iter().enumerate().map(|(index, (offset, length))| {
        let mut task = file(&index.to_string(), &path);
        if let Some(hashmesh::v1::task::Source::Object(object)) = &mut task.source {
            object.range = Some(hashmesh::v1::ByteRange { offset: *offset as u64, length: *length as u64 });
        }
        task
    });
    let submitted = submit(&mut gateway, 1, tasks.collect()).await;
    gateway.reaches(&submitted.submission_id, SubmissionState::Completed).await;
    let outcomes = gateway.outcomes_after(&submitted.submission_id, 0).await;
    for (index, (offset, length)) in ranges.into_iter().enumerate() {
        let end = if length == 0 { content.len() } else { offset + length };
        let outcome = named(&outcomes, &index.to_string());
        assert_eq!(outcome.status(), OutcomeStatus::Succeeded, "{outcome:?}");
        assert_eq!(outcome.digests[0].hex, sha256_hex(&content[offset..end]), "{offset}+{length}");
    }
}
