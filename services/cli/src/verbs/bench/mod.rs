//! `hashmesh bench`: how many tasks per second the mesh takes, stores, hashes and answers.
//!
//! What is measured is the whole way: inline tasks through Gateway and Queue, stored, leased, hashed, outcomes stored and
//! streamed back. The clock starts with the first batch and stops when the last outcome has arrived, so every task counted
//! is durable, and so is its outcome.

mod callers;
mod check;
mod latency;
mod payload;
mod report;
mod stream;

use std::time::{Duration, Instant};

use clap::Args;
use futures::future::try_join_all;
use hashmesh::{
    client::{Client, Submitter, Target},
    limits::{MAX_BATCH_BYTES, MAX_BATCH_TASKS},
    v1::{Algorithm, SubmissionOptions},
};

use self::{
    callers::{Calls, run_callers},
    check::{Sample, check},
    latency::Latencies,
    payload::Payload,
    report::{Report, Shape},
    stream::{Load, run_stream},
};
use super::{
    algorithms::{AlgorithmArgs, numbers},
    failure::{self, Failure},
    order::OrderArgs,
    output::{Format, write_document, write_text},
    server::ServerArgs,
};

/// Digests that are compared with an independent computation, over all streams.
const SAMPLES: u64 = 128;

/// Measure the mesh: submit tasks that are made up, wait for every outcome, check a sample of the digests.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    /// How many tasks.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    tasks: u64,
    /// Bytes of each.
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_BATCH_BYTES)))]
    size: u32,
    /// Tasks in a batch.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_BATCH_TASKS)))]
    batch: u32,
    /// Submissions that are written at the same time, each over connections of its own.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    streams: u32,
    /// Instead of streams: this many callers that submit one task each and wait for its outcome, again and again.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000), conflicts_with_all = ["batch", "streams", "latency"])]
    callers: Option<u32>,
    /// One caller, one task at a time: how long it takes from submitting a task to its committed outcome.
    #[arg(long, conflicts_with_all = ["batch", "streams"])]
    latency: bool,
    /// Have every task's bytes stored, even where its outcome is known before they are written.
    #[arg(long)]
    keep_inputs: bool,
    /// What the tasks are made from, so that another program can make them again; default: another one each time.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    order: OrderArgs,
    #[command(flatten)]
    algorithms: AlgorithmArgs,
    /// Lines for people, one document, or one line.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

