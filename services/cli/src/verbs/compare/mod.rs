//! `hashmesh compare`: what two sides have in common, in bounded memory whatever their size.
//!
//! Each side is sorted by name (`sort.rs`), and the two are read side by side.

mod join;
mod packed;
mod side;
mod tree;

use std::{
    io::{self, BufWriter},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Args;
use hashmesh::{client::Client, limits::MAX_ALGORITHMS, tasks::Place, v1::Algorithm};

use self::{
    join::{Telling, join},
    side::{Root, Side},
    tree::Submitting,
};
use super::{
    algorithms::AlgorithmArgs,
    batches::BatchArgs,
    caching::CachingArgs,
    failure::{self, Failure},
    feed::object_uri,
    manifest::{Hints, Manifest, ReadArgs},
    output::Format,
    place::{NO_PLACE, place},
    placement::PlacementArgs,
    progress::ProgressArgs,
    recorded,
    reporter::Reporter,
    server::ServerArgs,
};

/// Compare two sides, name by name: manifests, submissions, directories, buckets.
///
/// A side is a manifest file (`-`: standard input), the id of a submission that has ended, a directory, which is submitted
/// first, or a place that the mesh lists and reads (s3://BUCKET, s3://BUCKET/PREFIX/, file:///PATH/ of the workers). The report is that of `rclone check A B --combined`: `= NAME` is in both and equal, `- NAME` is missing in A and
/// only in B, `+ NAME` is missing in B and only in A, `* NAME` differs, `! NAME` could not be read or compared (why is on
/// standard error); in byte order of the names. A line whose name has a line break or a backslash is escaped as in manifests
/// of coreutils, and starts with `\`. Only digests by algorithms that both sides have are compared, and sizes where both have
/// them.
///
/// Names are compared relative to each side's root: of a directory or place those below it; of a manifest or submission all as they
/// are, unless --root-a or --root-b says otherwise, or the other side is a directory below whose name (as typed) they are.
#[derive(Args, Debug)]
pub(crate) struct CompareArgs {
    /// The first side.
    #[arg(value_name = "A")]
    a: PathBuf,
    /// The second side.
    #[arg(value_name = "B")]
    b: PathBuf,
    /// The names of A are relative to this path or URI; what is not below it is left out.
    #[arg(long, value_name = "PREFIX")]
    root_a: Option<PathBuf>,
    /// The names of B are relative to this path or URI; what is not below it is left out.
    #[arg(long, value_name = "PREFIX")]
    root_b: Option<PathBuf>,
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
    /// The shape of the report: a sign and a name per line, one document, or an object per line.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
    /// Say nothing about what is equal.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    progress: ProgressArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// What a side is.
#[derive(Clone, Debug)]
enum Given {
    Manifest(PathBuf),
    Submission(String),
    Directory(PathBuf),
    Place(Place),
}

impl Given {
    fn of(path: &Path) -> Result<Self, Failure> {
        if recorded::names_a_submission(path) {
            return Ok(Self::Submission(path.to_string_lossy().into_owned()));
        }
        match place(path)? {
            // Names of any kind: what they would be relative to nobody knows.
            Some(Place::List(text)) => {
                let text =
                    format!("list:{text} has no names below it: submit it, and compare the submission by its id");
                return Err(Failure::Usage(text));
            }
            Some(place) => return Ok(Self::Place(place)),
            None => {}
        }
        if let Some(uri) = object_uri(path) {
            let text = format!("{uri} {NO_PLACE}: submit it, and compare the submission by its id");
            return Err(Failure::Usage(text));
        }
        Ok(if path.is_dir() { Self::Directory(path.to_owned()) } else { Self::Manifest(path.to_owned()) })
    }

    /// Where its names are, if they are to be found out.
    fn directory(&self) -> Option<Vec<u8>> {
        match self {
            Self::Directory(path) => Some(path.as_os_str().as_bytes().to_vec()),
            Self::Place(place) => Some(place.uri().into_bytes()),
            Self::Manifest(_) | Self::Submission(_) => None,
        }
    }
}

impl CompareArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        let started = Instant::now();
        if self.a.as_os_str() == "-" && self.b.as_os_str() == "-" {
            return Err(Failure::Usage("only one side can be standard input".into()));
        }
        let sides = [("A", Given::of(&self.a)?, &self.root_a), ("B", Given::of(&self.b)?, &self.root_b)];
        if let Some((who, ..)) = sides.iter().find(|(_, given, root)| given.directory().is_some() && root.is_some()) {
            return Err(Failure::Usage(format!("{who} is a directory, and its names are relative to it in any case")));
        }
        let reporter = Reporter::new(self.quiet, self.progress.progress(self.quiet));
        // Two manifests need no mesh.
        let client = self.server.client()?;
        let mut read = [None, None];
        for (index, (who, given, root)) in sides.iter().enumerate() {
            let other = sides[1 - index].1.directory();
            let root = Root { said: root.as_ref().map(|root| root.as_os_str().as_bytes().to_vec()), other };
            read[index] = self.read(&client, given, root, who, &reporter).await?;
        }
        // Directories come last: they are read with the algorithms that the other side has.
        let named = self.algorithms.named()?;
        let submitting = Submitting {
            client: &client,
            placement: self.placement,
            batches: self.batches,
            cache: self.caching.verifying(),
            reporter: &reporter,
        };
        for (index, (_, given, _)) in sides.iter().enumerate() {
            if given.directory().is_some() {
                let other = read[1 - index].as_ref().map_or(&[][..], |side| &side.algorithms);
                let algorithms = to_compute(&named, other)?;
                let part_bytes = match self.algorithms.part_bytes() {
                    0 => read[1 - index].as_ref().map_or(0, |side| side.part_bytes),
                    said => said,
                };
                let part_bytes = if algorithms.iter().any(|one| one.composite()) { part_bytes } else { 0 };
                read[index] = submitting.submit(given, &algorithms, part_bytes).await?;
            }
        }
        let [Some(a), Some(b)] = read else { return Ok(failure::OK) };
        let telling = Telling { format: self.output, quiet: self.quiet, reporter };
        report(a, b, telling, started).await
    }

    /// Reads a side that is not a directory.
    async fn read(
        &self,
        client: &Client,
        given: &Given,
        root: Root,
        who: &'static str,
        reporter: &Reporter,
    ) -> Result<Option<Side>, Failure> {
        let side = Side::new(root);
        match given {
            Given::Directory(_) | Given::Place(_) => Ok(None),
            Given::Submission(id) => of_submission(client, id, side).await.map(Some),
            Given::Manifest(path) => {
                let (path, args, reporter) = (path.clone(), self.read.clone(), reporter.clone());
                let hints = Hints { algorithms: self.algorithms.named()?, part_bytes: self.algorithms.part_bytes() };
                let shown = path.display().to_string();
                let read = tokio::task::spawn_blocking(move || {
                    let mut manifest = Manifest::open(&path, &args, hints)?;
                    side.read(&mut manifest, who, &reporter)
                });
                let read = read.await.map_err(|error| Failure::local("cannot read a manifest", &error))?;
                let side = read.map_err(|error| Failure::local(&format!("cannot read {shown}"), &error))?;
                if side.names + side.left_out == 0 && side.malformed > 0 {
                    return Err(Failure::Local(format!("{shown}: no properly formatted lines found")));
                }
                Ok(Some(side))
            }
        }
    }
}

