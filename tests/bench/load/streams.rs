//! Very many streams that are open at once: each watches a submission of its own, as a user would.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hashmesh::{
    gateway::v1::{
        CreateSubmissionRequest, CreateSubmissionResponse, SealSubmissionRequest, SealSubmissionResponse,
        WatchSubmissionRequest, WatchSubmissionResponse, watch_submission_response::Frame,
    },
    limits::PING_INTERVAL,
    v1::SubmissionState,
};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    Outcome, Verdict,
    grpc::{Connection, Frames, framed},
    measure::{MOST_P99_MILLIS, Seen, print_errors},
    pace::{Caller, Stage},
    settings::Settings,
};

const SERVICE: &str = "/hashmesh.gateway.v1.GatewayService";
/// Calls and openings under way at once.
const AT_ONCE: usize = 128;
/// Calls that others make meanwhile.
const BESIDE: f64 = 100.0;

/// How far all streams are.
#[derive(Debug, Default)]
struct Progress {
    opened: AtomicUsize,
    /// Since all are open.
    pinged: AtomicUsize,
    finished: AtomicUsize,
    frames: AtomicU64,
    /// Set once all are open.
    all_open: std::sync::OnceLock<Instant>,
    errors: Mutex<BTreeMap<String, usize>>,
}

pub(crate) async fn run(settings: &Settings, verdict: &mut Verdict) -> Outcome<()> {
    let wanted = usize::try_from(settings.number("streams", 50_000)?)?;
    let connections = settings.number("connections", 500)?;
    let empty = settings.processes.memory_kib()?;
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Connection::open(settings.servers[0], None).await?);
    }
    let open: Arc<[Connection]> = open.into();
    let begun = Instant::now();
    let ids = submissions(&open, wanted).await?;
    println!("{} submissions created in {:.1} s", ids.len(), begun.elapsed().as_secs_f64());

    let before = settings.processes.memory_kib()?;
    let (progress, begun, used) = (Arc::new(Progress::default()), Instant::now(), settings.processes.used()?);
    let mut watchers = JoinSet::new();
    let turn = Arc::new(Semaphore::new(AT_ONCE));
    for (number, id) in ids.iter().enumerate() {
        let opening = Arc::clone(&turn).acquire_owned().await?;
        let (connection, progress) = (open[number % open.len()].clone(), Arc::clone(&progress));
        let request = framed(&WatchSubmissionRequest { submission_id: id.clone() });
        watchers.spawn(async move {
            let stream = connection.stream(&format!("{SERVICE}/WatchSubmission"), request).await;
            let watched = async {
                let mut frames = stream?;
                frames.next::<WatchSubmissionResponse>().await?.ok_or("ended before its first frame")?;
                progress.opened.fetch_add(1, Ordering::Relaxed);
                drop(opening);
                watch(frames, &progress).await
            };
            if let Err(error) = watched.await {
                *progress.errors.lock().expect("no panic under the lock").entry(error).or_default() += 1;
            }
        });
    }
    let _all = turn.acquire_many(u32::try_from(AT_ONCE)?).await?;
    let opened = progress.opened.load(Ordering::Relaxed);
    progress.all_open.set(Instant::now()).expect("set once");
    println!("{opened} streams over {connections} connections opened in {:.1} s", begun.elapsed().as_secs_f64());
    println!("  CPU, % of a core: {}", settings.processes.shares(&used)?);

    // As long as it takes until each was pinged, others call.
    let hold = Duration::from_secs(settings.number("seconds", 45)?).max(PING_INTERVAL * 2);
    let used = settings.processes.used()?;
    let calls = Caller::new(settings).await?.offer(&[Stage { rate: BESIDE, length: hold }]).await;
    println!("held for {} s; CPU, % of a core: {}", hold.as_secs(), settings.processes.shares(&used)?);
    let seen = Seen::of(&calls, Duration::ZERO, hold);
    Seen::print_header();
    seen.print("beside them");
    let pinged = progress.pinged.load(Ordering::Relaxed);
    println!("{:<10}  MiB before  with submissions  with streams  KiB/stream", "");
    for (((name, empty), (_, before)), (_, with)) in empty.iter().zip(&before).zip(settings.processes.memory_kib()?) {
        let each = with.saturating_sub(*before) as f64 / opened.max(1) as f64;
        println!("{name:<10}  {:>10}  {:>16}  {:>12}  {each:>10.1}", empty / 1_024, before / 1_024, with / 1_024);
    }

    let begun = Instant::now();
    seal(&open, &ids, &progress).await;
    while let Ok(Some(_)) = tokio::time::timeout(Duration::from_secs(30), watchers.join_next()).await {}
    let finished = progress.finished.load(Ordering::Relaxed);
    println!("all sealed, {finished} streams ended by their final state, in {:.1} s", begun.elapsed().as_secs_f64());
    print_errors(&progress.errors.lock().expect("no panic under the lock"));
    println!("{} frames in all", progress.frames.load(Ordering::Relaxed));
    verdict.expect(opened == wanted, &format!("{opened} of {wanted} streams open at once"));
    verdict.expect(pinged == wanted, &format!("{pinged} had a ping while all were open"));
    verdict.expect(finished == wanted, &format!("{finished} told the final state"));
    let p99 = seen.quantile(0.99);
    verdict.expect(
        p99 < MOST_P99_MILLIS && seen.failed() == 0,
        &format!("calls beside them: {} errors, p99 {p99:.1} ms", seen.failed()),
    );
    Ok(())
}

