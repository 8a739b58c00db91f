//! Which digests to compute.

use clap::Args;
use hashmesh::{algorithm::check_part_bytes, limits::MAX_ALGORITHMS, v1::Algorithm};

use super::{failure::Failure, size::parse_size};

/// Which digests to compute.
#[derive(Args, Clone, Debug)]
pub(super) struct AlgorithmArgs {
    /// A digest to compute, for example sha256, sha512, blake3; several from one read if given more than once [default:
    /// sha256].
    #[arg(long, short, value_name = "NAME")]
    algorithm: Vec<Algorithm>,
    /// The length of the parts that composite digests (md5-composite, sha256-composite …) are computed over, for example
    /// 8MiB: as long as those that the objects were uploaded in. 5MiB to 5GiB.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    part_size: Option<u64>,
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
        let algorithms = if named.is_empty() { vec![Algorithm::Sha256] } else { named };
        check_part_bytes(&algorithms, self.part_bytes())
            .map_err(|error| Failure::Usage(format!("--part-size {error}")))?;
        Ok(algorithms)
    }

    /// The length of the parts of composite digests; 0 if nothing was said.
    pub(super) fn part_bytes(&self) -> u64 {
        self.part_size.unwrap_or(0)
    }
}

/// Their numbers, as messages carry them.
pub(super) fn numbers(algorithms: &[Algorithm]) -> Vec<i32> {
    algorithms.iter().map(|algorithm| *algorithm as i32).collect()
}
