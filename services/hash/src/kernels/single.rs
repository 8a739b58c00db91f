//! One input of SHA-384, SHA-512 and SHA-512/256 alone: its rounds in integer registers, by instructions that leave their operands as they
//! are (BMI), and its message schedule beside them in vector registers, two words at a time.

use std::arch::x86_64::{
    __m128i, _mm_add_epi64, _mm_alignr_epi8, _mm_loadu_si128, _mm_ror_epi64, _mm_set_epi64x, _mm_setzero_si128,
    _mm_shuffle_epi8, _mm_slli_epi64, _mm_srli_epi64, _mm_storeu_si128, _mm_ternarylogic_epi64, _mm_xor_si128,
};

use super::{engine::Engine, standard::Word};

/// Rounds without a word of the message left to compute behind them.
const LAST_ROUNDS: usize = 16;

/// Round `number` of FIPS 180-4, §6.4.2. Instead of the variables their places turn. `differ` is b ^ c when it comes and a ^ b when it
/// goes: the next round's b and c.
#[inline(always)]
fn round(state: &mut [u64; 8], number: usize, word: u64, differ: &mut u64) {
    let place = |variable: usize| (variable + 8 - number % 8) % 8;
    let [a, b, e] = [0, 1, 4].map(|variable| state[place(variable)]);
    let [f, g, h] = [5, 6, 7].map(|variable| state[place(variable)]);
    let choice = ((f ^ g) & e) ^ g;
    let sum = h.wrapping_add(word).wrapping_add(choice);
    let sum = sum.wrapping_add(e.rotate_right(14) ^ e.rotate_right(18) ^ e.rotate_right(41));
    let next = a ^ b;
    let majority = (next & *differ) ^ b;
    *differ = next;
    state[place(3)] = state[place(3)].wrapping_add(sum);
    let turned = a.rotate_right(28) ^ a.rotate_right(34) ^ a.rotate_right(39);
    state[place(7)] = sum.wrapping_add(majority).wrapping_add(turned);
}

/// σ0 and σ1 of two words, with AVX-512's rotations.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn rotated(zero: __m128i, one: __m128i) -> __m128i {
    // The table of an exclusive or of three.
    const XOR: i32 = 0x96;
    let (a, b, c) = (_mm_ror_epi64::<1>(zero), _mm_ror_epi64::<8>(zero), _mm_srli_epi64::<7>(zero));
    let (d, e, f) = (_mm_ror_epi64::<19>(one), _mm_ror_epi64::<61>(one), _mm_srli_epi64::<6>(one));
    _mm_add_epi64(_mm_ternarylogic_epi64::<XOR>(a, b, c), _mm_ternarylogic_epi64::<XOR>(d, e, f))
}

/// The same, where a rotation is two shifts.
#[inline]
#[target_feature(enable = "avx2")]
fn shifted(zero: __m128i, one: __m128i) -> __m128i {
    let (a, b) = (_mm_srli_epi64::<1>(zero), _mm_slli_epi64::<63>(zero));
    let (c, d) = (_mm_srli_epi64::<8>(zero), _mm_slli_epi64::<56>(zero));
    let zero = _mm_xor_si128(_mm_xor_si128(_mm_xor_si128(a, b), _mm_xor_si128(c, d)), _mm_srli_epi64::<7>(zero));
    let (a, b) = (_mm_srli_epi64::<19>(one), _mm_slli_epi64::<45>(one));
    let (c, d) = (_mm_srli_epi64::<61>(one), _mm_slli_epi64::<3>(one));
    let one = _mm_xor_si128(_mm_xor_si128(_mm_xor_si128(a, b), _mm_xor_si128(c, d)), _mm_srli_epi64::<6>(one));
    _mm_add_epi64(zero, one)
}

