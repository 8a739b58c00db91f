//! AVX-512 (F and BW): 16 lanes of SHA-224 and SHA-256, 8 lanes of the others.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_add_epi64, _mm512_loadu_si512, _mm512_ror_epi32, _mm512_ror_epi64,
    _mm512_set1_epi32, _mm512_set1_epi64, _mm512_set4_epi32, _mm512_shuffle_epi8, _mm512_shuffle_i32x4,
    _mm512_srli_epi32, _mm512_srli_epi64, _mm512_storeu_si512, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64, _mm512_xor_si512,
};

use super::{
    engine::Engine,
    lanes::{Lanes, compress, sigmas},
};

/// 16 words of 32 bits.
#[derive(Clone, Copy)]
struct Sixteen(__m512i);

/// 8 words of 64 bits.
#[derive(Clone, Copy)]
struct Eight(__m512i);

/// What [`_mm512_ternarylogic_epi32`] gives for each of the eight values of three bits: the table as a number. Its bit 4a + 2b + c
/// is the value for a, b and c.
const XOR3: i32 = 0b1001_0110;
const CHOOSE: i32 = 0b1100_1010;
const MAJORITY: i32 = 0b1110_1000;

/// What does not depend on the width of a word.
macro_rules! bitwise {
    ($add:ident) => {
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: a value exists only where the CPU has AVX-512 (see [`Lanes`]).
            Self(unsafe { $add(self.0, other.0) })
        }

        #[inline(always)]
        fn xor(self, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_xor_si512(self.0, other.0) })
        }

        #[inline(always)]
        fn choose(self, yes: Self, no: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_ternarylogic_epi32::<CHOOSE>(self.0, yes.0, no.0) })
        }

        /// One instruction: nothing is kept for the next round.
        #[inline(always)]
        fn majority(a: Self, b: Self, c: Self, _: &mut Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_ternarylogic_epi32::<MAJORITY>(a.0, b.0, c.0) })
        }
    };
}

macro_rules! shifts {
    ($type:ident, $rotate:ident, $shift:ident) => {
        impl $type {
            #[inline(always)]
            fn rotate<const RIGHT: i32, const LEFT: i32>(self) -> Self {
                // SAFETY: a value exists only where the CPU has AVX-512 (see [`Lanes`]).
                Self(unsafe { $rotate::<RIGHT>(self.0) })
            }

            #[inline(always)]
            fn shift<const RIGHT: u32>(self) -> Self {
                // SAFETY: as above.
                Self(unsafe { $shift::<RIGHT>(self.0) })
            }

            #[inline(always)]
            fn xor3(one: Self, two: Self, three: Self) -> Self {
                // SAFETY: as above.
                Self(unsafe { _mm512_ternarylogic_epi32::<XOR3>(one.0, two.0, three.0) })
            }
        }
    };
}

shifts!(Sixteen, _mm512_ror_epi32, _mm512_srli_epi32);
shifts!(Eight, _mm512_ror_epi64, _mm512_srli_epi64);

impl Lanes<16> for Sixteen {
    type Word = u32;

    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        // SAFETY: the caller answers for the CPU.
        Self(unsafe { _mm512_set1_epi32(word.cast_signed()) })
    }

    #[inline(always)]
    unsafe fn load(row: &[u32; 16]) -> Self {
        // SAFETY: the caller answers for the CPU; a row has 64 bytes, and no alignment is asked for.
        Self(unsafe { _mm512_loadu_si512(row.as_ptr().cast()) })
    }

    #[inline(always)]
    fn store(self, row: &mut [u32; 16]) {
        // SAFETY: a value exists only where the CPU has AVX-512; a row has 64 bytes, and no alignment is asked for.
        unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn words(places: &[*const u8; 16]) -> [Self; 16] {
        // SAFETY: the caller answers for the CPU and for the 64 bytes behind each place: a register.
        unsafe {
            // The most significant byte of each word comes first.
            let order = _mm512_set4_epi32(0x0c0d_0e0f, 0x0809_0a0b, 0x0405_0607, 0x0001_0203);
            let row = |lane: usize| _mm512_shuffle_epi8(_mm512_loadu_si512(places[lane].cast()), order);
            let [a, b, c, d] = four_32([row(0), row(1), row(2), row(3)]);
            let [e, f, g, h] = four_32([row(4), row(5), row(6), row(7)]);
            let [i, j, k, l] = four_32([row(8), row(9), row(10), row(11)]);
            let [m, n, o, p] = four_32([row(12), row(13), row(14), row(15)]);
            // Each has words 0, 4, 8 and 12 (or 1, 5, 9 and 13 …) of four lanes.
            let ([w0, w4, w8, w12], [w1, w5, w9, w13]) = (quarters([a, e, i, m]), quarters([b, f, j, n]));
            let ([w2, w6, w10, w14], [w3, w7, w11, w15]) = (quarters([c, g, k, o]), quarters([d, h, l, p]));
            [w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11, w12, w13, w14, w15].map(Self)
        }
    }

    bitwise!(_mm512_add_epi32);
    sigmas!(u32);
}

