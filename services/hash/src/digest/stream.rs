//! SHA-2 of an input that comes in pieces. Its whole blocks may be computed beside those of other inputs.

use std::fmt::Debug;

use super::kernels::{InLanes, Kernel};
use crate::kernels::{self, Digests, Family, Piece, SHA224, SHA256, SHA384, SHA512, SHA512_256, Sha2};

/// An algorithm of the family.
pub(super) trait Variant: Debug + Send + Sync + 'static {
    type Word: Streams;
    const SHA2: Sha2<Self::Word>;
}

/// Names an algorithm of the family.
macro_rules! variant {
    ($name:ident, $word:ident, $sha2:ident) => {
        #[derive(Debug)]
        pub(super) struct $name;

        impl Variant for $name {
            type Word = $word;
            const SHA2: Sha2<$word> = $sha2;
        }
    };
}

variant!(Sha224, u32, SHA224);
variant!(Sha256, u32, SHA256);
variant!(Sha384, u64, SHA384);
variant!(Sha512, u64, SHA512);
variant!(Sha512Of256, u64, SHA512_256);

/// A word whose streams are told apart from those of the other one.
pub(super) trait Streams: Family {
    fn in_lanes(stream: &mut Stream<Self>) -> InLanes<'_>;
}

impl Streams for u32 {
    fn in_lanes(stream: &mut Stream<Self>) -> InLanes<'_> {
        InLanes::Short(stream)
    }
}

impl Streams for u64 {
    fn in_lanes(stream: &mut Stream<Self>) -> InLanes<'_> {
        InLanes::Long(stream)
    }
}

/// The largest block.
const MOST_BLOCK_BYTES: usize = 128;

/// The state of an input.
#[derive(Debug)]
pub(super) struct Stream<W: 'static> {
    algorithm: Sha2<W>,
    state: [W; 8],
    /// What has come of the block under way.
    rest: [u8; MOST_BLOCK_BYTES],
    /// How much that is: less than a block.
    rest_bytes: usize,
    input_bytes: u64,
}

impl<W: Family> Stream<W> {
    fn new(algorithm: Sha2<W>) -> Self {
        let state = algorithm.initial;
        Self { algorithm, state, rest: [0; MOST_BLOCK_BYTES], rest_bytes: 0, input_bytes: 0 }
    }

    /// Takes the input's next bytes but for the whole blocks among them, which the state is to be advanced by.
    fn take<'p>(&'p mut self, mut piece: &'p [u8]) -> Piece<'p, W> {
        self.input_bytes = self.input_bytes.wrapping_add(piece.len() as u64);
        if self.rest_bytes > 0 {
            let (taken, behind) = piece.split_at(piece.len().min(W::BLOCK_BYTES - self.rest_bytes));
            self.rest[self.rest_bytes..][..taken.len()].copy_from_slice(taken);
            self.rest_bytes += taken.len();
            piece = behind;
            if self.rest_bytes < W::BLOCK_BYTES {
                return (&mut self.state, &[]);
            }
            W::compress(&mut self.state, &self.rest[..W::BLOCK_BYTES]);
        }
        let (blocks, rest) = piece.split_at(piece.len() - piece.len() % W::BLOCK_BYTES);
        self.rest[..rest.len()].copy_from_slice(rest);
        self.rest_bytes = rest.len();
        (&mut self.state, blocks)
    }

    /// Takes the input's next bytes.
    fn update(&mut self, piece: &[u8]) {
        kernels::advance(&mut [self.take(piece)]);
    }

    /// Ends the input (FIPS 180-4, §5.1) and appends its digest to `out`.
    fn finalize_into(mut self, out: &mut Vec<u8>) {
        let mut end = [0; 2 * MOST_BLOCK_BYTES];
        end[..self.rest_bytes].copy_from_slice(&self.rest[..self.rest_bytes]);
        end[self.rest_bytes] = 0x80;
        let bytes = (self.rest_bytes + 1 + W::LENGTH_BYTES).next_multiple_of(W::BLOCK_BYTES);
        // The upper half of SHA-512's length would count inputs of 2^61 bytes.
        end[bytes - 8..bytes].copy_from_slice(&self.input_bytes.wrapping_mul(8).to_be_bytes());
        W::compress(&mut self.state, &end[..bytes]);
        let start = out.len();
        out.resize(start + self.algorithm.digest_bytes, 0);
        W::write(&self.state, &mut out[start..]);
    }
}

/// Takes the next bytes of every input, side by side.
pub(super) fn update_streams<W: Family>(work: Vec<(&mut Stream<W>, &[u8])>) {
    let mut pieces: Vec<Piece<'_, W>> = Vec::with_capacity(work.len());
    for (stream, piece) in work {
        pieces.push(stream.take(piece));
    }
    kernels::advance(&mut pieces);
}

/// A stream of one algorithm.
#[derive(Debug)]
pub(super) struct Streamed<V: Variant>(Stream<V::Word>);

impl<V: Variant> Kernel for Streamed<V> {
    const SIDE_BY_SIDE: bool = true;

    fn start() -> Self {
        Self(Stream::new(V::SHA2))
    }

    fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    fn finalize_into(self, out: &mut Vec<u8>) {
        self.0.finalize_into(out);
    }

    fn digest_into(input: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + V::SHA2.digest_bytes, 0);
        (V::SHA2.plain)(input, &mut out[start..]);
    }

    fn digest_each(inputs: &[&[u8]], digests: &mut Digests<'_>) -> Result<(), crate::Untrusted> {
        kernels::digests(V::SHA2, inputs, digests);
        crate::sample::SAMPLE.check(V::SHA2, inputs, digests)
    }

    fn in_lanes(&mut self) -> Option<InLanes<'_>> {
        Some(V::Word::in_lanes(&mut self.0))
    }
}
