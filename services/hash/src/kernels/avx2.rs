//! AVX2: 8 lanes of SHA-224 and SHA-256, 4 lanes of the others.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_add_epi64, _mm256_and_si256, _mm256_loadu_si256, _mm256_or_si256,
    _mm256_permute2x128_si256, _mm256_set1_epi32, _mm256_set1_epi64x, _mm256_setr_epi8, _mm256_shuffle_epi8,
    _mm256_slli_epi32, _mm256_slli_epi64, _mm256_srli_epi32, _mm256_srli_epi64, _mm256_storeu_si256,
    _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_si256,
};

use super::{
    engine::Engine,
    lanes::{Lanes, compress, sigmas},
};

/// 8 words of 32 bits.
#[derive(Clone, Copy)]
struct Eight(__m256i);

/// 4 words of 64 bits.
#[derive(Clone, Copy)]
struct Four(__m256i);

/// What does not depend on the width of a word.
macro_rules! bitwise {
    ($add:ident) => {
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: a value exists only where the CPU has AVX2 (see [`Lanes`]).
            Self(unsafe { $add(self.0, other.0) })
        }

        #[inline(always)]
        fn xor(self, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm256_xor_si256(self.0, other.0) })
        }

        #[inline(always)]
        fn choose(self, yes: Self, no: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm256_xor_si256(no.0, _mm256_and_si256(self.0, _mm256_xor_si256(yes.0, no.0))) })
        }

        /// Where b and c are equal they are the majority, else a is; b ^ ((a ^ b) & (b ^ c)) says the same.
        #[inline(always)]
        fn majority(a: Self, b: Self, _: Self, differ: &mut Self) -> Self {
            let next = a.xor(b);
            // SAFETY: as above.
            let turned = Self(unsafe { _mm256_and_si256(next.0, differ.0) });
            *differ = next;
            b.xor(turned)
        }
    };
}

/// Rotations out of shifts: AVX2 has none.
macro_rules! shifts {
    ($type:ident, $left:ident, $right:ident) => {
        impl $type {
            #[inline(always)]
            fn rotate<const RIGHT: i32, const LEFT: i32>(self) -> Self {
                // SAFETY: a value exists only where the CPU has AVX2 (see [`Lanes`]).
                Self(unsafe { _mm256_or_si256($right::<RIGHT>(self.0), $left::<LEFT>(self.0)) })
            }

            #[inline(always)]
            fn shift<const RIGHT: i32>(self) -> Self {
                // SAFETY: as above.
                Self(unsafe { $right::<RIGHT>(self.0) })
            }

            #[inline(always)]
            fn xor3(one: Self, two: Self, three: Self) -> Self {
                one.xor(two).xor(three)
            }
        }
    };
}

shifts!(Eight, _mm256_slli_epi32, _mm256_srli_epi32);
shifts!(Four, _mm256_slli_epi64, _mm256_srli_epi64);