/// Tells what changed from one submission to another: `+` is new, `-` has gone.
pub(super) async fn changes(
    client: &Client,
    before: &str,
    after: &str,
    format: Format,
    reporter: Reporter,
) -> Result<u8, Failure> {
    let started = Instant::now();
    let a = of_submission(client, after, Side::new(Root::default())).await?;
    let b = of_submission(client, before, Side::new(Root::default())).await?;
    report(a, b, Telling { format, quiet: true, reporter }, started).await
}

/// All that a submission recorded.
async fn of_submission(client: &Client, id: &str, mut side: Side) -> Result<Side, Failure> {
    let submission = recorded::ended(client, id).await?;
    side.part_bytes = submission.options.map_or(0, |options| options.part_bytes);
    let read = recorded::read(client, id, move |mut recorded| {
        recorded.try_for_each(|outcomes| side.take(&outcomes))?;
        Ok(side)
    });
    read.await
}

/// Sorts both sides, and tells how they differ.
async fn report(a: Side, b: Side, telling: Telling, started: Instant) -> Result<u8, Failure> {
    comparable(&a, &b)?;
    let reporter = telling.reporter.clone();
    for (who, side) in [("A", &a), ("B", &b)] {
        if side.left_out > 0 {
            reporter.inform(&format!("hashmesh: {} names of {who} are not below its root", side.left_out));
        }
    }
    let flawed = a.malformed + b.malformed > 0;
    let (in_a, in_b) = (a.names, b.names);
    let joined = tokio::task::spawn_blocking(move || {
        let lost = |error| Failure::local("cannot sort the names", &error);
        let mut out = BufWriter::new(io::stdout().lock());
        join(a.sorted().map_err(lost)?, b.sorted().map_err(lost)?, &telling, &mut out)
    });
    let tally = joined.await.map_err(|error| Failure::local("cannot compare", &error))??;
    let seconds = started.elapsed().as_secs_f64();
    reporter.inform(&format!("hashmesh: {in_a} names in A, {in_b} in B: {tally} in {seconds:.2} s"));
    Ok(if tally.flawed() || flawed { failure::TROUBLE } else { failure::OK })
}

/// Which digests of a directory's files are needed.
fn to_compute(named: &[Algorithm], other: &[Algorithm]) -> Result<Vec<Algorithm>, Failure> {
    let wanted = if other.is_empty() { named } else { other };
    let wanted = if wanted.is_empty() { &[Algorithm::Sha256][..] } else { wanted };
    if wanted.len() > MAX_ALGORITHMS {
        let text =
            format!("the other side has digests by {} algorithms, at most {MAX_ALGORITHMS} are computed", wanted.len());
        return Err(Failure::Local(text));
    }
    Ok(wanted.to_vec())
}

/// Refuses sides that have digests, and none by the same algorithm.
fn comparable(a: &Side, b: &Side) -> Result<(), Failure> {
    let names = |side: &Side| side.algorithms.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(", ");
    let none = !a.algorithms.iter().any(|algorithm| b.algorithms.contains(algorithm));
    if none && !a.algorithms.is_empty() && !b.algorithms.is_empty() {
        let text = format!("A has digests by {}, B by {}: they have no algorithm in common", names(a), names(b));
        return Err(Failure::Local(text));
    }
    let composite = a.algorithms.iter().find(|one| one.composite() && b.algorithms.contains(one));
    if let Some(algorithm) = composite
        && a.part_bytes > 0
        && b.part_bytes > 0
        && a.part_bytes != b.part_bytes
    {
        let (name, a, b) = (algorithm.name(), a.part_bytes, b.part_bytes);
        return Err(Failure::Local(format!(
            "A has {name} over parts of {a} bytes, B over parts of {b}: they never agree"
        )));
    }
    Ok(())
}
