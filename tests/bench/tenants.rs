//! What a tenant with very many tasks costs a tenant with single ones: `tenants QUEUE TASKS CALLS`.
//!
//! Speaks to the Queue itself, where the tenant is part of every call. One tenant submits a task at a time and waits for its
//! committed outcome: CALLS times alone, then again and again while another tenant's TASKS tasks are submitted and worked
//! on, then again while a backlog of as many, built while that tenant was paused, drains. Every outcome is waited for.
//! Prints a JSON object; the exit code is 1 if a p99 beside the large tenant is more than 3 times the one alone.

use std::{
    error::Error,
    process::ExitCode,
    time::{Duration, Instant},
};

use hashmesh::{
    limits::{WINDOW_BATCHES, WINDOW_BYTES},
    queue::v1::{
        OpenSubmission, SetControlsRequest, StreamResultsRequest, SubmitBatchRequest, ValidatedBatch,
        WriteSubmissionRequest, queue_service_client::QueueServiceClient, stream_results_response,
        write_submission_request, write_submission_response::Frame,
    },
    tasks,
    v1::{Algorithm, PackedTasks, Seal, SubmissionOptions, SubmissionState},
};
use tokio::{sync::mpsc, sync::watch, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

type Queue = QueueServiceClient<Channel>;
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const SMALL: &str = "small";
const LARGE: &str = "large";
/// What the p99 beside the large tenant may be, of the one alone.
const MOST: f64 = 3.0;
/// Calls beside the large tenant below which a p99 means nothing.
const LEAST_CALLS: usize = 100;
/// Bytes of each task.
const TASK_BYTES: usize = 64;
/// Tasks in a batch of the large tenant.
const BATCH_TASKS: u32 = 1_000;
/// Streams on which the large tenant submits.
const STREAMS: u64 = 4;
/// Calls before the clock starts.
const WARM_UP: usize = 100;

#[tokio::main]
async fn main() -> Outcome<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [queue, tasks, calls] = &arguments[..] else { return Err("usage: tenants QUEUE TASKS CALLS".into()) };
    let (tasks, calls): (u64, usize) = (tasks.parse()?, calls.parse()?);

    let mut small = connect(queue).await?;
    for _ in 0..WARM_UP {
        call(&mut small).await?;
    }
    let mut alone = Latencies::default();
    for _ in 0..calls {
        alone.add(call(&mut small).await?);
    }
    let submitting = beside(queue, &mut small, Large::submitting(queue, tasks).await?).await?;
    let draining = beside(queue, &mut small, Large::backlog(queue, tasks).await?).await?;

    let worst = submitting.p99().max(draining.p99()) / alone.p99();
    println!(
        r#"{{"alone": {}, "submitting": {}, "draining": {}, "tasks": {tasks}, "p99_ratio": {worst:.2}}}"#,
        alone.json(),
        submitting.json(),
        draining.json()
    );
    let fewest = submitting.millis.len().min(draining.millis.len());
    if fewest < LEAST_CALLS {
        eprintln!(
            "FAIL tenants: {fewest} calls beside the large tenant tell no p99, wanted {LEAST_CALLS}; give it more tasks"
        );
        return Ok(ExitCode::FAILURE);
    }
    if worst > MOST {
        eprintln!("FAIL tenants: beside the large tenant p99 is {worst:.2} times as long, wanted at most {MOST}");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Calls of the small tenant until the large one has every outcome.
async fn beside(queue: &str, small: &mut Queue, large: Large) -> Outcome<Latencies> {
    pause(queue, false).await?;
    let begun = Instant::now();
    let mut latencies = Latencies { tasks: large.tasks, ..Latencies::default() };
    while !large.done() {
        latencies.add(call(small).await?);
    }
    latencies.large_took = begun.elapsed();
    large.finish().await?;
    Ok(latencies)
}

/// The large tenant at work: a submission for each stream.
#[derive(Debug)]
struct Large {
    tasks: u64,
    streams: Vec<JoinHandle<Outcome<()>>>,
}

impl Large {
    /// Begins to submit; returns once the first batch is accepted.
    async fn submitting(queue: &str, tasks: u64) -> Outcome<Self> {
        Self::begin(queue, tasks, false).await
    }

    /// The same while paused; returns once everything is accepted.
    async fn backlog(queue: &str, tasks: u64) -> Outcome<Self> {
        pause(queue, true).await?;
        Self::begin(queue, tasks, true).await
    }

    async fn begin(queue: &str, tasks: u64, all: bool) -> Outcome<Self> {
        let (mut streams, mut accepted) = (Vec::new(), Vec::new());
        for stream in 0..STREAMS {
            let (sender, receiver) = watch::channel(0);
            let share = tasks / STREAMS + u64::from(stream < tasks % STREAMS);
            streams.push(tokio::spawn(submit(queue.to_owned(), share, sender)));
            accepted.push((share, receiver));
        }
        for (share, receiver) in &mut accepted {
            let wanted = if all { share.div_ceil(u64::from(BATCH_TASKS)) } else { u64::from(*share > 0) };
            // An error shows when the stream is waited for.
            let _ended = receiver.wait_for(|batches| *batches >= wanted).await;
        }
        Ok(Self { tasks, streams })
    }

    fn done(&self) -> bool {
        self.streams.iter().all(JoinHandle::is_finished)
    }

    async fn finish(self) -> Outcome<()> {
        for stream in self.streams {
            stream.await??;
        }
        Ok(())
    }
}

async fn connect(queue: &str) -> Outcome<Queue> {
    let channel = Channel::from_shared(queue.to_owned())?
        .initial_stream_window_size(8 * 1024 * 1024)
        .initial_connection_window_size(16 * 1024 * 1024)
        .connect()
        .await?;
    Ok(Queue::new(channel).max_decoding_message_size(64 * 1024 * 1024))
}

/// Pauses the large tenant, or resumes it.
async fn pause(queue: &str, paused: bool) -> Outcome<()> {
    let request = SetControlsRequest { tenant: LARGE.to_owned(), paused: Some(paused), ..Default::default() };
    connect(queue).await?.set_controls(request).await?;
    Ok(())
}

fn open(tenant: &str, results: bool) -> OpenSubmission {
    let options = SubmissionOptions {
        algorithms: vec![Algorithm::Sha256.into()],
        max_attempts: 5,
        priority: Some(5),
        ..Default::default()
    };
    OpenSubmission { tenant: tenant.to_owned(), options: Some(options), results, ..Default::default() }
}

/// Made-up tasks, no two the same.
fn batch(sequence: u32, count: u32) -> Outcome<ValidatedBatch> {
    let mut data = Vec::with_capacity(TASK_BYTES * count as usize);
    for _ in 0..count {
        data.extend_from_slice(&rand::random::<[u8; 16]>());
        data.resize(data.len() + TASK_BYTES - 16, 0);
    }
    let columns =
        PackedTasks { data: data.into(), lengths: vec![TASK_BYTES as u32; count as usize], ..Default::default() };
    Ok(tasks::validated(sequence, columns).map_err(|violation| violation.description)?)
}

/// One task of the small tenant: how long its outcome took.
async fn call(queue: &mut Queue) -> Outcome<Duration> {
    let request = SubmitBatchRequest { open: Some(open(SMALL, false)), batch: Some(batch(0, 1)?), wait: true };
    let begun = Instant::now();
    let answer = queue.submit_batch(request).await?.into_inner();
    let submission = answer.submission.ok_or("an answer without a submission")?;
    if answer.results.is_none() {
        let submission_id = submission.submission_id;
        let request =
            StreamResultsRequest { tenant: SMALL.to_owned(), submission_id, follow: true, ..Default::default() };
        let mut frames = queue.stream_results(request).await?.into_inner();
        let mut completed = false;
        while let Some(frame) = frames.message().await? {
            completed |= matches!(frame.frame, Some(stream_results_response::Frame::Completed(_)));
        }
        if !completed {
            return Err("the outcomes of a single task ended before their time".into());
        }
    }
    Ok(begun.elapsed())
}

/// A submission of the large tenant, within the window of a stream, to its end. Says how many batches are accepted.
async fn submit(queue: String, tasks: u64, accepted: watch::Sender<u64>) -> Outcome<()> {
    let (to_queue, requests) = mpsc::channel(4);
    let send = async |frame| to_queue.send(WriteSubmissionRequest { frame: Some(frame) }).await;
    send(write_submission_request::Frame::Open(open(LARGE, true))).await?;
    let mut frames = connect(&queue).await?.write_submission(ReceiverStream::new(requests)).await?.into_inner();
    let mut answered = accepted.subscribe();
    let write = async {
        let (mut left, mut sequence) = (tasks, 0);
        while left > 0 {
            let count = u32::try_from(left).unwrap_or(u32::MAX).min(BATCH_TASKS);
            let window =
                u64::from(WINDOW_BATCHES).min(u64::from(WINDOW_BYTES) / (TASK_BYTES as u64 * u64::from(BATCH_TASKS)));
            answered.wait_for(|answered| u64::from(sequence) < answered + window).await?;
            send(write_submission_request::Frame::Batch(batch(sequence, count)?)).await?;
            left -= u64::from(count);
            sequence += 1;
        }
        send(write_submission_request::Frame::Seal(Seal { batch_count: sequence })).await?;
        Outcome::Ok(())
    };
    let read = async {
        let mut recorded = 0;
        while let Some(message) = frames.message().await? {
            match message.frame {
                Some(Frame::Accepted(through)) => {
                    accepted.send_replace(u64::from(through.through_sequence) + 1);
                }
                Some(Frame::Results(results)) => recorded = results.through_position,
                Some(Frame::Completed(completed)) => {
                    let state = completed.summary.unwrap_or_default().state();
                    if state != SubmissionState::Completed || recorded != tasks {
                        return Err(format!("{recorded} outcomes of {tasks} tasks, {}", state.as_str_name()).into());
                    }
                    return Ok(());
                }
                Some(Frame::Opened(_)) | None => {}
                Some(other) => return Err(format!("the large tenant was told {other:?}").into()),
            }
        }
        Outcome::Ok(())
    };
    tokio::try_join!(write, read)?;
    Ok(())
}

#[derive(Debug, Default)]
struct Latencies {
    millis: Vec<f64>,
    /// Of the large tenant, and how long they took beside the calls.
    tasks: u64,
    large_took: Duration,
}

impl Latencies {
    fn add(&mut self, latency: Duration) {
        self.millis.push(latency.as_secs_f64() * 1_000.0);
    }

    fn percentile(&self, share: f64) -> f64 {
        let mut sorted = self.millis.clone();
        sorted.sort_by(f64::total_cmp);
        let at = (sorted.len() as f64 * share).ceil() as usize;
        sorted.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    fn p99(&self) -> f64 {
        self.percentile(0.99)
    }

    fn json(&self) -> String {
        let (calls, p50, p99) = (self.millis.len(), self.percentile(0.50), self.p99());
        let latencies = format!(r#""calls": {calls}, "p50_ms": {p50:.2}, "p99_ms": {p99:.2}"#);
        if self.tasks == 0 {
            return format!("{{{latencies}}}");
        }
        let rate = self.tasks as f64 / self.large_took.as_secs_f64().max(1e-9);
        format!(r#"{{{latencies}, "large_tasks_per_second": {rate:.0}}}"#)
    }
}
