//! What every part must agree on about algorithms: names, sizes, strength.

use std::str::FromStr;

use crate::v1::Algorithm;

impl Algorithm {
    /// Every algorithm that hashmesh computes, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Sha224,
        Self::Sha256,
        Self::Sha384,
        Self::Sha512,
        Self::Sha512256,
        Self::Sha3256,
        Self::Blake3,
        Self::Md5,
        Self::Sha1,
    ];

    /// The algorithm with this number, unless it is unknown or unspecified.
    #[must_use]
    pub fn known(number: i32) -> Option<Self> {
        Self::try_from(number).ok().filter(|algorithm| *algorithm != Self::Unspecified)
    }

    /// The name on the command line and in JSON, for example `sha512-256`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
            Self::Sha512256 => "sha512-256",
            Self::Sha3256 => "sha3-256",
            Self::Blake3 => "blake3",
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
        }
    }

    /// The name in BSD-style (`--tag`) manifests, as coreutils' `sha256sum --tag` and `b3sum --tag` write it.
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Self::Unspecified => "UNSPECIFIED",
            Self::Sha224 => "SHA224",
            Self::Sha256 => "SHA256",
            Self::Sha384 => "SHA384",
            Self::Sha512 => "SHA512",
            Self::Sha512256 => "SHA512-256",
            Self::Sha3256 => "SHA3-256",
            Self::Blake3 => "BLAKE3",
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA1",
        }
    }

    /// A digest's length in bytes.
    #[must_use]
    pub fn digest_bytes(self) -> usize {
        match self {
            Self::Unspecified => 0,
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 | Self::Sha512256 | Self::Sha3256 | Self::Blake3 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// False where collisions can be made: such digests detect accidents, not attacks.
    #[must_use]
    pub fn collision_resistant(self) -> bool {
        !matches!(self, Self::Unspecified | Self::Md5 | Self::Sha1)
    }
}

/// The length of one task's digests: one per algorithm, concatenated.
#[must_use]
pub fn stride(algorithms: &[Algorithm]) -> usize {
    algorithms.iter().map(|algorithm| algorithm.digest_bytes()).sum()
}

/// A name that is no algorithm's.
#[derive(Debug, thiserror::Error)]
#[error("unknown algorithm {name:?}; known: {}", Algorithm::ALL.map(Algorithm::name).join(", "))]
pub struct UnknownAlgorithm {
    /// The name as given.
    pub name: String,
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    /// Reads a name of the command line or of a BSD-style manifest; case and the separators `-`, `_`, `/` do not matter.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let bare = |text: &str| text.to_ascii_lowercase().replace(['-', '_', '/'], "");
        Self::ALL
            .into_iter()
            .find(|algorithm| bare(algorithm.name()) == bare(name))
            .ok_or_else(|| UnknownAlgorithm { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_and_every_tag_reads_back_as_its_algorithm() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.name().parse::<Algorithm>().ok(), Some(algorithm));
            assert_eq!(algorithm.tag().parse::<Algorithm>().ok(), Some(algorithm));
            assert_eq!(Algorithm::known(algorithm as i32), Some(algorithm));
        }
        assert!("sha257".parse::<Algorithm>().is_err());
        assert_eq!(Algorithm::known(0), None);
        assert_eq!(Algorithm::known(99), None);
    }
}