impl Lanes<8> for Eight {
    type Word = u32;

    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        // SAFETY: the caller answers for the CPU.
        Self(unsafe { _mm256_set1_epi32(word.cast_signed()) })
    }

    #[inline(always)]
    unsafe fn load(row: &[u32; 8]) -> Self {
        // SAFETY: the caller answers for the CPU; a row has 32 bytes, and no alignment is asked for.
        Self(unsafe { _mm256_loadu_si256(row.as_ptr().cast()) })
    }

    #[inline(always)]
    fn store(self, row: &mut [u32; 8]) {
        // SAFETY: a value exists only where the CPU has AVX2; a row has 32 bytes, and no alignment is asked for.
        unsafe { _mm256_storeu_si256(row.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn words(places: &[*const u8; 8]) -> [Self; 16] {
        // SAFETY: the caller answers for the CPU and for the 64 bytes behind each place, 32 of which each half reads.
        unsafe {
            let [a, b, c, d, e, f, g, h] = half_32(places, 0);
            let [i, j, k, l, m, n, o, p] = half_32(places, 32);
            [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p].map(Self)
        }
    }

    bitwise!(_mm256_add_epi32);
    sigmas!(u32);
}

impl Lanes<4> for Four {
    type Word = u64;

    #[inline(always)]
    unsafe fn splat(word: u64) -> Self {
        // SAFETY: the caller answers for the CPU.
        Self(unsafe { _mm256_set1_epi64x(word.cast_signed()) })
    }

    #[inline(always)]
    unsafe fn load(row: &[u64; 4]) -> Self {
        // SAFETY: the caller answers for the CPU; a row has 32 bytes, and no alignment is asked for.
        Self(unsafe { _mm256_loadu_si256(row.as_ptr().cast()) })
    }

    #[inline(always)]
    fn store(self, row: &mut [u64; 4]) {
        // SAFETY: a value exists only where the CPU has AVX2; a row has 32 bytes, and no alignment is asked for.
        unsafe { _mm256_storeu_si256(row.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn words(places: &[*const u8; 4]) -> [Self; 16] {
        // SAFETY: the caller answers for the CPU and for the 128 bytes behind each place, 32 of which each quarter reads.
        unsafe {
            let [a, b, c, d] = quarter_64(places, 0);
            let [e, f, g, h] = quarter_64(places, 32);
            let [i, j, k, l] = quarter_64(places, 64);
            let [m, n, o, p] = quarter_64(places, 96);
            [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p].map(Self)
        }
    }

    bitwise!(_mm256_add_epi64);
    sigmas!(u64);
}

/// Eight words of each of eight lanes, transposed.
///
/// # Safety
/// The CPU has AVX2, and 32 bytes from `offset` on are readable behind each place.
#[inline(always)]
unsafe fn half_32(places: &[*const u8; 8], offset: usize) -> [__m256i; 8] {
    // SAFETY: the caller answers for both.
    unsafe {
        // The most significant byte of each word comes first.
        let order = _mm256_setr_epi8(
            3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12,
        );
        let row = |lane: usize| _mm256_shuffle_epi8(_mm256_loadu_si256(places[lane].add(offset).cast()), order);
        let low = four_32([row(0), row(1), row(2), row(3)]);
        let high = four_32([row(4), row(5), row(6), row(7)]);
        [
            _mm256_permute2x128_si256::<0x20>(low[0], high[0]),
            _mm256_permute2x128_si256::<0x20>(low[1], high[1]),
            _mm256_permute2x128_si256::<0x20>(low[2], high[2]),
            _mm256_permute2x128_si256::<0x20>(low[3], high[3]),
            _mm256_permute2x128_si256::<0x31>(low[0], high[0]),
            _mm256_permute2x128_si256::<0x31>(low[1], high[1]),
            _mm256_permute2x128_si256::<0x31>(low[2], high[2]),
            _mm256_permute2x128_si256::<0x31>(low[3], high[3]),
        ]
    }
}

/// Within each half of a register: four words of four lanes, transposed.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn four_32(rows: [__m256i; 4]) -> [__m256i; 4] {
    // SAFETY: the caller answers for the CPU.
    unsafe {
        let even = (_mm256_unpacklo_epi32(rows[0], rows[1]), _mm256_unpacklo_epi32(rows[2], rows[3]));
        let odd = (_mm256_unpackhi_epi32(rows[0], rows[1]), _mm256_unpackhi_epi32(rows[2], rows[3]));
        [
            _mm256_unpacklo_epi64(even.0, even.1),
            _mm256_unpackhi_epi64(even.0, even.1),
            _mm256_unpacklo_epi64(odd.0, odd.1),
            _mm256_unpackhi_epi64(odd.0, odd.1),
        ]
    }
}

/// Four words of each of four lanes, transposed.
///
/// # Safety
/// The CPU has AVX2, and 32 bytes from `offset` on are readable behind each place.
#[inline(always)]
unsafe fn quarter_64(places: &[*const u8; 4], offset: usize) -> [__m256i; 4] {
    // SAFETY: the caller answers for both.
    unsafe {
        let order = _mm256_setr_epi8(
            7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8,
        );
        let row = |lane: usize| _mm256_shuffle_epi8(_mm256_loadu_si256(places[lane].add(offset).cast()), order);
        let (first, second, third, fourth) = (row(0), row(1), row(2), row(3));
        let even = (_mm256_unpacklo_epi64(first, second), _mm256_unpacklo_epi64(third, fourth));
        let odd = (_mm256_unpackhi_epi64(first, second), _mm256_unpackhi_epi64(third, fourth));
        [
            _mm256_permute2x128_si256::<0x20>(even.0, even.1),
            _mm256_permute2x128_si256::<0x20>(odd.0, odd.1),
            _mm256_permute2x128_si256::<0x31>(even.0, even.1),
            _mm256_permute2x128_si256::<0x31>(odd.0, odd.1),
        ]
    }
}

/// 8 lanes of SHA-256's block function.
pub(super) struct Avx2x8;

/// 4 lanes of SHA-512's block function.
pub(super) struct Avx2x4;

super::engine::vector_engine!(Avx2x8, Eight, u32, 8, "avx2");
super::engine::vector_engine!(Avx2x4, Four, u64, 4, "avx2");
