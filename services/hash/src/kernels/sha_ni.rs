//! The SHA extensions of x86 (SHA-224 and SHA-256), several inputs at once.
//!
//! `sha256rnds2` needs several cycles for its result and can be begun again sooner: one input alone leaves the unit idle
//! most of the time. The inputs' rounds alternate, so that one fills the other's gaps.

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_loadu_si128, _mm_set_epi64x, _mm_setzero_si128, _mm_sha256msg1_epu32,
    _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_storeu_si128,
};

use super::{engine::Engine, standard::Word};

/// `LANES` inputs side by side.
pub(super) struct ShaNi<const LANES: usize>;

/// Where the instructions want the words of a state: `sha256rnds2` works on (f e b a) and (h g d c), lowest first.
const ORDER: [usize; 8] = [5, 4, 1, 0, 7, 6, 3, 2];

impl<const LANES: usize> Engine<LANES> for ShaNi<LANES> {
    type Word = u32;
    type States = [[u32; 8]; LANES];

    fn states() -> Self::States {
        [[0; 8]; LANES]
    }

    fn set(states: &mut Self::States, lane: usize, state: &[u32; 8]) {
        states[lane] = ORDER.map(|word| state[word]);
    }

    fn get(states: &Self::States, lane: usize) -> [u32; 8] {
        let mut state = [0; 8];
        for (word, place) in states[lane].iter().zip(ORDER) {
            state[place] = *word;
        }
        state
    }

    unsafe fn compress(states: &mut Self::States, places: &mut [*const u8; LANES], blocks: usize) {
        // SAFETY: the caller answers for the CPU and for the bytes.
        unsafe { compress(states, places, blocks) }
    }
}

/// # Safety
/// The CPU has the features, and behind each place are so many readable blocks.
#[target_feature(enable = "sha,sse4.1,ssse3")]
unsafe fn compress<const LANES: usize>(states: &mut [[u32; 8]; LANES], places: &mut [*const u8; LANES], blocks: usize) {
    // The most significant byte of each word comes first.
    let order = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let mut abef = [_mm_setzero_si128(); LANES];
    let mut cdgh = abef;
    for lane in 0..LANES {
        let state = states[lane].as_ptr();
        // SAFETY: a state has 32 bytes, and no alignment is asked for.
        (abef[lane], cdgh[lane]) = unsafe { (_mm_loadu_si128(state.cast()), _mm_loadu_si128(state.add(4).cast())) };
    }
    for _ in 0..blocks {
        let before = (abef, cdgh);
        let mut word = [[_mm_setzero_si128(); 4]; LANES];
        macro_rules! four_rounds {
            ($group:expr, $four:literal) => {
                let constants = constants($group * 4 + $four);
                for lane in 0..LANES {
                    let now = _mm_add_epi32(word[lane][$four], constants);
                    cdgh[lane] = _mm_sha256rnds2_epu32(cdgh[lane], abef[lane], now);
                    let next = _mm_shuffle_epi32::<0x0e>(now);
                    abef[lane] = _mm_sha256rnds2_epu32(abef[lane], cdgh[lane], next);
                }
            };
        }
        macro_rules! read {
            ($four:literal) => {
                for lane in 0..LANES {
                    // SAFETY: the caller answers for a block of 64 bytes at each place, of which this is a quarter.
                    let bytes = unsafe { _mm_loadu_si128(places[lane].add(16 * $four).cast()) };
                    word[lane][$four] = _mm_shuffle_epi8(bytes, order);
                }
                four_rounds!(0, $four);
            };
        }
        macro_rules! schedule {
            ($group:expr, $four:literal) => {
                for lane in 0..LANES {
                    let (near, last) = (word[lane][($four + 2) % 4], word[lane][($four + 3) % 4]);
                    let begun = _mm_sha256msg1_epu32(word[lane][$four], word[lane][($four + 1) % 4]);
                    let middle = _mm_add_epi32(begun, _mm_alignr_epi8::<4>(last, near));
                    word[lane][$four] = _mm_sha256msg2_epu32(middle, last);
                }
                four_rounds!($group, $four);
            };
        }
        read!(0);
        read!(1);
        read!(2);
        read!(3);
        for group in 1..4 {
            schedule!(group, 0);
            schedule!(group, 1);
            schedule!(group, 2);
            schedule!(group, 3);
        }
        for lane in 0..LANES {
            abef[lane] = _mm_add_epi32(abef[lane], before.0[lane]);
            cdgh[lane] = _mm_add_epi32(cdgh[lane], before.1[lane]);
            // SAFETY: within, or at the end of, what the caller says is readable.
            places[lane] = unsafe { places[lane].add(u32::BLOCK_BYTES) };
        }
    }
    for lane in 0..LANES {
        let state = states[lane].as_mut_ptr();
        // SAFETY: a state has 32 bytes, and no alignment is asked for.
        unsafe {
            _mm_storeu_si128(state.cast(), abef[lane]);
            _mm_storeu_si128(state.add(4).cast(), cdgh[lane]);
        }
    }
}

/// Those of four rounds.
#[inline]
#[target_feature(enable = "sse2")]
fn constants(four: usize) -> __m128i {
    let constants: &[u32; 4] = &u32::ROUNDS.as_chunks().0[four];
    // SAFETY: these are 16 bytes, and no alignment is asked for.
    unsafe { _mm_loadu_si128(constants.as_ptr().cast()) }
}
