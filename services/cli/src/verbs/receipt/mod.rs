//! `hashmesh receipt`: what a submission came to, in a form that can be checked without a mesh.

mod check;
mod document;
mod make;

use std::{
    ffi::OsString,
    fs::File,
    io::Read as _,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, ValueEnum};

use self::{
    check::MAX_DOCUMENT_BYTES,
    document::{Proof, Receipt},
    make::Wanted,
};
use super::{
    failure::{self, Failure},
    output::{Format, write_document, write_text},
    server::ServerArgs,
};

/// Write a submission's receipt; prove that an outcome is in it; check both without a mesh.
///
/// A receipt (JSON) has the root of a Merkle tree (RFC 9162, SHA-256) over all outcomes of a submission that has ended, by
/// position: whoever has it can tell whether a list of outcomes is the one that there was, to the last bit, and a proof of
/// some hundred bytes shows that of a single outcome. It says how many of the digests came from the cache; without --cache use
/// there is a receipt only where there are none. It is as good as the place where it is kept: nothing is signed.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct ReceiptArgs {
    #[command(subcommand)]
    command: Option<ReceiptCommand>,
    /// The submission, which must have ended.
    #[arg(value_name = "SUBMISSION", required = true)]
    id: Option<String>,
    /// Also of a submission some of whose digests came from the cache, their bytes not read; the receipt says of how many.
    #[arg(long, value_enum, value_name = "MODE", default_value_t)]
    cache: Cached,
    #[command(flatten)]
    server: ServerArgs,
}

/// What a receipt is given for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Cached {
    /// Digests whose bytes were all read.
    #[default]
    Bypass,
    /// Any digests.
    Use,
}

#[derive(Debug, Subcommand)]
enum ReceiptCommand {
    /// Write a proof that an outcome is one of a submission's (JSON).
    Prove(ProveArgs),
    /// Check a receipt without a mesh; the exit code is 1 if it does not hold.
    ///
    /// With a proof: that the proof's outcome is one of the receipt's. With a manifest: that its outcomes are all of the
    /// receipt's, and no others. With neither only that the receipt is one, and that its counts add up.
    Verify(CheckArgs),
}

#[derive(Args, Debug)]
struct ProveArgs {
    /// The submission, which must have ended.
    #[arg(value_name = "SUBMISSION")]
    id: String,
    /// The outcome of the task with this name.
    #[arg(long, value_name = "NAME", required_unless_present = "position", conflicts_with = "position")]
    name: Option<OsString>,
    /// The outcome at this position, from 1.
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(u64).range(1..))]
    position: Option<u64>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
struct CheckArgs {
    /// The receipt.
    #[arg(value_name = "RECEIPT")]
    receipt: PathBuf,
    /// A proof, as `receipt prove` writes it.
    #[arg(long, value_name = "PROOF", conflicts_with = "manifest")]
    proof: Option<PathBuf>,
    /// All outcomes, an object per line, as `submit --format jsonl` and `results --format jsonl` write them.
    #[arg(long, value_name = "MANIFEST")]
    manifest: Option<PathBuf>,
}

impl ReceiptArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        match self.command {
            Some(ReceiptCommand::Prove(args)) => {
                let wanted = match (args.name, args.position) {
                    (Some(name), _) => Wanted::Name(name.into_vec()),
                    (None, position) => Wanted::Position(position.unwrap_or_default()),
                };
                let proof = make::proof(&args.server.client()?, &args.id, wanted).await?;
                write_document(Format::Json, &proof).await?;
            }
            Some(ReceiptCommand::Verify(args)) => {
                let said = tokio::task::spawn_blocking(move || args.check()).await;
                let said = said.map_err(|error| Failure::local("cannot check", &error))??;
                write_text(&said).await?;
            }
            None => {
                let id = self.id.unwrap_or_default();
                let receipt = make::receipt(&self.server.client()?, &id).await?;
                if receipt.cached_tasks > 0 && self.cache == Cached::Bypass {
                    let cached = receipt.cached_tasks;
                    let text = format!(
                        "{cached} digests of submission {id} came from the cache, their bytes were not read for it: submit \
                         again with --cache bypass (or refresh), or say --cache use"
                    );
                    return Err(Failure::Local(text));
                }
                write_document(Format::Json, &receipt).await?;
            }
        }
        Ok(failure::OK)
    }
}

impl CheckArgs {
    /// What holds, for people.
    fn check(&self) -> Result<String, Failure> {
        let shown = self.receipt.display();
        let refused = |why: &dyn std::fmt::Display| Failure::Local(format!("{shown}: {why}"));
        let receipt = Receipt::parse(&read(&self.receipt)?).map_err(|error| refused(&error))?;
        let root = document::hash("root", &receipt.root).map_err(|error| refused(&error))?;
        let held = match (&self.proof, &self.manifest) {
            (Some(path), _) => {
                let in_proof = |why: &dyn std::fmt::Display| Failure::Local(format!("{}: {why}", path.display()));
                let proof = Proof::parse(&read(path)?).map_err(|error| in_proof(&error))?;
                check::proof(&receipt, &proof).map_err(|why| in_proof(&why))?
            }
            (None, Some(path)) => {
                check::outcomes(&receipt, path).map_err(|why| Failure::Local(format!("{}: {why}", path.display())))?
            }
            (None, None) => format!("{} outcomes, root {}", receipt.leaves, hex::encode(root)),
        };
        Ok(format!("OK: submission {}: {held}\n", receipt.submission_id))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let unread = |error| Failure::local(&format!("cannot read {}", path.display()), &error);
    let mut bytes = Vec::new();
    File::open(path).map_err(unread)?.take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
        return Err(Failure::Local(format!("{} has more than {MAX_DOCUMENT_BYTES} bytes", path.display())));
    }
    Ok(bytes)
}
