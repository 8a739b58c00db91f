//! `hashmesh submit`: digests of files, lines, or standard input.

mod lines;
mod paths;
mod stream;

use std::{collections::BTreeMap, path::PathBuf, time::Instant};

use clap::Args;
use hashmesh::{
    client::{BatchBuilder, Client, Submitter, Target},
    limits::MAX_BATCH_TASKS,
    tasks::Place,
    v1::{Submission, SubmissionOptions, SubmissionState},
};
use tokio::sync::mpsc;

use self::{lines::Lines, paths::Paths};
use super::{
    algorithms::{AlgorithmArgs, numbers},
    caching::{CachingArgs, of_which_cached},
    deliver::{Open, deliver, detach},
    failure::{self, Failure},
    feed::Fed,
    order::OrderArgs,
    output::{Format, Output, write_document, write_text},
    place,
    placement::PlacementArgs,
    print::OutcomePrinter,
    progress::ProgressArgs,
    reporter::Reporter,
    resume::Resume,
    server::ServerArgs,
    shape::{Shape, ShapeArgs},
    submission, traced,
};

/// Compute digests of files and directories, of lines, or of standard input, and write a manifest.
///
/// Directories are walked in byte order of their names. Symbolic links found on the way are not followed; whatever else is
/// not a regular file, or cannot be read, is reported, and the exit code is then 1.
///
/// A bucket (s3://BUCKET), the beginning of its keys (s3://BUCKET/PREFIX/) and a directory of the workers (file:///PATH/) stand
/// for all that is in them, and list:URI for what that text names, a URI on each line: the mesh lists them itself, and goes on
/// if this command does not. Objects are named by their URI.
#[derive(Args, Debug)]
pub(crate) struct SubmitArgs {
    /// Files, directories, and objects by their URI (s3://BUCKET/KEY, https://…), which workers read if they may
    /// (--allow-source) and which are named by it; a URI of a place that the mesh lists (s3://BUCKET, s3://BUCKET/PREFIX/,
    /// file:///PATH/, list:URI) alone; `-` alone is standard input, as one input of any length of which nothing is
    /// stored.
    #[arg(required_unless_present = "files_from", value_name = "PATH|URI")]
    paths: Vec<PathBuf>,
    /// Each line of this file (`-`: standard input) is a PATH or URI.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["paths", "lines"])]
    files_from: Option<PathBuf>,
    /// Each line of the one PATH (or of `-`, standard input) is a task: its bytes without the line feed. Its name is its
    /// number, from 1.
    #[arg(long)]
    lines: bool,
    #[command(flatten)]
    algorithms: AlgorithmArgs,
    /// Print the submission's id and leave once everything is stored; `hashmesh results ID --follow` has the rest.
    #[arg(long)]
    detach: bool,
    /// Go on with a submission that was interrupted: give the same input and options as before.
    #[arg(long, value_name = "ID", conflicts_with = "idempotency_key")]
    id: Option<String>,
    /// Make a rerun with the same key, input and options go on with the same submission.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// A note on the submission, to find it by; may be given more than once.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    order: OrderArgs,
    #[command(flatten)]
    placement: PlacementArgs,
    #[command(flatten)]
    caching: CachingArgs,
    /// Tasks in a batch, at most. A batch is what is stored and acknowledged at once.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_BATCH_TASKS)))]
    batch_tasks: u32,
    /// Have the bytes of inline tasks stored even where nothing can need them again.
    #[arg(long)]
    keep_inputs: bool,
    /// Keep it at least this long after its end, whole seconds; default: what the Queue keeps others. At most 3,650 days.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    keep_for: Option<std::time::Duration>,
    #[command(flatten)]
    shape: ShapeArgs,
    /// Say nothing about what went well.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    progress: ProgressArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// A note, `key=value`.
pub(super) fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl SubmitArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        let stdin = self.paths.iter().any(|path| path.as_os_str() == "-");
        if stdin && self.paths.len() > 1 {
            return Err(Failure::Usage(
                "`-` is standard input and must be the only PATH (a file of that name: ./-)".into(),
            ));
        }
        if self.lines && self.paths.len() > 1 {
            return Err(Failure::Usage("--lines reads one PATH".into()));
        }
        if self.placement.uploads() && (self.id.is_some() || self.idempotency_key.is_some()) {
            // Another task each time, where the mesh wants the same.
            return Err(Failure::Usage(
                "--upload names a file otherwise each time: with --id or --idempotency-key, use `hashmesh upload` and submit \
                 what it prints"
                    .into(),
            ));
        }
        let algorithms = self.algorithms.or_default()?;
        let shape = self.shape.shape()?;
        shape.check(&algorithms)?;
        let client = self.server.client()?;
        if stdin && !self.lines {
            if self.detach
                || self.id.is_some()
                || self.idempotency_key.is_some()
                || !self.labels.is_empty()
                || !self.order.is_empty()
            {
                let text = "`-` alone stores nothing: --detach, --id, --idempotency-key, --label and when its work\n             is to be done make no sense";
                return Err(Failure::Usage(text.into()));
            }
            return stream::run(&client, &algorithms, self.algorithms.part_bytes(), shape).await;
        }
        let mut options = SubmissionOptions {
            algorithms: numbers(&algorithms),
            part_bytes: self.algorithms.part_bytes(),
            labels: self.labels.iter().cloned().collect::<BTreeMap<_, _>>(),
            keep_inputs: self.keep_inputs,
            retention: self.keep_for.and_then(|kept| kept.try_into().ok()),
            cache: self.caching.mode().into(),
            ..SubmissionOptions::default()
        };
        self.order.fill(&mut options);
        let started = Instant::now();
        if let Some(place) = place::only_place(&self.paths)? {
            return self.run_place(&client, &place, options, shape, started).await;
        }
        let lines = if self.lines { Some(self.lines_input()?) } else { None };
        let reporter = Reporter::new(self.quiet, self.progress.progress(self.quiet));
        let submitter = self.open(&client, options).await?;
        let submission_id = submitter.submission_id().to_owned();
        let state = submitter.opened().state();
        reporter.inform(&format!("hashmesh: submission {submission_id}"));
        // A submission that was sealed before has all its tasks: only its outcomes are wanted.
        let sending = match state {
            SubmissionState::Open | SubmissionState::Unspecified => {
                let feed = self.feed(&client, &submitter, lines, &reporter).await?;
                Some((submitter, feed))
            }
            SubmissionState::Cancelled => {
                return Err(Failure::Local(format!(
                    "submission {submission_id} was cancelled; submit anew, with another key"
                )));
            }
            SubmissionState::Sealed | SubmissionState::Completed => {
                drop(submitter);
                None
            }
        };
        if self.detach {
            if let Some((submitter, feed)) = sending {
                detach(submitter, feed, &reporter).await?;
            }
            traced::tell(&reporter, shape.output);
            print_id(shape.output, &submission_id).await?;
            return Ok(code(&reporter));
        }
        let open = Open { submission_id, sending, resume: Resume::ById };
        print_outcomes(&client, open, shape, &reporter, started).await
    }

    /// The mesh lists the place; only the outcomes are left to print.
    async fn run_place(
        &self,
        client: &Client,
        place: &Place,
        options: SubmissionOptions,
        shape: Shape,
        started: Instant,
    ) -> Result<u8, Failure> {
        if self.lines {
            return Err(Failure::Usage("--lines reads a file, not a place that the mesh lists".into()));
        }
        let submission_id = match &self.id {
            Some(id) => place::existing(client, place, id).await?,
            None => place::create(client, place, options, self.idempotency_key.clone()).await?,
        };
        let reporter = Reporter::new(self.quiet, self.progress.progress(self.quiet));
        reporter.inform(&format!("hashmesh: submission {submission_id} of {}", place.uri()));
        if self.detach {
            traced::tell(&reporter, shape.output);
            print_id(shape.output, &submission_id).await?;
            return Ok(code(&reporter));
        }
        let open = Open { submission_id, sending: None, resume: Resume::ById };
        print_outcomes(client, open, shape, &reporter, started).await
    }

    /// Opens the submission where sending is to begin. A resumed one is sent from its start, so that the mesh compares what it
    /// has with what there is now; the lines of an input that is read only once are skipped instead (see [`lines`]).
    async fn open(&self, client: &Client, options: SubmissionOptions) -> Result<Submitter, Failure> {
        let opened = match &self.id {
            Some(id) if self.lines => client.submit(Target::Existing { submission_id: id.clone() }).await,
            Some(id) => client.submit_from_start(Target::Existing { submission_id: id.clone() }).await,
            None => {
                let idempotency_key = self.idempotency_key.clone();
                client.submit_from_start(Target::New { options, idempotency_key }).await
            }
        };
        Ok(opened?)
    }

    /// Before a submission is opened, so that a wrong path leaves none behind.
    fn lines_input(&self) -> Result<Lines, Failure> {
        Lines::open(self.paths.first().cloned().unwrap_or_default())
    }

    async fn feed(
        &self,
        client: &Client,
        submitter: &Submitter,
        lines: Option<Lines>,
        reporter: &Reporter,
    ) -> Result<mpsc::Receiver<Fed>, Failure> {
        let builder = BatchBuilder::new(submitter.limits()).at_most(self.batch_tasks);
        if let Some(lines) = lines {
            let skip = if self.id.is_some() { submitter.opened().accepted_tasks } else { 0 };
            return lines.feed(builder, skip, self.idempotency_key.is_some());
        }
        let placement = self.placement.probe(client).await?;
        let paths = match &self.files_from {
            Some(list) => Paths::Listed(list.clone()),
            None => Paths::Given(self.paths.clone()),
        };
        paths::feed(paths, builder, placement, reporter.clone())
    }
}

