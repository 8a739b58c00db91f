//! `hashmesh sum`: digests of files of this machine, without a mesh, in place of `sha256sum` and `b3sum`.
//!
//! Options, lines, messages and exit codes are those of coreutils 9.1, to the byte, but for the program's name; what is there
//! besides (algorithms, directories, threads) changes nothing where it is not asked for. How files are read and digested side by side is
//! `hashmesh_hash::digest_files`.

mod check;
mod line;
mod list;
mod names;
mod quote;
mod talk;

use std::{ffi::OsString, num::NonZeroUsize, os::unix::ffi::OsStrExt as _, path::PathBuf};

use clap::Args;
use hashmesh::v1::Algorithm;
use hashmesh_hash::{Recipe, digest_files};
use hashmesh_runtime::resources;

use self::{
    check::{Checking, Checks, Counts, Manner},
    line::Reader,
    list::Listing,
    names::Names,
    quote::quote_always,
    talk::{PROGRAM, Talk, said},
};
use super::{
    algorithms::AlgorithmArgs,
    failure::Failure,
    failure::{OK, TROUBLE},
    manifest::End,
};
use crate::kernels::KernelArgs;

/// Print or check digests of files of this machine, as sha256sum and b3sum do; no mesh is needed.
///
/// Without a FILE, or where it is `-`, standard input is read. Exit codes are those of sha256sum: 0, or 1 if anything could not be
/// read or did not match.
#[derive(Args, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "the options of sha256sum")]
pub(crate) struct SumArgs {
    /// Files, in the order of the output.
    #[arg(value_name = "FILE")]
    files: Vec<OsString>,
    #[command(flatten)]
    algorithms: AlgorithmArgs,
    /// Mark names with `*`; what is read is the same.
    #[arg(long, short, overrides_with_all = ["text", "binary"])]
    binary: bool,
    /// Mark names with a space, which is the default.
    #[arg(long, short, overrides_with_all = ["binary", "text"])]
    text: bool,
    /// Write `SHA256 (NAME) = DIGEST`, which also says the algorithm; so are several digests of one file in any case.
    #[arg(long, overrides_with = "tag")]
    tag: bool,
    /// End each line with NUL instead of LF, and escape no names.
    #[arg(long, short, overrides_with = "zero")]
    zero: bool,
    /// Read digests from the FILEs and check them. Each line's algorithm is known by its tag or its digest's length; with
    /// --algorithm only those named are taken.
    #[arg(long, short, overrides_with = "check")]
    check: bool,
    /// With --check: leave out files that are not there.
    #[arg(long, overrides_with = "ignore_missing")]
    ignore_missing: bool,
    /// With --check: say nothing about what is right.
    #[arg(long, overrides_with_all = ["status", "warn", "quiet"])]
    quiet: bool,
    /// With --check: say nothing; the exit code tells.
    #[arg(long, overrides_with_all = ["quiet", "warn", "status"])]
    status: bool,
    /// With --check: fail if a line is improperly formatted.
    #[arg(long, overrides_with = "strict")]
    strict: bool,
    /// With --check: warn of each line that is improperly formatted.
    #[arg(long, short, overrides_with_all = ["quiet", "status", "warn"])]
    warn: bool,
    /// Digest the files below directories, in byte order of their names. Symbolic links below them are not followed.
    #[arg(long, short, overrides_with = "recursive")]
    recursive: bool,
    /// Read the names of files, each ended by NUL, from this file; `-` is standard input.
    #[arg(long, value_name = "F")]
    files0_from: Option<PathBuf>,
    /// Threads that read and digest [default: one per CPU].
    #[arg(long, value_name = "N", alias = "num-threads")]
    threads: Option<NonZeroUsize>,
    #[command(flatten)]
    kernels: KernelArgs,
}

