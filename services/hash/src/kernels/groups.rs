//! Short inputs by their number of blocks: where all lanes begin and end together, nothing has to be scheduled, copied or padded
//! in memory.

use super::{
    engine::Engine,
    messages::{Buffers, Digests, Messages, padded_blocks},
    plan::Rest,
    scheduler,
    standard::{MOST_BLOCKS, Sha2, Word},
};

/// Inputs that are sorted at once. Their places fit a byte.
const TOGETHER: usize = 256;

/// An engine that computes inputs of one number of blocks by itself.
pub(super) trait Grouped<const LANES: usize>: Engine<LANES> {
    /// The digests of inputs that have `blocks` blocks each, padding included: their words, the most significant byte first.
    ///
    /// # Safety
    /// The CPU has the engine's instructions.
    unsafe fn group(initial: &[Self::Word; 8], inputs: &[&[u8]; LANES], blocks: usize) -> [[Self::Word; 8]; LANES];
}

/// Compiles [`super::lanes::group`] for a vector type.
#[cfg(target_arch = "x86_64")]
macro_rules! grouped {
    ($engine:ident, $vector:ident, $word:ident, $lanes:literal, $features:literal) => {
        impl $crate::kernels::groups::Grouped<$lanes> for $engine {
            unsafe fn group(initial: &[$word; 8], inputs: &[&[u8]; $lanes], blocks: usize) -> [[$word; 8]; $lanes] {
                /// # Safety
                /// As of [`group`].
                #[target_feature(enable = $features)]
                unsafe fn with_features(
                    initial: &[$word; 8],
                    inputs: &[&[u8]; $lanes],
                    blocks: usize,
                ) -> [[$word; 8]; $lanes] {
                    // SAFETY: the caller answers for the CPU.
                    unsafe { group::<$vector, $lanes>(initial, inputs, blocks) }
                }
                // SAFETY: the caller answers for the CPU.
                unsafe { with_features(initial, inputs, blocks) }
            }
        }
    };
}
#[cfg(target_arch = "x86_64")]
pub(super) use grouped;

/// Places of inputs, by how many blocks they have.
struct Sorted {
    places: [u8; TOGETHER],
    /// Where those of so many blocks end. The last are of more than [`MOST_BLOCKS`].
    ends: [usize; MOST_BLOCKS + 2],
}

impl Sorted {
    fn new<W: Word>(inputs: &[&[u8]]) -> Self {
        let class = |input: &&[u8]| padded_blocks::<W>(input.len()).min(MOST_BLOCKS + 1);
        let mut places = std::array::from_fn(|place| place as u8);
        let mut ends = [0; MOST_BLOCKS + 2];
        if let [first, others @ ..] = inputs
            && others.iter().all(|other| other.len() == first.len())
        {
            // In order as they are.
            ends[class(first)..].fill(inputs.len());
            return Self { places, ends };
        }
        inputs.iter().for_each(|input| ends[class(input)] += 1);
        let mut begin = 0;
        for end in &mut ends {
            begin += std::mem::replace(end, begin);
        }
        for (place, input) in (0..=u8::MAX).zip(inputs) {
            let end = &mut ends[class(input)];
            places[*end] = place;
            *end += 1;
        }
        Self { places, ends }
    }
}

/// Writes the digest of every input.
///
/// # Safety
/// The CPU has the engine's instructions.
pub(super) unsafe fn digests<E: Grouped<LANES>, const LANES: usize>(
    algorithm: Sha2<E::Word>,
    inputs: &[&[u8]],
    digests: &mut Digests<'_>,
    rest: Rest<'_, E::Word>,
) {
    for (number, inputs) in inputs.chunks(TOGETHER).enumerate() {
        let first = number * TOGETHER;
        let Sorted { places, ends } = Sorted::new::<E::Word>(inputs);
        // What makes no group, where it was.
        let (mut others, mut left) = ([0; TOGETHER], 0);
        let mut keep = |places: &[u8]| {
            others[left..left + places.len()].copy_from_slice(places);
            left += places.len();
        };
        for blocks in 1..=MOST_BLOCKS {
            let (groups, few) = places[ends[blocks - 1]..ends[blocks]].as_chunks::<LANES>();
            for group in groups {
                let mut of: [&[u8]; LANES] = [&[]; LANES];
                for (input, place) in of.iter_mut().zip(group) {
                    *input = inputs[usize::from(*place)];
                }
                // SAFETY: the caller answers for the CPU.
                let found = unsafe { E::group(&algorithm.initial, &of, blocks) };
                for (place, words) in group.iter().zip(&found) {
                    E::Word::copy(words, digests.of(first + usize::from(*place), algorithm.digest_bytes));
                }
            }
            keep(few);
        }
        keep(&places[ends[MOST_BLOCKS]..inputs.len()]);
        if left == 0 {
            continue;
        }
        let mut buffers = Buffers::<LANES>::new();
        let others = others[..left].iter().map(|place| (first + usize::from(*place), inputs[usize::from(*place)]));
        let mut messages = Messages::new(algorithm, others, digests, &mut buffers);
        // SAFETY: the caller answers for the CPU.
        unsafe { scheduler::run::<E, LANES>(&mut messages, rest) }
    }
}