impl Lanes<8> for Eight {
    type Word = u64;

    #[inline(always)]
    unsafe fn splat(word: u64) -> Self {
        // SAFETY: the caller answers for the CPU.
        Self(unsafe { _mm512_set1_epi64(word.cast_signed()) })
    }

    #[inline(always)]
    unsafe fn load(row: &[u64; 8]) -> Self {
        // SAFETY: the caller answers for the CPU; a row has 64 bytes, and no alignment is asked for.
        Self(unsafe { _mm512_loadu_si512(row.as_ptr().cast()) })
    }

    #[inline(always)]
    fn store(self, row: &mut [u64; 8]) {
        // SAFETY: a value exists only where the CPU has AVX-512; a row has 64 bytes, and no alignment is asked for.
        unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn words(places: &[*const u8; 8]) -> [Self; 16] {
        // SAFETY: the caller answers for the CPU and for the 128 bytes behind each place, 64 of which each half reads.
        unsafe {
            let [a, b, c, d, e, f, g, h] = half_64(places, 0);
            let [i, j, k, l, m, n, o, p] = half_64(places, 64);
            [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p].map(Self)
        }
    }

    bitwise!(_mm512_add_epi64);
    sigmas!(u64);
}

/// Within each quarter of a register: four words of four lanes, transposed.
///
/// # Safety
/// The CPU has AVX-512.
#[inline(always)]
unsafe fn four_32(rows: [__m512i; 4]) -> [__m512i; 4] {
    // SAFETY: the caller answers for the CPU.
    unsafe {
        let even = (_mm512_unpacklo_epi32(rows[0], rows[1]), _mm512_unpacklo_epi32(rows[2], rows[3]));
        let odd = (_mm512_unpackhi_epi32(rows[0], rows[1]), _mm512_unpackhi_epi32(rows[2], rows[3]));
        [
            _mm512_unpacklo_epi64(even.0, even.1),
            _mm512_unpackhi_epi64(even.0, even.1),
            _mm512_unpacklo_epi64(odd.0, odd.1),
            _mm512_unpackhi_epi64(odd.0, odd.1),
        ]
    }
}

/// Four registers as rows of four quarters, transposed.
///
/// # Safety
/// The CPU has AVX-512.
#[inline(always)]
unsafe fn quarters(rows: [__m512i; 4]) -> [__m512i; 4] {
    const EVEN: i32 = 0b10_00_10_00;
    const ODD: i32 = 0b11_01_11_01;
    // SAFETY: the caller answers for the CPU.
    unsafe {
        let even = (_mm512_shuffle_i32x4::<EVEN>(rows[0], rows[1]), _mm512_shuffle_i32x4::<EVEN>(rows[2], rows[3]));
        let odd = (_mm512_shuffle_i32x4::<ODD>(rows[0], rows[1]), _mm512_shuffle_i32x4::<ODD>(rows[2], rows[3]));
        [
            _mm512_shuffle_i32x4::<EVEN>(even.0, even.1),
            _mm512_shuffle_i32x4::<EVEN>(odd.0, odd.1),
            _mm512_shuffle_i32x4::<ODD>(even.0, even.1),
            _mm512_shuffle_i32x4::<ODD>(odd.0, odd.1),
        ]
    }
}

/// Eight words of each of eight lanes, transposed.
///
/// # Safety
/// The CPU has AVX-512, and 64 bytes from `offset` on are readable behind each place.
#[inline(always)]
unsafe fn half_64(places: &[*const u8; 8], offset: usize) -> [__m512i; 8] {
    // SAFETY: the caller answers for both.
    unsafe {
        let order = _mm512_set4_epi32(0x0809_0a0b, 0x0c0d_0e0f, 0x0001_0203, 0x0405_0607);
        let row = |lane: usize| _mm512_shuffle_epi8(_mm512_loadu_si512(places[lane].add(offset).cast()), order);
        let (a, b, c, d) = (row(0), row(1), row(2), row(3));
        let (e, f, g, h) = (row(4), row(5), row(6), row(7));
        let even = [
            _mm512_unpacklo_epi64(a, b),
            _mm512_unpacklo_epi64(c, d),
            _mm512_unpacklo_epi64(e, f),
            _mm512_unpacklo_epi64(g, h),
        ];
        let odd = [
            _mm512_unpackhi_epi64(a, b),
            _mm512_unpackhi_epi64(c, d),
            _mm512_unpackhi_epi64(e, f),
            _mm512_unpackhi_epi64(g, h),
        ];
        let ([w0, w2, w4, w6], [w1, w3, w5, w7]) = (quarters(even), quarters(odd));
        [w0, w1, w2, w3, w4, w5, w6, w7]
    }
}

/// 16 lanes of SHA-256's block function.
pub(super) struct Avx512x16;

/// 8 lanes of SHA-512's block function.
pub(super) struct Avx512x8;

super::engine::vector_engine!(Avx512x16, Sixteen, u32, 16, "avx512f,avx512bw");
super::engine::vector_engine!(Avx512x8, Eight, u64, 8, "avx512f,avx512bw");
