//! Several digests from one read: at once for small inputs, in pieces for large ones.
//!
//! Digests are written one after another, in the order of the algorithms given: [`hashmesh::algorithm::stride`] bytes
//! per input. `Algorithm::Unspecified` computes nothing and takes no room.

use hashmesh::{algorithm::stride, v1::Algorithm};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512, Sha512_256};
use sha3::Sha3_256;

/// Computes several digests of one input that comes in pieces.
#[derive(Clone, Debug)]
pub struct MultiHasher {
    hashers: Vec<Hasher>,
}

impl MultiHasher {
    /// Starts an input. The order of `algorithms` is the order of the digests.
    #[must_use]
    pub fn new(algorithms: &[Algorithm]) -> Self {
        Self { hashers: algorithms.iter().filter_map(|algorithm| Hasher::new(*algorithm)).collect() }
    }

    /// Takes the input's next bytes.
    pub fn update(&mut self, piece: &[u8]) {
        // A piece goes through every algorithm while it is in the CPU's cache, so the input crosses memory once.
        for cached in piece.chunks(CACHED_BYTES) {
            for hasher in &mut self.hashers {
                hasher.update(cached);
            }
        }
    }

    /// Ends the input and appends its digests, concatenated, to `out`.
    pub fn finalize_into(self, out: &mut Vec<u8>) {
        for hasher in self.hashers {
            hasher.finalize_into(out);
        }
    }
}

/// What fits a core's own cache beside everything else: a quarter of the smallest common L2 (256 KiB).
const CACHED_BYTES: usize = 64 * 1024;

/// Appends the digests of `input`, concatenated, to `out`. The fast path for one small input: allocates nothing but what
/// `out` lacks.
pub fn digest_into(algorithms: &[Algorithm], input: &[u8], out: &mut Vec<u8>) {
    out.reserve(stride(algorithms));
    for algorithm in algorithms {
        digest_each(*algorithm, std::iter::once(input), out);
    }
}

/// Appends the digests of every input, in order, each input's concatenated, to `out`. The fast path for many small
/// inputs: allocates once, and nothing per input.
pub fn digest_many<'a>(algorithms: &[Algorithm], inputs: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    out.reserve(inputs.size_hint().0.saturating_mul(stride(algorithms)));
    // One algorithm, the common case, is chosen once and not per input.
    if let [algorithm] = algorithms {
        return digest_each(*algorithm, inputs, out);
    }
    for input in inputs {
        digest_into(algorithms, input, out);
    }
}

fn digest_each<'a>(algorithm: Algorithm, inputs: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    match algorithm {
        Algorithm::Unspecified => {}
        Algorithm::Sha224 => each::<Sha224>(inputs, out),
        Algorithm::Sha256 => each::<Sha256>(inputs, out),
        Algorithm::Sha384 => each::<Sha384>(inputs, out),
        Algorithm::Sha512 => each::<Sha512>(inputs, out),
        Algorithm::Sha512256 => each::<Sha512_256>(inputs, out),
        Algorithm::Sha3256 => each::<Sha3_256>(inputs, out),
        Algorithm::Blake3 => inputs.for_each(|input| out.extend_from_slice(blake3::hash(input).as_bytes())),
        Algorithm::Md5 => each::<Md5>(inputs, out),
        Algorithm::Sha1 => each::<Sha1>(inputs, out),
    }
}

fn each<'a, D: Digest>(inputs: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    inputs.for_each(|input| out.extend_from_slice(&D::digest(input)));
}

/// One algorithm's state.
#[derive(Clone, Debug)]
enum Hasher {
    Sha224(Sha224),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
    Sha512256(Sha512_256),
    Sha3256(Sha3_256),
    // Almost 2 KiB, an order of magnitude above the others.
    Blake3(Box<blake3::Hasher>),
    Md5(Md5),
    Sha1(Sha1),
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Option<Self> {
        Some(match algorithm {
            Algorithm::Unspecified => return None,
            Algorithm::Sha224 => Self::Sha224(Sha224::new()),
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha384 => Self::Sha384(Sha384::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
            Algorithm::Sha512256 => Self::Sha512256(Sha512_256::new()),
            Algorithm::Sha3256 => Self::Sha3256(Sha3_256::new()),
            Algorithm::Blake3 => Self::Blake3(Box::default()),
            Algorithm::Md5 => Self::Md5(Md5::new()),
            Algorithm::Sha1 => Self::Sha1(Sha1::new()),
        })
    }

    fn update(&mut self, piece: &[u8]) {
        match self {
            Self::Sha224(hasher) => hasher.update(piece),
            Self::Sha256(hasher) => hasher.update(piece),
            Self::Sha384(hasher) => hasher.update(piece),
            Self::Sha512(hasher) => hasher.update(piece),
            Self::Sha512256(hasher) => hasher.update(piece),
            Self::Sha3256(hasher) => hasher.update(piece),
            Self::Blake3(hasher) => {
                hasher.update(piece);
            }
            Self::Md5(hasher) => hasher.update(piece),
            Self::Sha1(hasher) => hasher.update(piece),
        }
    }

    fn finalize_into(self, out: &mut Vec<u8>) {
        match self {
            Self::Sha224(hasher) => out.extend_from_slice(&hasher.finalize()),
            Self::Sha256(hasher) => out.extend_from_slice(&hasher.finalize()),
            Self::Sha384(hasher) => out.extend_from_slice(&hasher.finalize()),
            Self::Sha512(hasher) => out.extend_from_slice(&hasher.finalize()),
            Self::Sha512256(hasher) => out.extend_from_slice(&hasher.finalize()),
            Self::Sha3256(hasher) => out.extend_from_slice(&hasher.finalize()),
            Self::Blake3(hasher) => out.extend_from_slice(hasher.finalize().as_bytes()),
            Self::Md5(hasher) => out.extend_from_slice(&hasher.finalize()),
            Self::Sha1(hasher) => out.extend_from_slice(&hasher.finalize()),
        }
    }
}

#[cfg(test)]
mod tests;
