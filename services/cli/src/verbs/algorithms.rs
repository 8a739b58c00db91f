//! Which digests to compute.

use clap::Args;
use hashmesh::{limits::MAX_ALGORITHMS, v1::Algorithm};

use super::failure::Failure;

/// Which digests to compute.
#[derive(Args, Clone, Debug)]
pub(super) struct AlgorithmArgs {
    /// A digest to compute, for example sha256, sha512, blake3; several from one read if given more than once [default:
    /// sha256].
    #[arg(long, short, value_name = "NAME")]
    algorithm: Vec<Algorithm>,
}

impl AlgorithmArgs {
    /// As asked for; empty if nothing was said.
    pub(super) fn named(&self) -> Result<Vec<Algorithm>, Failure> {
        for (index, algorithm) in self.algorithm.iter().enumerate() {
            if self.algorithm[..index].contains(algorithm) {
                return Err(Failure::Usage(format!("--algorithm {} is given twice", algorithm.name())));
            }
        }
        if self.algorithm.len() > MAX_ALGORITHMS {
            return Err(Failure::Usage(format!("--algorithm may be given at most {MAX_ALGORITHMS} times")));
        }
        Ok(self.algorithm.clone())
    }

    /// As asked for; SHA-256 if nothing was said.
    pub(super) fn or_default(&self) -> Result<Vec<Algorithm>, Failure> {
        let named = self.named()?;
        Ok(if named.is_empty() { vec![Algorithm::Sha256] } else { named })
    }
}

/// Their numbers, as messages carry them.
pub(super) fn numbers(algorithms: &[Algorithm]) -> Vec<i32> {
    algorithms.iter().map(|algorithm| *algorithm as i32).collect()
}
