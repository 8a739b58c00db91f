//! What every part must agree on about algorithms: names, sizes, strength.

use std::str::FromStr;

use crate::{
    limits::{MAX_PART_BYTES, MIN_PART_BYTES},
    v1::Algorithm,
};

impl Algorithm {
    /// Every algorithm that hashmesh computes, in the order of their numbers.
    pub const ALL: [Self; 23] = [
        Self::Sha224,
        Self::Sha256,
        Self::Sha384,
        Self::Sha512,
        Self::Sha512256,
        Self::Sha3256,
        Self::Blake3,
        Self::Md5,
        Self::Sha1,
        Self::Sha3384,
        Self::Sha3512,
        Self::Blake2b512,
        Self::Sha256tree,
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64nvme,
        Self::Xxh364,
        Self::Xxh3128,
        Self::Md5Composite,
        Self::Sha1Composite,
        Self::Sha256Composite,
        Self::Crc32Composite,
        Self::Crc32cComposite,
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
            Self::Sha3384 => "sha3-384",
            Self::Sha3512 => "sha3-512",
            Self::Blake2b512 => "blake2b-512",
            Self::Sha256tree => "sha256tree",
            Self::Crc32 => "crc32",
            Self::Crc32c => "crc32c",
            Self::Crc64nvme => "crc64nvme",
            Self::Xxh364 => "xxh3-64",
            Self::Xxh3128 => "xxh3-128",
            Self::Md5Composite => "md5-composite",
            Self::Sha1Composite => "sha1-composite",
            Self::Sha256Composite => "sha256-composite",
            Self::Crc32Composite => "crc32-composite",
            Self::Crc32cComposite => "crc32c-composite",
        }
    }

    /// The name in BSD-style (`--tag`) manifests, as the tool that is known for the algorithm writes it: `sha256sum --tag`,
    /// `b2sum --tag`, `b3sum --tag`, `xxhsum --tag`. Where there is none, the name in capitals.
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
            Self::Sha3384 => "SHA3-384",
            Self::Sha3512 => "SHA3-512",
            Self::Blake2b512 => "BLAKE2b",
            Self::Sha256tree => "SHA256TREE",
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64nvme => "CRC64NVME",
            Self::Xxh364 => "XXH3",
            Self::Xxh3128 => "XXH128",
            Self::Md5Composite => "MD5-COMPOSITE",
            Self::Sha1Composite => "SHA1-COMPOSITE",
            Self::Sha256Composite => "SHA256-COMPOSITE",
            Self::Crc32Composite => "CRC32-COMPOSITE",
            Self::Crc32cComposite => "CRC32C-COMPOSITE",
        }
    }

    /// A digest's length in bytes.
    #[must_use]
    pub fn digest_bytes(self) -> usize {
        match self {
            Self::Unspecified => 0,
            Self::Crc32 | Self::Crc32c | Self::Crc32Composite | Self::Crc32cComposite => 4,
            Self::Crc64nvme | Self::Xxh364 => 8,
            Self::Md5 | Self::Md5Composite | Self::Xxh3128 => 16,
            Self::Sha1 | Self::Sha1Composite => 20,
            Self::Sha224 => 28,
            Self::Sha256 | Self::Sha512256 | Self::Sha3256 | Self::Blake3 | Self::Sha256tree => 32,
            Self::Sha256Composite => 32,
            Self::Sha384 | Self::Sha3384 => 48,
            Self::Sha512 | Self::Sha3512 | Self::Blake2b512 => 64,
        }
    }

    /// False where collisions can be made: such digests detect accidents, not attacks.
    #[must_use]
    pub fn collision_resistant(self) -> bool {
        match self {
            Self::Sha224 | Self::Sha256 | Self::Sha384 | Self::Sha512 | Self::Sha512256 => true,
            Self::Sha3256 | Self::Sha3384 | Self::Sha3512 | Self::Blake2b512 | Self::Blake3 => true,
            // Equal digests of digests have equal digests of parts behind them.
            Self::Sha256tree | Self::Sha256Composite => true,
            Self::Unspecified | Self::Md5 | Self::Sha1 | Self::Md5Composite | Self::Sha1Composite => false,
            Self::Crc32 | Self::Crc32c | Self::Crc64nvme | Self::Crc32Composite | Self::Crc32cComposite => false,
            Self::Xxh364 | Self::Xxh3128 => false,
        }
    }

    /// True where the digest is that of the digests of the input's parts, and depends on how long these are.
    #[must_use]
    pub fn composite(self) -> bool {
        matches!(
            self,
            Self::Md5Composite
                | Self::Sha1Composite
                | Self::Sha256Composite
                | Self::Crc32Composite
                | Self::Crc32cComposite
        )
    }
}