/// Reads a stream to its end.
async fn watch(mut frames: Frames, progress: &Progress) -> Result<(), String> {
    let (mut pinged, mut ended) = (false, false);
    while let Some(frame) = frames.next::<WatchSubmissionResponse>().await? {
        progress.frames.fetch_add(1, Ordering::Relaxed);
        match frame.frame {
            Some(Frame::Ping(_)) if !pinged && progress.all_open.get().is_some() => {
                pinged = true;
                progress.pinged.fetch_add(1, Ordering::Relaxed);
            }
            Some(Frame::Submission(submission)) => ended = submission.state() == SubmissionState::Completed,
            Some(Frame::Draining(_)) => return Err("draining".to_owned()),
            _ => {}
        }
    }
    if !ended {
        return Err("ended without a final state".to_owned());
    }
    progress.finished.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

async fn submissions(open: &Arc<[Connection]>, count: usize) -> Outcome<Vec<String>> {
    let mut calls = JoinSet::new();
    let next = Arc::new(AtomicUsize::new(0));
    for caller in 0..AT_ONCE {
        let (connection, next) = (open[caller % open.len()].clone(), Arc::clone(&next));
        calls.spawn(async move {
            let mut ids = Vec::new();
            while next.fetch_add(1, Ordering::Relaxed) < count {
                let created: CreateSubmissionResponse = connection
                    .call(&format!("{SERVICE}/CreateSubmission"), framed(&CreateSubmissionRequest::default()))
                    .await?;
                ids.push(created.opened.unwrap_or_default().submission_id);
            }
            Ok::<_, String>(ids)
        });
    }
    let mut ids = Vec::new();
    while let Some(created) = calls.join_next().await {
        ids.extend(created??);
    }
    Ok(ids)
}

/// Seals all of them as empty, which completes them.
async fn seal(open: &Arc<[Connection]>, ids: &[String], progress: &Progress) {
    let mut calls = JoinSet::new();
    for (number, id) in ids.iter().enumerate() {
        if calls.len() >= AT_ONCE {
            note(calls.join_next().await, progress);
        }
        let connection = open[number % open.len()].clone();
        let request = framed(&SealSubmissionRequest { submission_id: id.clone(), batch_count: 0 });
        calls.spawn(async move {
            connection.call::<SealSubmissionResponse>(&format!("{SERVICE}/SealSubmission"), request).await
        });
    }
    while let Some(call) = calls.join_next().await {
        note(Some(call), progress);
    }
}

type Sealed = Result<Result<SealSubmissionResponse, String>, tokio::task::JoinError>;

fn note(sealed: Option<Sealed>, progress: &Progress) {
    if let Some(Ok(Err(error))) = sealed {
        let mut errors = progress.errors.lock().expect("no panic under the lock");
        *errors.entry(format!("sealing: {error}")).or_default() += 1;
    }
}
