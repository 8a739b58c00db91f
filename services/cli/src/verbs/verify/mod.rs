//! `hashmesh verify`: checks files against a manifest.

mod check;

use std::{ffi::OsString, io, os::unix::ffi::OsStringExt as _, path::PathBuf, time::Instant};

use clap::Args;
use hashmesh::{
    client::{Client, Target},
    limits::MAX_ALGORITHMS,
    v1::{Algorithm, CacheMode, SubmissionOptions},
};

use self::check::CheckPrinter;
use super::{
    algorithms::{AlgorithmArgs, numbers},
    batches::BatchArgs,
    caching::{CachingArgs, mode_name},
    deliver::{Open, deliver},
    failure::{self, Failure},
    feed::{self, Feed, Stopped, Unread},
    manifest::{Entry, Hints, Manifest, ReadArgs},
    output::{Format, Output},
    placement::PlacementArgs,
    progress::ProgressArgs,
    recorded,
    reporter::Reporter,
    resume::Resume,
    server::ServerArgs,
    submission,
};

/// Read what a manifest or a submission names again and compare the digests.
///
/// Says of each name, in the grammar of `rclone check --combined`, whether it is as the manifest has it (`= NAME`), is not
/// there any more (`- NAME`: only in the manifest), differs (`* NAME`), or could not be read (`! NAME`; why is on standard
/// error). A line whose name has a line break or a backslash is escaped as in manifests of coreutils, and starts with `\`.
///
/// Reads the manifests of coreutils (with and without --tag), hashdeep, BagIt and rclone, S3 inventories (their
/// manifest.json), and objects per line, compressed with gzip or not; of a submission its names and digests. Names are paths relative to the current directory, or
/// URIs.
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// The manifest (`-` is standard input), or the id of a submission that has ended.
    #[arg(value_name = "MANIFEST|SUBMISSION")]
    manifest: PathBuf,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    algorithms: AlgorithmArgs,
    #[command(flatten)]
    placement: PlacementArgs,
    #[command(flatten)]
    batches: BatchArgs,
    #[command(flatten)]
    caching: CachingArgs,
    /// The shape of the outcomes: a sign and a name per line, one document, or an object per line.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
    /// Say nothing about what is right.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    progress: ProgressArgs,
    #[command(flatten)]
    server: ServerArgs,
}

impl VerifyArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        let started = Instant::now();
        let client = self.server.client()?;
        let reporter = Reporter::new(self.quiet, self.progress.progress(self.quiet));
        let mut manifest = self.open(&client).await?;
        let scan =
            scan(&mut manifest, &reporter).map_err(|error| Failure::local("cannot read the manifest", &error))?;
        if scan.entries == 0 {
            return Err(Failure::Local(format!("{}: nothing to verify was found", self.manifest.display())));
        }
        let (algorithms, part_bytes) = (wanted(&scan)?, self.part_bytes(&client, &scan).await?);
        let cache = self.caching.verifying();
        let options = SubmissionOptions { algorithms, part_bytes, cache: cache.into(), ..SubmissionOptions::default() };
        let submitter = client.submit(Target::New { options, idempotency_key: None }).await?;
        let submission_id = submitter.submission_id().to_owned();
        reporter.inform(&format!("hashmesh: submission {submission_id}"));
        let builder = self.batches.builder(submitter.limits());
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
                read_again(feed, &entry)?;
            }
        })?;
        let mut output = Output::new();
        let mut printer = CheckPrinter::new(self.output, self.quiet, reporter.clone());
        printer.begin(&mut output);
        let open = Open { submission_id, sending: Some((submitter, feed)), resume: Resume::Anew };
        let last = deliver(&client, open, &reporter, &mut printer, &mut output).await?;
        printer.end(&last, &mut output)?;
        output.flush().await?;
        if scan.malformed > 0 {
            let what = if scan.malformed == 1 { "line is" } else { "lines are" };
            reporter.warn(&format!("hashmesh: {} {what} improperly formatted", scan.malformed));
        }
        if printer.tally().flawed() {
            // Also when it is quiet.
            reporter.warn(&format!("hashmesh: {}", printer.tally()));
        }
        reporter.inform(&format!(
            "hashmesh: {} in {:.2} s; {}",
            submission::summary(&last),
            started.elapsed().as_secs_f64(),
            said_of_bytes(cache, printer.cached_tasks()),
        ));
        let flawed = printer.tally().flawed() || scan.malformed > 0 || reporter.troubles() > 0;
        Ok(submission::exit_code(&last).max(if flawed { failure::TROUBLE } else { failure::OK }))
    }
}

