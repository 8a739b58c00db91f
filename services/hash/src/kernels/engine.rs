//! What computes several inputs side by side.

use super::standard::Word;

/// Several states of SHA-2, advanced together.
pub(super) trait Engine<const LANES: usize> {
    type Word: Word;
    /// In the order that suits the instructions.
    type States;

    /// States of no meaning.
    fn states() -> Self::States;
    fn set(states: &mut Self::States, lane: usize, state: &[Self::Word; 8]);
    fn get(states: &Self::States, lane: usize) -> [Self::Word; 8];

    /// Runs the block function over `blocks` blocks of every lane, and moves the places behind them.
    ///
    /// # Safety
    /// The CPU has the engine's instructions, and behind each place are so many readable blocks.
    unsafe fn compress(states: &mut Self::States, places: &mut [*const u8; LANES], blocks: usize);
}

/// The engine of a vector type: its states are rows of a word of every lane, so that a row is a register.
#[cfg(target_arch = "x86_64")]
macro_rules! vector_engine {
    ($engine:ident, $vector:ident, $word:ident, $lanes:literal, $features:literal) => {
        impl Engine<$lanes> for $engine {
            type Word = $word;
            type States = [[$word; $lanes]; 8];

            fn states() -> Self::States {
                [[0; $lanes]; 8]
            }

            fn set(states: &mut Self::States, lane: usize, state: &[$word; 8]) {
                for (row, word) in states.iter_mut().zip(state) {
                    row[lane] = *word;
                }
            }

            fn get(states: &Self::States, lane: usize) -> [$word; 8] {
                states.each_ref().map(|row| row[lane])
            }

            unsafe fn compress(states: &mut Self::States, places: &mut [*const u8; $lanes], blocks: usize) {
                /// # Safety
                /// As of [`compress`].
                #[target_feature(enable = $features)]
                unsafe fn with_features(
                    states: &mut [[$word; $lanes]; 8],
                    places: &mut [*const u8; $lanes],
                    blocks: usize,
                ) {
                    // SAFETY: the caller answers for the CPU and for the bytes.
                    unsafe { compress::<$vector, $lanes>(states, places, blocks) }
                }
                // SAFETY: the caller answers for the CPU and for the bytes.
                unsafe { with_features(states, places, blocks) }
            }
        }
    };
}
#[cfg(target_arch = "x86_64")]
pub(super) use vector_engine;