/// An engine of one lane, with these features and these sums of small sigmas.
macro_rules! single {
    ($engine:ident, $features:literal, $sigmas:ident) => {
        pub(super) struct $engine;

        impl Engine<1> for $engine {
            type Word = u64;
            type States = [u64; 8];

            fn states() -> Self::States {
                [0; 8]
            }

            fn set(states: &mut Self::States, _: usize, state: &[u64; 8]) {
                *states = *state;
            }

            fn get(states: &Self::States, _: usize) -> [u64; 8] {
                *states
            }

            unsafe fn compress(state: &mut Self::States, [place]: &mut [*const u8; 1], blocks: usize) {
                /// # Safety
                /// The CPU has the features, and behind the place are so many readable blocks.
                #[target_feature(enable = $features)]
                unsafe fn with_features(state: &mut [u64; 8], place: &mut *const u8, blocks: usize) {
                    // The most significant byte of each word comes first.
                    let order = _mm_set_epi64x(0x0809_0a0b_0c0d_0e0f, 0x0001_0203_0405_0607);
                    for _ in 0..blocks {
                        let mut words = [_mm_setzero_si128(); 8];
                        // Each word with its round's constant.
                        let mut sums = [[0; 2]; 8];
                        macro_rules! put {
                            ($pair:expr, $round:expr) => {
                                let constants: &[u64; 2] = &u64::ROUNDS.as_chunks().0[$round / 2];
                                // SAFETY: both have 16 bytes, and no alignment is asked for.
                                unsafe {
                                    let constants = _mm_loadu_si128(constants.as_ptr().cast());
                                    let sum = _mm_add_epi64(words[$pair], constants);
                                    _mm_storeu_si128(sums[$pair].as_mut_ptr().cast(), sum);
                                }
                            };
                        }
                        for pair in 0..8 {
                            // SAFETY: the caller answers for a block of 128 bytes, of which this is an eighth.
                            let bytes = unsafe { _mm_loadu_si128(place.add(16 * pair).cast()) };
                            words[pair] = _mm_shuffle_epi8(bytes, order);
                            put!(pair, 2 * pair);
                        }
                        let mut now = *state;
                        let mut differ = now[1] ^ now[2];
                        macro_rules! two_rounds {
                            ($pair:literal) => {
                                let [first, second] = sums[$pair];
                                round(&mut now, 2 * $pair, first, &mut differ);
                                round(&mut now, 2 * $pair + 1, second, &mut differ);
                            };
                            ($pair:literal, $next:expr) => {
                                let [first, second] = sums[$pair];
                                round(&mut now, 2 * $pair, first, &mut differ);
                                let (near, last) = (words[($pair + 1) % 8], words[($pair + 7) % 8]);
                                let zero = _mm_alignr_epi8::<8>(near, words[$pair]);
                                let middle = _mm_alignr_epi8::<8>(words[($pair + 5) % 8], words[($pair + 4) % 8]);
                                let sum = _mm_add_epi64(words[$pair], middle);
                                words[$pair] = _mm_add_epi64(sum, $sigmas(zero, last));
                                put!($pair, $next + 2 * $pair);
                                round(&mut now, 2 * $pair + 1, second, &mut differ);
                            };
                        }
                        for next in (16..=u64::ROUNDS.len() - LAST_ROUNDS).step_by(16) {
                            two_rounds!(0, next);
                            two_rounds!(1, next);
                            two_rounds!(2, next);
                            two_rounds!(3, next);
                            two_rounds!(4, next);
                            two_rounds!(5, next);
                            two_rounds!(6, next);
                            two_rounds!(7, next);
                        }
                        two_rounds!(0);
                        two_rounds!(1);
                        two_rounds!(2);
                        two_rounds!(3);
                        two_rounds!(4);
                        two_rounds!(5);
                        two_rounds!(6);
                        two_rounds!(7);
                        for (before, after) in state.iter_mut().zip(now) {
                            *before = before.wrapping_add(after);
                        }
                        // SAFETY: within, or at the end of, what the caller says is readable.
                        *place = unsafe { place.add(u64::BLOCK_BYTES) };
                    }
                }
                // SAFETY: the caller answers for the CPU and for the bytes.
                unsafe { with_features(state, place, blocks) }
            }
        }
    };
}

single!(Avx512x1, "avx512f,avx512vl,avx2,bmi1,bmi2", rotated);
single!(Avx2x1, "avx2,bmi1,bmi2", shifted);
