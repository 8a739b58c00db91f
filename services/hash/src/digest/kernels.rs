//! What computes each algorithm: the one table of them.

use std::fmt::Debug;

use hashmesh::v1::Algorithm;
use md5::Md5;
use sha1::Sha1;
use sha2::Digest;
use sha3::{Sha3_256, Sha3_384, Sha3_512};

use super::{
    checksum::{Crc, Iscsi, IsoHdlc, Nvme, Xxh3, Xxh128},
    stream::{Sha224, Sha256, Sha384, Sha512, Sha512Of256, Stream, Streamed},
    tree::Sha256Tree,
};
use crate::{Untrusted, kernels::Digests};

/// The state of one algorithm.
pub(super) trait Kernel: Debug + Send + Sync + 'static {
    /// Several inputs are computed faster than one after another.
    const SIDE_BY_SIDE: bool = false;

    /// One input is computed faster on several threads.
    const ON_THREADS: bool = false;

    /// Begins an input.
    fn start() -> Self;

    /// Takes the input's next bytes.
    fn update(&mut self, piece: &[u8]);

    /// Ends the input and appends its digest to `out`.
    fn finalize_into(self, out: &mut Vec<u8>);

    /// Appends the digest of an input that is there as a whole to `out`.
    fn digest_into(input: &[u8], out: &mut Vec<u8>)
    where
        Self: Sized,
    {
        let mut kernel = Self::start();
        kernel.update(input);
        kernel.finalize_into(out);
    }

    /// Writes the digest of every input, all of which are there as a whole.
    ///
    /// # Errors
    /// [`Untrusted`]: what was written is wrong.
    fn digest_each(inputs: &[&[u8]], digests: &mut Digests<'_>) -> Result<(), Untrusted>
    where
        Self: Sized,
    {
        let mut scratch = Vec::new();
        for (number, input) in inputs.iter().enumerate() {
            scratch.clear();
            Self::digest_into(input, &mut scratch);
            digests.write(number, &scratch);
        }
        Ok(())
    }

    /// The state, if others' may be advanced beside it.
    fn in_lanes(&mut self) -> Option<InLanes<'_>> {
        None
    }

    /// Takes the input's next bytes, which are many, on all threads of the pool that this one belongs to.
    fn update_on_threads(&mut self, piece: &[u8]) {
        self.update(piece);
    }
}

/// A state that can be advanced beside others of its kind.
pub(super) enum InLanes<'s> {
    /// SHA-224 and SHA-256.
    Short(&'s mut Stream<u32>),
    /// The others of SHA-2.
    Long(&'s mut Stream<u64>),
}

/// What is done with the kernel of an algorithm that is known only when the program runs.
pub(super) trait Visitor {
    /// What comes of it.
    type Output;

    /// `K` computes the algorithm.
    fn plain<K: Kernel>(self) -> Self::Output;

    /// The algorithm is the composite of what `K` computes.
    fn composite<K: Kernel>(self) -> Self::Output;
}

/// By what an algorithm is computed faster.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gains {
    /// Several inputs than one after another.
    pub(super) side_by_side: bool,
    /// One input on several threads.
    pub(super) on_threads: bool,
}

/// See [`Gains`]. A composite, or what computes nothing, gains by neither.
pub(super) fn gains(algorithm: Algorithm) -> Gains {
    visit(algorithm, GainsOf).unwrap_or_default()
}

struct GainsOf;

impl Visitor for GainsOf {
    type Output = Gains;

    fn plain<K: Kernel>(self) -> Gains {
        Gains { side_by_side: K::SIDE_BY_SIDE, on_threads: K::ON_THREADS }
    }

    fn composite<K: Kernel>(self) -> Gains {
        Gains::default()
    }
}

/// Lets `visitor` see the kernel of `algorithm`, if that computes something.
pub(super) fn visit<V: Visitor>(algorithm: Algorithm, visitor: V) -> Option<V::Output> {
    Some(match algorithm {
        Algorithm::Unspecified => return None,
        Algorithm::Sha224 => visitor.plain::<Streamed<Sha224>>(),
        Algorithm::Sha256 => visitor.plain::<Streamed<Sha256>>(),
        Algorithm::Sha384 => visitor.plain::<Streamed<Sha384>>(),
        Algorithm::Sha512 => visitor.plain::<Streamed<Sha512>>(),
        Algorithm::Sha512256 => visitor.plain::<Streamed<Sha512Of256>>(),
        Algorithm::Sha3256 => visitor.plain::<Sha3_256>(),
        Algorithm::Sha3384 => visitor.plain::<Sha3_384>(),
        Algorithm::Sha3512 => visitor.plain::<Sha3_512>(),
        Algorithm::Blake2b512 => visitor.plain::<Blake2b>(),
        Algorithm::Blake3 => visitor.plain::<Blake3>(),
        Algorithm::Sha256tree => visitor.plain::<Sha256Tree>(),
        Algorithm::Md5 => visitor.plain::<Md5>(),
        Algorithm::Sha1 => visitor.plain::<Sha1>(),
        Algorithm::Crc32 => visitor.plain::<Crc<IsoHdlc>>(),
        Algorithm::Crc32c => visitor.plain::<Crc<Iscsi>>(),
        Algorithm::Crc64nvme => visitor.plain::<Crc<Nvme>>(),
        Algorithm::Xxh364 => visitor.plain::<Xxh3>(),
        Algorithm::Xxh3128 => visitor.plain::<Xxh128>(),
        Algorithm::Md5Composite => visitor.composite::<Md5>(),
        Algorithm::Sha1Composite => visitor.composite::<Sha1>(),
        Algorithm::Sha256Composite => visitor.composite::<Streamed<Sha256>>(),
        Algorithm::Crc32Composite => visitor.composite::<Crc<IsoHdlc>>(),
        Algorithm::Crc32cComposite => visitor.composite::<Crc<Iscsi>>(),
    })
}

impl<D: Digest + Debug + Send + Sync + 'static> Kernel for D {
    fn start() -> Self {
        Self::new()
    }

    fn update(&mut self, piece: &[u8]) {
        Digest::update(self, piece);
    }

    fn finalize_into(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.finalize());
    }

    fn digest_into(input: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&Self::digest(input));
    }
}

#[derive(Debug)]
pub(super) struct Blake2b(blake2b_simd::State);

impl Kernel for Blake2b {
    fn start() -> Self {
        Self(blake2b_simd::State::new())
    }

    fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    fn finalize_into(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.finalize().as_bytes());
    }
}

#[derive(Debug)]
pub(super) struct Blake3(blake3::Hasher);

impl Kernel for Blake3 {
    const ON_THREADS: bool = true;

    fn start() -> Self {
        Self(blake3::Hasher::new())
    }

    fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    fn finalize_into(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.finalize().as_bytes());
    }

    fn digest_into(input: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(blake3::hash(input).as_bytes());
    }

    fn update_on_threads(&mut self, piece: &[u8]) {
        self.0.update_rayon(piece);
    }
}