impl SumArgs {
    pub(super) fn run(self) -> Result<u8, Failure> {
        self.kernels.allow();
        let mut talk = Talk::new();
        if let Some(text) = self.contradiction() {
            talk.complain(&format!("{text}\nTry '{PROGRAM} --help' for more information."));
            return Ok(TROUBLE);
        }
        let threads = self.threads.or_else(|| NonZeroUsize::new(resources::cpus())).unwrap_or(NonZeroUsize::MIN);
        let names = match &self.files0_from {
            None => Names::of_arguments(self.files.iter().map(PathBuf::from).collect(), self.recursive),
            Some(list) => match Names::of_list(list.clone(), self.recursive) {
                Ok(names) => names,
                Err(error) => {
                    let list = quote_always(list.as_os_str().as_bytes());
                    talk.complain(&format!("cannot open {list} for reading: {}", said(&error)));
                    return Ok(TROUBLE);
                }
            },
        };
        if self.check { self.verify(names, threads, talk) } else { self.list(names, threads, talk) }
    }

    fn list(&self, names: Names, threads: NonZeroUsize, mut talk: Talk) -> Result<u8, Failure> {
        let algorithms = self.algorithms.or_default()?;
        let tag = self.tag || algorithms.len() > 1;
        let end = if self.zero { End::Zero } else { End::Line };
        let recipe = recipe(&algorithms, self.algorithms.part_bytes())?;
        let listing = Listing { algorithms, tag, binary: self.binary, end };
        digest_files(&[recipe], threads, names, |named, digests| listing.tell(&named, digests, &mut talk));
        let code = if talk.complained() { TROUBLE } else { OK };
        talk.end().map(|()| code)
    }

    fn verify(&self, names: Names, threads: NonZeroUsize, mut talk: Talk) -> Result<u8, Failure> {
        let (named, part_bytes) = (self.algorithms.named()?, self.algorithms.part_bytes());
        if !named.is_empty() {
            self.algorithms.or_default()?;
        }
        // One for each algorithm that a line may name. That of a composite one without a part size is never asked for.
        let recipes: Vec<Recipe> = Algorithm::ALL
            .iter()
            .map(|algorithm| recipe(&[*algorithm], part_bytes.max(u64::from(algorithm.composite()))))
            .collect::<Result<_, _>>()?;
        let tag = named.first().copied().unwrap_or(Algorithm::Sha256).tag();
        let manner = Manner {
            ignore_missing: self.ignore_missing,
            quiet: self.quiet,
            status: self.status,
            strict: self.strict,
            warn: self.warn,
        };
        let mut checking = Checking { manner, tag, counts: Counts::default(), failed: false };
        let checks = Checks::new(names, Reader::new(named, part_bytes));
        digest_files(&recipes, threads, checks, |found, digests| checking.tell(&found, digests, &mut talk));
        let code = if checking.failed { TROUBLE } else { OK };
        talk.end().map(|()| code)
    }

    /// Options that make no sense together, in the words and the order of coreutils.
    fn contradiction(&self) -> Option<String> {
        let verifying = [
            (self.ignore_missing, "ignore-missing"),
            (self.status, "status"),
            (self.warn, "warn"),
            (self.quiet, "quiet"),
            (self.strict, "strict"),
        ];
        if self.tag && self.text {
            Some("--tag does not support --text mode".to_owned())
        } else if self.zero && self.check {
            Some("the --zero option is not supported when verifying checksums".to_owned())
        } else if self.tag && self.check {
            Some("the --tag option is meaningless when verifying checksums".to_owned())
        } else if (self.binary || self.text) && self.check {
            Some("the --binary and --text options are meaningless when verifying checksums".to_owned())
        } else if self.recursive && self.check {
            Some("the --recursive option is meaningless when verifying checksums".to_owned())
        } else if let Some((_, name)) = verifying.iter().find(|(said, _)| *said && !self.check) {
            Some(format!("the --{name} option is meaningful only when verifying checksums"))
        } else if let (Some(_), Some(file)) = (&self.files0_from, self.files.first()) {
            let file = quote_always(file.as_bytes());
            Some(format!("extra operand {file}\nfile operands cannot be combined with --files0-from"))
        } else {
            None
        }
    }
}

fn recipe(algorithms: &[Algorithm], part_bytes: u64) -> Result<Recipe, Failure> {
    Recipe::new(algorithms, part_bytes).map_err(|error| Failure::Usage(error.to_string()))
}