/// Why a part size does not fit the algorithms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartBytesError {
    /// It is needed.
    #[error(
        "must be {MIN_PART_BYTES} to {MAX_PART_BYTES} for {}: as long as the parts that the objects were uploaded in",
        .algorithm.name()
    )]
    Missing {
        /// What needs it.
        algorithm: Algorithm,
    },
    /// It is below or above what object stores take.
    #[error("must be {MIN_PART_BYTES} to {MAX_PART_BYTES}; is {found}")]
    Range {
        /// As given.
        found: u64,
    },
    /// Nothing depends on it.
    #[error("must be 0 without a composite algorithm; is {found}")]
    Unneeded {
        /// As given.
        found: u64,
    },
}

/// Checks the part size of composite digests, [`MIN_PART_BYTES`] to [`MAX_PART_BYTES`]; 0 where there is none among
/// `algorithms`.
///
/// # Errors
/// What is wanted instead.
pub fn check_part_bytes(algorithms: &[Algorithm], part_bytes: u64) -> Result<(), PartBytesError> {
    let composite = algorithms.iter().find(|algorithm| algorithm.composite());
    match (composite, part_bytes) {
        (None, 0) => Ok(()),
        (None, found) => Err(PartBytesError::Unneeded { found }),
        (Some(algorithm), 0) => Err(PartBytesError::Missing { algorithm: *algorithm }),
        (Some(_), MIN_PART_BYTES..=MAX_PART_BYTES) => Ok(()),
        (Some(_), found) => Err(PartBytesError::Range { found }),
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
    /// Also the names that `xxhsum` and `b2sum` go by.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let bare = |text: &str| text.to_ascii_lowercase().replace(['-', '_', '/'], "");
        let wanted = bare(name);
        Self::ALL
            .into_iter()
            .find(|algorithm| bare(algorithm.name()) == wanted || bare(algorithm.tag()) == wanted)
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
        for (name, algorithm) in [
            ("b2sum", None),
            ("blake2b", Some(Algorithm::Blake2b512)),
            ("XXH3_64", Some(Algorithm::Xxh364)),
            ("xxh3", Some(Algorithm::Xxh364)),
            ("xxh128", Some(Algorithm::Xxh3128)),
            ("SHA3/512", Some(Algorithm::Sha3512)),
            ("crc-32c", Some(Algorithm::Crc32c)),
        ] {
            assert_eq!(name.parse().ok(), algorithm, "{name}");
        }
        assert!("sha257".parse::<Algorithm>().is_err());
        assert_eq!(Algorithm::known(0), None);
        assert_eq!(Algorithm::known(99), None);
    }

    #[test]
    fn no_two_algorithms_go_by_one_name_and_each_has_its_number_once() {
        let bare = |text: &str| text.to_ascii_lowercase().replace(['-', '_', '/'], "");
        for (place, one) in Algorithm::ALL.into_iter().enumerate() {
            assert_eq!(one as usize, place + 1);
            for other in Algorithm::ALL.into_iter().filter(|other| *other != one) {
                for name in [one.name(), one.tag()] {
                    assert!(![bare(other.name()), bare(other.tag())].contains(&bare(name)), "{name}: {other:?}");
                }
            }
        }
        // Sets of algorithms are 64 bits.
        assert!(Algorithm::ALL.len() < 64);
    }

    #[test]
    fn a_part_size_is_wanted_by_composite_algorithms_only_and_within_its_limits() {
        let plain = [Algorithm::Sha256, Algorithm::Md5];
        let composite = [Algorithm::Sha256, Algorithm::Md5Composite];
        assert_eq!(check_part_bytes(&plain, 0), Ok(()));
        assert_eq!(check_part_bytes(&plain, MIN_PART_BYTES), Err(PartBytesError::Unneeded { found: MIN_PART_BYTES }));
        let missing = PartBytesError::Missing { algorithm: Algorithm::Md5Composite };
        assert_eq!(check_part_bytes(&composite, 0), Err(missing));
        for (part_bytes, fits) in [
            (MIN_PART_BYTES - 1, false),
            (MIN_PART_BYTES, true),
            (MAX_PART_BYTES, true),
            (MAX_PART_BYTES + 1, false),
            (u64::MAX, false),
        ] {
            assert_eq!(check_part_bytes(&composite, part_bytes).is_ok(), fits, "{part_bytes}");
        }
    }
}