/// Sends what is to be sent, and prints every outcome.
async fn print_outcomes(
    client: &Client,
    open: Open,
    shape: Shape,
    reporter: &Reporter,
    started: Instant,
) -> Result<u8, Failure> {
    let mut output = Output::new();
    let mut printer = OutcomePrinter::new(shape, reporter.clone());
    printer.begin(&mut output);
    let format = shape.output;
    let last = deliver(client, open, reporter, &mut printer, &mut output).await?;
    printer.end(&last, &mut output)?;
    output.flush().await?;
    reporter.inform(&summary(&last, printer.cached_tasks(), started));
    traced::tell(reporter, format);
    Ok(submission::exit_code(&last).max(code(reporter)))
}

async fn print_id(output: Format, submission_id: &str) -> Result<(), Failure> {
    match output {
        Format::Text => write_text(&format!("{submission_id}\n")).await,
        format => write_document(format, &serde_json::json!({ "submission_id": submission_id })).await,
    }
}

fn code(reporter: &Reporter) -> u8 {
    if reporter.troubles() > 0 { failure::TROUBLE } else { failure::OK }
}

/// What was done, and how fast.
fn summary(last: &Submission, cached_tasks: u64, started: Instant) -> String {
    let seconds = started.elapsed().as_secs_f64();
    let tasks_per_second = last.recorded_tasks as f64 / seconds.max(1e-9);
    let megabytes = last.hashed_bytes as f64 / 1e6;
    let megabytes_per_second = megabytes / seconds.max(1e-9);
    format!(
        "hashmesh: {}; {megabytes:.1} MB hashed in {seconds:.2} s ({tasks_per_second:.0} tasks/s, \
         {megabytes_per_second:.1} MB/s){}",
        submission::summary(last),
        of_which_cached(cached_tasks)
    )
}