impl BenchArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        let batch_bytes = u64::from(self.size) * u64::from(self.batch);
        if batch_bytes > u64::from(MAX_BATCH_BYTES) {
            let most = u64::from(MAX_BATCH_BYTES) / u64::from(self.size.max(1));
            let text = format!("a batch of {batch_bytes} bytes is more than {MAX_BATCH_BYTES}: --batch {most} at most");
            return Err(Failure::Usage(text));
        }
        let algorithms = self.algorithms.or_default()?;
        let client = self.server.client()?;
        if let Some(callers) = self.callers.or(self.latency.then_some(1)) {
            return self.call(&client, &algorithms, callers).await;
        }
        let loads = self.loads();
        let submitters = self.open(&client, &algorithms, loads.len()).await?;

        let wal_before = wal_bytes(&client).await?;
        let begun = Instant::now();
        let running = loads.into_iter().zip(submitters).map(|(load, submitter)| {
            // On their own, so that all cores share the work.
            let run = tokio::spawn(run_stream(client.clone(), load, submitter));
            async { run.await.map_err(|error| Failure::local("a stream was stopped", &error))? }
        });
        let done = tokio::select! {
            done = try_join_all(running) => done?,
            _ = tokio::signal::ctrl_c() => return Err(Failure::Interrupted("interrupted; the bench is void".into())),
        };
        let ended = done.iter().map(|stream| stream.last_outcome).max().unwrap_or(begun);
        let elapsed = ended.duration_since(begun).max(Duration::from_nanos(1));
        let wal_after = wal_bytes(&client).await?;

        let mut latencies = Latencies::default();
        let mut samples: Vec<Sample> = Vec::new();
        for stream in done {
            latencies.merge(&stream.latencies);
            samples.extend(stream.samples);
        }
        let checked = check(&algorithms, self.algorithms.part_bytes(), &samples).await?;
        let report = Report {
            tasks: self.tasks,
            size: self.size,
            shape: Shape::Streams { batch: self.batch, streams: self.streams },
            keep_inputs: self.keep_inputs,
            algorithms: algorithms.iter().map(|algorithm| algorithm.name()).collect(),
            elapsed,
            latencies: &latencies,
            wal_bytes: wal_after.saturating_sub(wal_before),
            checked: &checked,
        };
        self.answer(&report).await
    }

    async fn answer(&self, report: &Report<'_>) -> Result<u8, Failure> {
        match self.output {
            Format::Text => write_text(&report.text()).await?,
            format => write_document(format, &report.json()).await?,
        }
        for wrong in &report.checked.wrong {
            eprintln!("hashmesh: error: {wrong}");
        }
        Ok(if report.checked.wrong.is_empty() { failure::OK } else { failure::TROUBLE })
    }

    /// The bench of callers with one task each.
    async fn call(&self, client: &Client, algorithms: &[Algorithm], callers: u32) -> Result<u8, Failure> {
        let calls = Calls {
            callers,
            tasks: self.tasks,
            payload: Payload { seed: self.seed(), stream: 0, size: self.size, batch: u32::MAX },
            sample_every: (self.tasks / SAMPLES).max(1),
            options: self.options(algorithms),
        };
        let wal_before = wal_bytes(client).await?;
        let (elapsed, done) = tokio::select! {
            done = run_callers(client, &calls) => done?,
            _ = tokio::signal::ctrl_c() => return Err(Failure::Interrupted("interrupted; the bench is void".into())),
        };
        let wal_after = wal_bytes(client).await?;
        let mut latencies = Latencies::default();
        let mut samples: Vec<Sample> = Vec::new();
        for caller in done {
            latencies.merge(&caller.latencies);
            samples.extend(caller.samples);
        }
        let checked = check(algorithms, self.algorithms.part_bytes(), &samples).await?;
        let report = Report {
            tasks: self.tasks,
            size: self.size,
            shape: Shape::Callers(callers),
            keep_inputs: self.keep_inputs,
            algorithms: algorithms.iter().map(|algorithm| algorithm.name()).collect(),
            elapsed,
            latencies: &latencies,
            wal_bytes: wal_after.saturating_sub(wal_before),
            checked: &checked,
        };
        self.answer(&report).await
    }

    fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(rand::random)
    }

    fn options(&self, algorithms: &[Algorithm]) -> SubmissionOptions {
        let mut options = SubmissionOptions {
            algorithms: numbers(algorithms),
            part_bytes: self.algorithms.part_bytes(),
            labels: [("bench".to_owned(), "true".to_owned())].into(),
            keep_inputs: self.keep_inputs,
            ..SubmissionOptions::default()
        };
        self.order.fill(&mut options);
        options
    }

    /// Shares the tasks among the streams.
    fn loads(&self) -> Vec<Load> {
        let streams = u64::from(self.streams);
        let seed = self.seed();
        let sample_every = (self.tasks.div_ceil(u64::from(self.batch)) / SAMPLES).max(1);
        let share = |stream: u64| self.tasks / streams + u64::from(stream < self.tasks % streams);
        (0..streams)
            .map(|stream| Load {
                tasks: share(stream),
                batch: self.batch,
                payload: Payload { seed, stream, size: self.size, batch: self.batch },
                sample_every,
            })
            .collect()
    }

    /// Opens a submission per stream, before the clock starts.
    async fn open(&self, client: &Client, algorithms: &[Algorithm], count: usize) -> Result<Vec<Submitter>, Failure> {
        let target = Target::New { options: self.options(algorithms), idempotency_key: None };
        let opening = (0..count).map(|_| client.submit(target.clone()));
        Ok(try_join_all(opening).await?)
    }
}

/// Bytes of write-ahead log the database has written so far.
async fn wal_bytes(client: &Client) -> Result<u64, Failure> {
    Ok(client.get_stats().await?.database.unwrap_or_default().wal_bytes)
}
