//! `hashmesh verify`: checks files against a manifest.

mod check;
mod entries;

use std::{path::PathBuf, time::Instant};

use clap::Args;
use hashmesh::{
    client::{BatchBuilder, Target},
    limits::{MAX_ALGORITHMS, MAX_BATCH_TASKS},
    v1::{Algorithm, SubmissionOptions},
};

use self::{
    check::CheckPrinter,
    entries::{Manifest, Scan},
};
use super::{
    algorithms::{AlgorithmArgs, numbers},
    deliver::{Open, deliver},
    failure::{self, Failure},
    feed::{self, Unread},
    manifest::Hints,
    output::{Format, Output},
    placement::PlacementArgs,
    progress::{Progress, When},
    reporter::Reporter,
    resume::Resume,
    server::ServerArgs,
    submission,
};

/// Read the files that a manifest names and compare their digests, as `sha256sum -c` does.
///
/// Reads the manifests of coreutils (`sha256sum` and the like, with and without --tag) and of `submit --output jsonl`. Names
/// are relative to the current directory.
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// The manifest; `-` is standard input.
    #[arg(value_name = "MANIFEST")]
    manifest: PathBuf,
    #[command(flatten)]
    algorithms: AlgorithmArgs,
    #[command(flatten)]
    placement: PlacementArgs,
    /// Tasks in a batch, at most.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_BATCH_TASKS)))]
    batch_tasks: u32,
    /// The shape of the outcomes: lines like those of `sha256sum -c`, one document, or an object per line.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
    /// Say nothing about what is right.
    #[arg(long, short)]
    quiet: bool,
    /// When to show progress on standard error; without a value: always.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t, num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    progress: When,
    #[command(flatten)]
    server: ServerArgs,
}

impl VerifyArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        let started = Instant::now();
        let client = self.server.client()?;
        let reporter = Reporter::new(self.quiet, Progress::new(self.progress, self.quiet));
        let hints = Hints { algorithms: self.algorithms.named()? };
        let mut manifest = Manifest::open(&self.manifest, hints)?;
        let scan = scan(&mut manifest, &reporter).await?;
        if scan.entries == 0 {
            return Err(Failure::Local(format!("{}: no properly formatted lines found", self.manifest.display())));
        }
        let options = SubmissionOptions { algorithms: wanted(&scan)?, ..SubmissionOptions::default() };
        let submitter = client.submit(Target::New { options, idempotency_key: None }).await?;
        let submission_id = submitter.submission_id().to_owned();
        reporter.inform(&format!("hashmesh: submission {submission_id}"));
        let builder = BatchBuilder::new(submitter.limits()).at_most(self.batch_tasks);
        let placement = self.placement.probe(&client).await?;
        let feed = feed::start(builder, placement, move |feed| {
            loop {
                let entry = match manifest.next_entry(&mut |_, _| ()) {
                    Ok(Some(entry)) => entry,
                    Ok(None) => return Ok(()),
                    Err(error) => {
                        return feed.unread(b"the manifest", Unread::Other(format!("cannot be read: {error}")));
                    }
                };
                feed.file(&entry.name, &entry.path(), true, &entry.digests)?;
            }
        })?;
        let mut output = Output::new();
        let mut printer = CheckPrinter::new(self.output, self.quiet, reporter.clone());
        printer.begin(&mut output);
        let open = Open { submission_id, sending: Some((submitter, feed)), resume: Resume::Anew };
        let last = deliver(&client, open, &reporter, &mut printer, &mut output).await?;
        printer.end(&last, &mut output)?;
        output.flush().await?;
        for warning in printer.warnings(scan.malformed) {
            // As sha256sum does, also when it is quiet.
            eprintln!("hashmesh: WARNING: {warning}");
        }
        reporter.inform(&format!(
            "hashmesh: {} in {:.2} s",
            submission::summary(&last),
            started.elapsed().as_secs_f64()
        ));
        let flawed = printer.flawed() || scan.malformed > 0 || reporter.troubles() > 0;
        Ok(submission::exit_code(&last).max(if flawed { failure::TROUBLE } else { failure::OK }))
    }
}

/// Reads the whole manifest once, to know which digests to ask for; it is then at its start again.
async fn scan(manifest: &mut Manifest, reporter: &Reporter) -> Result<Scan, Failure> {
    let scanned =
        manifest.scan(&mut |line, error| reporter.trouble(format!("line {line}").as_bytes(), &error.to_string()));
    scanned.map_err(|error| Failure::local("cannot read the manifest", &error))
}

fn wanted(scan: &Scan) -> Result<Vec<i32>, Failure> {
    let algorithms: Vec<Algorithm> = Algorithm::ALL.into_iter().filter(|algorithm| scan.has(*algorithm)).collect();
    if algorithms.len() > MAX_ALGORITHMS {
        let text = format!(
            "the manifest has digests of {} algorithms, at most {MAX_ALGORITHMS} are computed at once",
            algorithms.len()
        );
        return Err(Failure::Local(text));
    }
    Ok(numbers(&algorithms))
}