impl VerifyArgs {
    /// The part size of composite digests: as the user said, else that of the submission that computed them.
    async fn part_bytes(&self, client: &Client, scan: &Scan) -> Result<u64, Failure> {
        let (said, composite) = (self.algorithms.part_bytes(), scan.algorithms.iter().any(|one| one.composite()));
        if said > 0 || !composite || !recorded::names_a_submission(&self.manifest) {
            return Ok(said);
        }
        let submission = client.get_submission(&self.manifest.to_string_lossy()).await?;
        Ok(submission.options.map_or(0, |options| options.part_bytes))
    }

    async fn open(&self, client: &Client) -> Result<Manifest, Failure> {
        if recorded::names_a_submission(&self.manifest) {
            return recorded::manifest(client, &self.manifest.to_string_lossy()).await;
        }
        let hints = Hints { algorithms: self.algorithms.named()?, part_bytes: self.algorithms.part_bytes() };
        let opened = Manifest::open(&self.manifest, &self.read, hints);
        opened.map_err(|error| Failure::local(&format!("cannot read {}", self.manifest.display()), &error))
    }
}

/// Whether bytes were compared, or what is known of them.
fn said_of_bytes(cache: CacheMode, cached_tasks: u64) -> String {
    match (cache, cached_tasks) {
        (CacheMode::Use, 0) => "all bytes were read".to_owned(),
        (CacheMode::Use, cached) => format!("{cached} of the digests came from the cache, their bytes were not read"),
        (mode, _) => format!("all bytes were read (cache: {})", mode_name(mode)),
    }
}

/// A task for what an entry names.
fn read_again(feed: &mut Feed, entry: &Entry) -> Result<(), Stopped> {
    if entry.digests.is_empty() {
        return feed.unread(&entry.name, Unread::Other("there is no digest of it to compare with".to_owned()));
    }
    let path = PathBuf::from(OsString::from_vec(entry.name.clone()));
    feed.file(&entry.name, &path, true, &entry.digests)
}

/// What a manifest holds.
#[derive(Debug, Default)]
struct Scan {
    entries: u64,
    malformed: u64,
    algorithms: Vec<Algorithm>,
}

/// Reads the whole manifest once, to know which digests to ask for; it is then at its start again.
fn scan(manifest: &mut Manifest, reporter: &Reporter) -> io::Result<Scan> {
    let mut scan = Scan::default();
    let mut malformed = 0;
    while let Some(entry) = manifest.next_entry(&mut |line, error| {
        malformed += 1;
        reporter.trouble(format!("line {line}").as_bytes(), &error.to_string());
    })? {
        scan.entries += 1;
        for (algorithm, _) in &entry.digests {
            if !scan.algorithms.contains(algorithm) {
                scan.algorithms.push(*algorithm);
            }
        }
    }
    scan.malformed = malformed;
    manifest.rewind();
    Ok(scan)
}

fn wanted(scan: &Scan) -> Result<Vec<i32>, Failure> {
    let found = |algorithm: &Algorithm| scan.algorithms.contains(algorithm);
    let algorithms: Vec<Algorithm> = Algorithm::ALL.into_iter().filter(found).collect();
    if algorithms.len() > MAX_ALGORITHMS {
        let text = format!(
            "the manifest has digests of {} algorithms, at most {MAX_ALGORITHMS} are computed at once",
            algorithms.len()
        );
        return Err(Failure::Local(text));
    }
    Ok(numbers(&algorithms))
}
