//! Which implementations compute the digests on this machine.

use std::{borrow::Cow, sync::LazyLock};

use hashmesh::v1::Algorithm;

use crate::kernels;

/// Names the implementations of these algorithms and the CPU features that they found, each once, separated by commas: for
/// example `hashmesh-sha256-3/sha-ni-x2,sha2-0.11/sha-ni+avx2,crc-fast-1.10/avx512`. Where several may have computed a
/// digest, all are named. Stored with every result, so that a defect found later in one of
/// them tells which results to compute again.
#[must_use]
pub fn kernel_of(algorithms: &[Algorithm]) -> Cow<'static, str> {
    // The common case, per task where tasks come alone.
    if algorithms.iter().all(|algorithm| library(*algorithm) == Library::Sha256) {
        return Cow::Borrowed(&SHA256);
    }
    let mut seen: Vec<Library> = Vec::with_capacity(algorithms.len());
    let mut names: Vec<String> = Vec::with_capacity(algorithms.len());
    for library in algorithms.iter().map(|algorithm| library(*algorithm)) {
        if !seen.contains(&library) {
            seen.push(library);
            for part in library.path().split(',') {
                if !names.iter().any(|name| name == part) {
                    names.push(part.to_owned());
                }
            }
        }
    }
    names.join(",").into()
}

/// Of our own kernels: goes up with every change to what they compute with, so that results of before and after it can be told
/// apart.
const REVISION: u32 = 3;

static SHA256: LazyLock<String> = LazyLock::new(|| with_ours::<u32>("hashmesh-sha256"));
static SHA512: LazyLock<String> = LazyLock::new(|| with_ours::<u64>("hashmesh-sha512"));
static BOTH: LazyLock<String> = LazyLock::new(|| kernel_of(&[Algorithm::Sha256, Algorithm::Sha512]).into_owned());

/// Our kernels for a family and the library that computes what is left alone.
fn with_ours<W: kernels::Family>(name: &str) -> String {
    kernels::names::<W>().map_or_else(|| sha2().to_owned(), |ours| format!("{name}-{REVISION}/{ours},{}", sha2()))
}

/// What algorithms are computed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Library {
    /// SHA-256 and what is made of it.
    Sha256,
    /// SHA-512 and what is cut from it.
    Sha512,
    Sha3,
    Sha1,
    Md5,
    Blake2b,
    Blake3,
    Crc,
    TwoxHash,
}

fn library(algorithm: Algorithm) -> Library {
    match algorithm {
        Algorithm::Sha224 | Algorithm::Sha256 | Algorithm::Sha256tree | Algorithm::Sha256Composite => Library::Sha256,
        Algorithm::Sha384 | Algorithm::Sha512 | Algorithm::Sha512256 => Library::Sha512,
        // Computes nothing.
        Algorithm::Unspecified => Library::Sha256,
        Algorithm::Sha3256 | Algorithm::Sha3384 | Algorithm::Sha3512 => Library::Sha3,
        Algorithm::Sha1 | Algorithm::Sha1Composite => Library::Sha1,
        Algorithm::Md5 | Algorithm::Md5Composite => Library::Md5,
        Algorithm::Blake2b512 => Library::Blake2b,
        Algorithm::Blake3 => Library::Blake3,
        Algorithm::Crc32 | Algorithm::Crc32c | Algorithm::Crc64nvme => Library::Crc,
        Algorithm::Crc32Composite | Algorithm::Crc32cComposite => Library::Crc,
        Algorithm::Xxh364 | Algorithm::Xxh3128 => Library::TwoxHash,
    }
}

impl Library {
    /// The library, and the CPU features by which it chooses its path.
    fn path(self) -> Cow<'static, str> {
        let (library, feature) = match self {
            Self::Sha256 => return Cow::Borrowed(&SHA256),
            Self::Sha512 => return Cow::Borrowed(&SHA512),
            Self::Sha3 => ("sha3-0.12", None),
            Self::Md5 => ("md-5-0.11", None),
            Self::Sha1 => ("sha1-0.11", sha_instructions()),
            Self::Blake2b => ("blake2b_simd-1.0", widest(&["avx2", "sse4.1"])),
            Self::Blake3 => ("blake3-1.8", widest(&["avx512", "avx2", "sse4.1", "neon"])),
            Self::Crc => ("crc-fast-1.10", widest(&["vpclmulqdq", "pclmulqdq", "aes"])),
            Self::TwoxHash => ("twox-hash-2.1", widest(&["avx2", "sse4.1", "neon"])),
        };
        format!("{library}/{}", feature.unwrap_or("portable")).into()
    }
}

