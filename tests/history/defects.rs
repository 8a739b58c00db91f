//! The proof that the checker finds real defects: variants of the program, each with one deliberate defect (DESIGN §12),
//! must be found out by it; the same scenario without the defect must be clean.
//!
//! The variants are there with the feature `mutants` only, with which `make test` compiles.

use std::time::Duration;

use hashmesh::{
    gateway::v1::{OpenSubmission, StreamResultsRequest},
    v1::SubmissionState,
};

use super::{
    Digest, History, Opening, Reader,
    check::{Verdict, Violation, check},
    counters,
    run::{Load, Run},
};
use crate::support::{
    Mesh, MeshOptions, oracle,
    raw::{Frame, packed},
    scripted_worker::ScriptedWorker,
    wait::{PATIENCE, until, until_value},
};

fn mutant(name: Option<&str>) -> Vec<(String, String)> {
    name.map(|name| ("HASHMESH_MUTANT".to_owned(), name.to_owned())).into_iter().collect()
}

async fn mesh(name: &str, mutated: Option<&str>, workers: usize) -> Mesh {
    let queue_environment = mutant(mutated);
    Mesh::start(name, MeshOptions { workers, queue_environment, ..MeshOptions::default() }).await
}

/// Reads with interruptions.
async fn resumed_reads(mutated: Option<&str>) -> Verdict {
    let mesh = mesh("mutant-resume", mutated, 1).await;
    let load = Load { tasks: 2_000, batch_tasks: 100, window: 4, cut_after: 150 };
    let run = Run::start(&mesh.gateway.url(), load);
    check(&run.finish(&mesh.database).await.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_5_readers_that_resume_see_each_outcome_once() {
    resumed_reads(None).await.assert_clean();
}

#[cfg(feature = "mutants")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_5_readers_that_resume_one_too_far_are_found_out() {
    let verdict = resumed_reads(Some("resume-off-by-one")).await;
    assert!(verdict.has(Violation::PositionGap), "{verdict}");
}

/// Holds Postgres up in the middle of a commit, and crashes both while it waits. Gives what was acknowledged by then, and
/// the verdict over the rest of the run.
async fn crash_before_commit(mutated: Option<&str>) -> (bool, Verdict) {
    let mut mesh = mesh("mutant-acknowledge", mutated, 1).await;
    let gateway = mesh.connect().await;
    let (mut stream, opened) = gateway.open(OpenSubmission::default()).await.expect("it opens");
    let blocker = mesh.database.client().await;
    blocker.batch_execute("BEGIN; LOCK TABLE batches IN ACCESS EXCLUSIVE MODE").await.expect("nobody else has it");

    stream.batch(0, packed(["a task that is not committed"])).await;
    // Either it is acknowledged now, or not before the lock is gone.
    let acknowledged = tokio::select! {
        frame = stream.next() => matches!(frame, Ok(Some(Frame::Accepted(_)))),
        () = commit_waits(&mesh) => {
            // A defective queue may be a little slower than its own commit.
            matches!(tokio::time::timeout(Duration::from_millis(500), stream.next()).await, Ok(Ok(Some(Frame::Accepted(_)))))
        }
    };
    mesh.queue.process.kill();
    // Postgres crashes with it: what waits is not committed.
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    blocker.batch_execute(end).await.expect("it may");
    // Within a transaction the view shows what it showed first.
    let left = "SELECT pg_stat_clear_snapshot(), (SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend')";
    let count = async || blocker.query_one(left, &[]).await.expect("it answers").get::<_, i64>(1);
    until_value("the backends to be gone", PATIENCE, count, |count| *count == 0).await;
    blocker.batch_execute("ROLLBACK").await.expect("it held the lock");
    drop(blocker);
    mesh.queue.restart().await;
    mesh.queue.ready().await;

    // The history so far, as a client that resumes would go on with it.
    let mut history = History {
        wanted: vec![Digest::default()],
        submitted: [(0, 0..1)].into(),
        // There is nothing to read.
        readers: vec![Reader::default()],
        ..History::default()
    };
    if acknowledged {
        history.acknowledged.insert(0, Duration::ZERO);
    }
    let gateway = mesh.connect().await;
    let open = OpenSubmission { submission_id: opened.submission_id.clone(), ..OpenSubmission::default() };
    let reopened = until("it to open again", PATIENCE, async || Some(gateway.open(open.clone()).await.ok()?.1)).await;
    let acknowledged_batches = u32::from(acknowledged);
    history.opened.push(Opening { next_sequence: reopened.next_sequence, acknowledged_batches });
    (acknowledged, check(&history))
}

/// Waits until a commit lane waits for a lock.
async fn commit_waits(mesh: &Mesh) {
    let client = mesh.database.client().await;
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%batches%'";
    until("a commit to wait for the lock", PATIENCE, async || {
        (client.query_one(waiting, &[]).await.expect("it answers").get::<_, i64>(0) > 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_1_nothing_is_acknowledged_before_it_is_committed() {
    let (acknowledged, verdict) = crash_before_commit(None).await;
    assert!(!acknowledged, "acknowledged while the commit was waiting for a lock");
    assert!(!verdict.has(Violation::Forgotten) && !verdict.has(Violation::NoOutcome), "{verdict}");
}

#[cfg(feature = "mutants")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_1_acknowledging_before_the_commit_is_found_out() {
    let (acknowledged, verdict) = crash_before_commit(Some("acknowledge-before-commit")).await;
    assert!(acknowledged, "the defect was not switched on");
    assert!(verdict.has(Violation::Forgotten) && verdict.has(Violation::NoOutcome), "{verdict}");
}

/// A silent worker's lease expires and another worker has the tasks when the silent one hands in its outcomes. They are
/// unresolved then: to a batch that is resolved nothing could be added, defect or not.
async fn late_outcomes(mutated: Option<&str>) -> Verdict {
    const TASKS: u32 = 50;
    let mut mesh = mesh("mutant-lease", mutated, 0).await;
    let mut silent = ScriptedWorker::connect(&mesh.queue.url()).await;
    let mut gateway = mesh.connect().await;
    let inputs: Vec<String> = (0..2 * TASKS).map(|task| format!("task {task}")).collect();
    let (mut stream, opened) = gateway.open_new().await;
    let id = opened.submission_id.clone();
    stream.batch(0, packed(&inputs[..TASKS as usize])).await;
    stream.accepted(0).await;
    let lease = silent.lease().await;
    assert_eq!(lease.task_count, TASKS);

    silent.revoked().await;
    let mut second = ScriptedWorker::connect(&mesh.queue.url()).await;
    assert_eq!(second.lease().await.task_count, TASKS);
    silent.hand_in(&lease).await;
    drop((silent, second));
    mesh.add_worker().await;
    stream.batch(1, packed(&inputs[TASKS as usize..])).await;
    stream.accepted(1).await;
    stream.seal(2).await;
    // A defective queue may never call it completed: what there is then is what counts.
    let seconds = if mutated.is_some() { 5 } else { 60 };
    let completed = gateway.clone();
    let completes = async move {
        let mut gateway = completed;
        gateway.reaches(&id, SubmissionState::Completed).await
    };
    let end = tokio::time::timeout(Duration::from_secs(seconds), completes).await.ok();
    let request = StreamResultsRequest { submission_id: opened.submission_id, ..StreamResultsRequest::default() };
    let (_, outcomes) = gateway.results(request).await.expect("they are streamed");
    let wanted = oracle::digests("sha256", inputs.iter().map(String::as_bytes));
    check(&History {
        wanted: wanted.into_iter().map(|digest| digest.try_into().expect("32 bytes")).collect(),
        submitted: [(0, 0..TASKS as usize), (1, TASKS as usize..2 * TASKS as usize)].into(),
        acknowledged: [(0, Duration::ZERO), (1, Duration::ZERO)].into(),
        readers: vec![Reader::of_rows("the reader", &outcomes)],
        end,
        counter_faults: counters::faults(&mesh.database).await,
        ..History::default()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_3_outcomes_of_an_expired_lease_are_not_recorded() {
    late_outcomes(None).await.assert_clean();
}

#[cfg(feature = "mutants")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_3_recording_outcomes_of_expired_leases_is_found_out() {
    let verdict = late_outcomes(Some("drop-lease-check")).await;
    let found = [Violation::WrongDigest, Violation::SecondOutcome, Violation::WrongCounter];
    assert!(found.into_iter().any(|violation| verdict.has(violation)), "{verdict}");
}
