//! Whole inputs as work for lanes: their blocks, their padding, their digests.

use std::cell::UnsafeCell;

use super::{
    scheduler::{Run, Source},
    standard::{Sha2, Word},
};

/// Where digests go: that of input `n` to `at + n * stride`.
#[derive(Debug)]
pub(crate) struct Digests<'o> {
    pub(crate) out: &'o mut [u8],
    pub(crate) at: usize,
    pub(crate) stride: usize,
}

impl Digests<'_> {
    /// Writes the digest of input `number`.
    pub(crate) fn write(&mut self, number: usize, digest: &[u8]) {
        self.of(number, digest.len()).copy_from_slice(digest);
    }

    /// The digest of input `number`, which has so many bytes.
    pub(crate) fn of(&mut self, number: usize, digest_bytes: usize) -> &mut [u8] {
        let at = self.at + number * self.stride;
        &mut self.out[at..at + digest_bytes]
    }
}

/// The blocks that a lane has room for. Inputs that fit with their padding are copied, so that they are one run.
const SHORT_BLOCKS: usize = 4;

/// A lane's own bytes: [`SHORT_BLOCKS`] of the largest blocks.
type Buffer = [u8; SHORT_BLOCKS * 128];

/// Room for the padding of each lane, and of the input that comes next.
pub(super) struct Buffers<const LANES: usize> {
    lanes: UnsafeCell<[Buffer; LANES]>,
    spare: UnsafeCell<Buffer>,
}

impl<const LANES: usize> Buffers<LANES> {
    pub(super) fn new() -> Self {
        const EMPTY: Buffer = [0; SHORT_BLOCKS * 128];
        Self { lanes: UnsafeCell::new([EMPTY; LANES]), spare: UnsafeCell::new(EMPTY) }
    }
}

/// An input with its padding, ready for a lane.
#[derive(Clone, Copy)]
struct Ready {
    number: usize,
    /// What of it comes first: its whole blocks where they are, or all of it in the buffer.
    first: Run,
    buffer: *mut u8,
    /// Blocks in the buffer that come then.
    padding: usize,
}

/// Inputs on their way through `LANES` lanes.
///
/// The next input is made ready while the lanes work on others: bytes that were written in small portions just now cannot
/// be read in large ones without a wait.
pub(super) struct Messages<'w, 'o, W, I, const LANES: usize> {
    algorithm: Sha2<W>,
    /// Those that are neither taken by a lane nor ready, numbered.
    inputs: I,
    digests: &'w mut Digests<'o>,
    ready: Option<Ready>,
    lanes: [Ready; LANES],
}

impl<'w, 'o, W: Word, I: Iterator<Item = (usize, &'w [u8])>, const LANES: usize> Messages<'w, 'o, W, I, LANES> {
    /// The buffers are this one's alone.
    pub(super) fn new(
        algorithm: Sha2<W>,
        inputs: I,
        digests: &'w mut Digests<'o>,
        buffers: &'w mut Buffers<LANES>,
    ) -> Self {
        let first = Run { place: std::ptr::null(), blocks: 0 };
        let mut lanes = [Ready { number: 0, first, buffer: std::ptr::null_mut(), padding: 0 }; LANES];
        let start = buffers.lanes.get().cast::<Buffer>();
        for (lane, ready) in lanes.iter_mut().enumerate() {
            // SAFETY: within the array.
            ready.buffer = unsafe { start.add(lane) }.cast();
        }
        let mut messages = Self { algorithm, inputs, digests, ready: None, lanes };
        messages.prepare(buffers.spare.get().cast());
        messages
    }

    /// Makes the next input ready, if there is one, in a buffer that no lane has.
    fn prepare(&mut self, buffer: *mut u8) {
        let Some((number, input)) = self.inputs.next() else {
            self.ready = None;
            return;
        };
        self.ready = Some(if padded_blocks::<W>(input.len()) <= SHORT_BLOCKS {
            let blocks = pad::<W>(buffer, input, input.len());
            Ready { number, first: Run { place: buffer, blocks }, buffer, padding: 0 }
        } else {
            let (blocks, rest) = (input.len() / W::BLOCK_BYTES, input.len() % W::BLOCK_BYTES);
            let padding = pad::<W>(buffer, &input[input.len() - rest..], input.len());
            Ready { number, first: Run { place: input.as_ptr(), blocks }, buffer, padding }
        });
    }
}

/// Writes `rest`, the end of an input of `input_bytes`, and the padding of FIPS 180-4, §5.1 into a lane's buffer. Returns
/// the blocks that these take: at most [`SHORT_BLOCKS`].
fn pad<W: Word>(buffer: *mut u8, rest: &[u8], input_bytes: usize) -> usize {
    let blocks = padded_blocks::<W>(rest.len());
    assert!(blocks <= SHORT_BLOCKS && W::BLOCK_BYTES <= 128);
    let bytes = blocks * W::BLOCK_BYTES;
    // SAFETY: `buffer` is the start of a Buffer, which so many blocks fit. It is no lane's, so nobody reads it.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer, bytes) };
    // Zeros are wanted in the last two blocks at most. Each is of a fixed length, which needs no call.
    for block in buffer.rchunks_exact_mut(W::BLOCK_BYTES).take(2) {
        W::clear(block);
    }
    buffer[..rest.len()].copy_from_slice(rest);
    buffer[rest.len()] = 0x80;
    let bits = (input_bytes as u64).wrapping_mul(8);
    buffer[bytes - 8..].copy_from_slice(&bits.to_be_bytes());
    blocks
}

/// The blocks of so many bytes with their padding: a byte and the length at least.
pub(crate) fn padded_blocks<W: Word>(bytes: usize) -> usize {
    (bytes + 1 + W::LENGTH_BYTES).div_ceil(W::BLOCK_BYTES)
}

// SAFETY: runs are in inputs, which are borrowed for as long as this lives, or in the lane's buffer, which is written only
// after the lane has ended its input and has given it back.
unsafe impl<'w, W: Word, I: Iterator<Item = (usize, &'w [u8])>, const LANES: usize> Source<W>
    for Messages<'w, '_, W, I, LANES>
{
    #[inline]
    fn begin(&mut self, lane: usize) -> Option<([W; 8], Run)> {
        let ready = self.ready?;
        let spare = self.lanes[lane].buffer;
        self.lanes[lane] = ready;
        self.prepare(spare);
        Some((self.algorithm.initial, ready.first))
    }

    #[inline]
    fn next_run(&mut self, lane: usize) -> Option<Run> {
        let Ready { buffer, padding, .. } = &mut self.lanes[lane];
        let blocks = std::mem::take(padding);
        (blocks > 0).then_some(Run { place: *buffer, blocks })
    }

    #[inline]
    fn end(&mut self, lane: usize, state: &[W; 8]) {
        W::write(state, self.digests.of(self.lanes[lane].number, self.algorithm.digest_bytes));
    }
}