/// The first of `names` that this CPU has.
fn widest(names: &[&'static str]) -> Option<&'static str> {
    let found = vector_features();
    names.iter().copied().find(|name| found.iter().any(|(has, other)| *has && other == name))
}

fn sha_instructions() -> Option<&'static str> {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    let found = std::arch::is_x86_feature_detected!("sha").then_some("sha-ni");
    #[cfg(target_arch = "aarch64")]
    let found = std::arch::is_aarch64_feature_detected!("sha2").then_some("sha2");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    let found = None;
    found
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn vector_features() -> [(bool, &'static str); 5] {
    [
        (std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512vl"), "avx512"),
        (std::arch::is_x86_feature_detected!("avx2"), "avx2"),
        (std::arch::is_x86_feature_detected!("sse4.1"), "sse4.1"),
        (
            std::arch::is_x86_feature_detected!("vpclmulqdq") && std::arch::is_x86_feature_detected!("avx512vl"),
            "vpclmulqdq",
        ),
        (std::arch::is_x86_feature_detected!("pclmulqdq"), "pclmulqdq"),
    ]
}

#[cfg(target_arch = "aarch64")]
fn vector_features() -> [(bool, &'static str); 2] {
    [(std::arch::is_aarch64_feature_detected!("neon"), "neon"), (std::arch::is_aarch64_feature_detected!("aes"), "aes")]
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
fn vector_features() -> [(bool, &'static str); 0] {
    []
}

/// Those of SHA-2, for example `hashmesh-sha256-3/sha-ni-x2,sha2-0.11/sha-ni+avx2,hashmesh-sha512-3/avx2-x4`.
#[must_use]
pub fn kernel() -> &'static str {
    &BOTH
}

/// The library, for example `sha2-0.11/sha-ni+avx2`.
fn sha2() -> &'static str {
    // The library decides at run time by these same features: SHA-224/256 by the first, SHA-384/512 by the second.
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    let features = (
        std::arch::is_x86_feature_detected!("sha") && std::arch::is_x86_feature_detected!("sse4.1"),
        std::arch::is_x86_feature_detected!("avx2"),
    );
    #[cfg(target_arch = "aarch64")]
    let features = (std::arch::is_aarch64_feature_detected!("sha2"), std::arch::is_aarch64_feature_detected!("sha3"));
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    let features = (false, false);

    match (cfg!(target_arch = "aarch64"), features) {
        (_, (false, false)) => "sha2-0.11/portable",
        (false, (true, true)) => "sha2-0.11/sha-ni+avx2",
        (false, (true, false)) => "sha2-0.11/sha-ni",
        (false, (false, true)) => "sha2-0.11/avx2",
        (true, (true, true)) => "sha2-0.11/sha2+sha3",
        (true, (true, false)) => "sha2-0.11/sha2",
        (true, (false, true)) => "sha2-0.11/sha3",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_name_the_locked_versions() {
        let lock = include_str!("../../../Cargo.lock");
        for part in kernel_of(&Algorithm::ALL).split(',') {
            let (library, version) = part.split('/').next().unwrap().rsplit_once('-').unwrap();
            let ours = library.starts_with("hashmesh-") && version == REVISION.to_string();
            let locked = format!("name = \"{library}\"\nversion = \"{version}.");
            assert!(ours || lock.contains(&locked), "{part} is not what is locked");
        }
    }

    #[test]
    fn a_kernel_names_what_may_compute_the_algorithms_and_nothing_else() {
        let of_sha256 = kernel_of(&[Algorithm::Sha256]);
        assert!(of_sha256.ends_with(sha2()), "{of_sha256}");
        assert_eq!(of_sha256.contains(&format!("hashmesh-sha256-{REVISION}/")), kernels::names::<u32>().is_some());
        assert!(!of_sha256.contains("sha512"));
        assert_eq!(kernel_of(&[Algorithm::Sha256tree, Algorithm::Sha224]), of_sha256);
        assert_eq!(kernel_of(&[Algorithm::Sha384]), kernel_of(&[Algorithm::Sha512]));
        assert_eq!(kernel_of(&[Algorithm::Sha256, Algorithm::Sha512]), kernel());
        let several = kernel_of(&[Algorithm::Crc32, Algorithm::Sha256, Algorithm::Crc32cComposite]);
        assert!(several.starts_with("crc-fast-") && several.ends_with(&*of_sha256), "{several}");
        for library in ["sha2-", "sha3-", "sha1-", "md-5-", "blake2b_simd-", "blake3-", "crc-fast-", "twox-hash-"] {
            let all = kernel_of(&Algorithm::ALL);
            assert_eq!(all.split(',').filter(|part| part.starts_with(library)).count(), 1, "{all}");
        }
    }
}
