//! Compares digests with what another program computes.

use std::process::Stdio;

use hashmesh::v1::Algorithm;
use hashmesh_hash::{Recipe, digest_into};
use serde_json::{Map, Value, json};
use tokio::{io::AsyncWriteExt as _, process::Command};

use super::stream::Input;
use crate::verbs::failure::Failure;

/// A task whose digests are compared.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) input: Input,
    /// As they came back, concatenated in the submission's order.
    pub(super) digests: Vec<u8>,
}

/// What the comparison found.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// Tasks compared.
    pub(super) tasks: usize,
    /// Which program was asked, by algorithm.
    pub(super) by: Map<String, Value>,
    /// What differs, for people.
    pub(super) wrong: Vec<String>,
}

/// What computes a digest besides the mesh.
#[derive(Clone, Copy, Debug)]
enum Reference {
    /// A program that reads standard input and prints the digest first.
    Program(&'static str),
    /// No such program here: our own code, in another process than the mesh's, and in a single call.
    Own,
}

/// Compares every sample.
pub(super) async fn check(algorithms: &[Algorithm], part_bytes: u64, samples: &[Sample]) -> Result<Checked, Failure> {
    let mut checked = Checked { tasks: samples.len(), ..Checked::default() };
    let mut start = 0;
    for algorithm in algorithms {
        let end = start + algorithm.digest_bytes();
        let reference = reference(*algorithm).await;
        let by = match reference {
            Reference::Program(program) => program,
            Reference::Own => "hashmesh (no independent program found)",
        };
        checked.by.insert(algorithm.name().to_owned(), json!(by));
        for sample in samples {
            let input = sample.input.bytes();
            let expected = reference.digest(*algorithm, part_bytes, &input).await?;
            let found = sample.digests.get(start..end).unwrap_or_default();
            if found != expected {
                let (found, expected) = (hex::encode(found), hex::encode(expected));
                let of = sample.input;
                checked
                    .wrong
                    .push(format!("{} of {of:?} is {expected} by {by}, came back as {found}", algorithm.name()));
            }
        }
        start = end;
    }
    Ok(checked)
}

/// The program for an algorithm, if it is here.
async fn reference(algorithm: Algorithm) -> Reference {
    let program = match algorithm {
        Algorithm::Md5 => "md5sum",
        Algorithm::Sha1 => "sha1sum",
        Algorithm::Sha224 => "sha224sum",
        Algorithm::Sha256 => "sha256sum",
        Algorithm::Sha384 => "sha384sum",
        Algorithm::Sha512 => "sha512sum",
        Algorithm::Blake3 => "b3sum",
        Algorithm::Blake2b512 => "b2sum",
        _ => return Reference::Own,
    };
    let there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().await;
    if there.is_ok_and(|status| status.success()) { Reference::Program(program) } else { Reference::Own }
}

impl Reference {
    async fn digest(self, algorithm: Algorithm, part_bytes: u64, input: &[u8]) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Program(program) => run(program, input).await,
            Self::Own => {
                let recipe = Recipe::new([algorithm], part_bytes)
                    .map_err(|error| Failure::local("no digest to compare with", &error))?;
                let mut digest = Vec::new();
                digest_into(&recipe, input, &mut digest);
                Ok(digest)
            }
        }
    }
}

async fn run(program: &str, input: &[u8]) -> Result<Vec<u8>, Failure> {
    let failed = |error: &dyn std::error::Error| Failure::local(&format!("cannot run {program}"), error);
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(&error))?;
    if let Some(mut stdin) = child.stdin.take() {
        // The program prints only after the end of its input, so this cannot wait for itself.
        stdin.write_all(input).await.map_err(|error| failed(&error))?;
    }
    let output = child.wait_with_output().await.map_err(|error| failed(&error))?;
    let digits = output.stdout.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    hex::decode(digits).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn programs_and_our_own_code_agree_where_both_are_here() {
        for algorithm in Algorithm::ALL {
            let own = Reference::Own.digest(algorithm, 1, b"abc").await.unwrap();
            let other = reference(algorithm).await.digest(algorithm, 1, b"abc").await.unwrap();
            assert_eq!(own, other, "{}", algorithm.name());
        }
    }
}
