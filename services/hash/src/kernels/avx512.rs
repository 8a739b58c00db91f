//! AVX-512 (F and BW): 16 lanes of SHA-224 and SHA-256, 8 lanes of the others.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_add_epi64, _mm512_loadu_si512, _mm512_maskz_loadu_epi8, _mm512_or_si512,
    _mm512_permutex2var_epi64, _mm512_ror_epi32, _mm512_ror_epi64, _mm512_set_epi64, _mm512_set1_epi32,
    _mm512_set1_epi64, _mm512_set4_epi32, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_shuffle_i32x4,
    _mm512_srli_epi32, _mm512_srli_epi64, _mm512_storeu_si512, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64, _mm512_xor_si512,
};
use std::mem::transmute;

use super::{
    engine::Engine,
    lanes::{Lanes, PartialLanes, compress, group, sigmas},
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

/// Registers as values of the type in whose body this is. Not by `map`: what takes a function is not always compiled into the one
/// that has the instructions.
macro_rules! sixteen {
    ($registers:expr) => {{
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = $registers;
        [
            Self(a),
            Self(b),
            Self(c),
            Self(d),
            Self(e),
            Self(f),
            Self(g),
            Self(h),
            Self(i),
            Self(j),
            Self(k),
            Self(l),
            Self(m),
            Self(n),
            Self(o),
            Self(p),
        ]
    }};
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
            let mut rows = [_mm512_setzero_si512(); 16];
            for (row, place) in rows.iter_mut().zip(places) {
                *row = _mm512_loadu_si512(place.cast());
            }
            sixteen!(words_32(rows))
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
            let mut halves = [[_mm512_setzero_si512(); 8]; 2];
            for (lane, place) in places.iter().enumerate() {
                halves[0][lane] = _mm512_loadu_si512(place.cast());
                halves[1][lane] = _mm512_loadu_si512(place.add(64).cast());
            }
            sixteen!(words_64(halves))
        }
    }

    bitwise!(_mm512_add_epi64);
    sigmas!(u64);
}

impl PartialLanes<16> for Sixteen {
    #[inline(always)]
    unsafe fn padded_words(places: &[*const u8; 16], left: &[isize; 16]) -> [Self; 16] {
        // SAFETY: the caller answers for the CPU and for the bytes.
        unsafe {
            let mut rows = [_mm512_setzero_si512(); 16];
            for lane in 0..16 {
                rows[lane] = padded(places[lane], left[lane]);
            }
            sixteen!(words_32(rows))
        }
    }

    #[inline(always)]
    fn digests(state: [Self; 8]) -> [[u32; 8]; 16] {
        // SAFETY: a value exists only where the CPU has AVX-512.
        unsafe {
            let mut words = [_mm512_setzero_si512(); 8];
            for (swapped, word) in words.iter_mut().zip(state) {
                *swapped = _mm512_shuffle_epi8(word.0, order_32());
            }
            let [a, b, c, d, e, f, g, h] = words;
            // Of lanes n, n + 4, n + 8 and n + 12.
            let (first, last) = (four_32([a, b, c, d]), four_32([e, f, g, h]));
            let near = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0);
            let far = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
            let mut digests = [[0; 8]; 16];
            for n in 0..4 {
                let two: [[u32; 8]; 2] = transmute(_mm512_permutex2var_epi64(first[n], near, last[n]));
                (digests[n], digests[n + 4]) = (two[0], two[1]);
                let two: [[u32; 8]; 2] = transmute(_mm512_permutex2var_epi64(first[n], far, last[n]));
                (digests[n + 8], digests[n + 12]) = (two[0], two[1]);
            }
            digests
        }
    }
}

impl PartialLanes<8> for Eight {
    #[inline(always)]
    unsafe fn padded_words(places: &[*const u8; 8], left: &[isize; 8]) -> [Self; 16] {
        // SAFETY: the caller answers for the CPU and for the bytes.
        unsafe {
            let mut halves = [[_mm512_setzero_si512(); 8]; 2];
            for lane in 0..8 {
                halves[0][lane] = padded(places[lane], left[lane]);
                halves[1][lane] = padded(places[lane].wrapping_add(64), left[lane] - 64);
            }
            sixteen!(words_64(halves))
        }
    }

    #[inline(always)]
    fn digests(state: [Self; 8]) -> [[u64; 8]; 8] {
        // SAFETY: a value exists only where the CPU has AVX-512; its 64 bytes are those of eight words.
        unsafe {
            let [a, b, c, d, e, f, g, h] = state;
            transmute(half_64([a.0, b.0, c.0, d.0, e.0, f.0, g.0, h.0]))
        }
    }
}

/// Zeros, the bit that begins the padding, zeros.
static PADDING: [u8; 129] = {
    let mut bytes = [0; 129];
    bytes[64] = 0x80;
    bytes
};

/// A register out of as many bytes as are `left`, at most 64; where that is not negative, the bit that begins the padding; zeros.
///
/// # Safety
/// The CPU has AVX-512, and so many bytes are readable at the place.
#[inline(always)]
unsafe fn padded(place: *const u8, left: isize) -> __m512i {
    let mask = u64::MAX.unbounded_shr(64 - left.clamp(0, 64) as u32);
    // SAFETY: the caller answers for the CPU and for the bytes that the mask has; 64 of 129 are read, from 65 on at most.
    unsafe {
        let padding = _mm512_loadu_si512(PADDING.as_ptr().offset(64 - left.clamp(-1, 64)).cast());
        _mm512_or_si512(_mm512_maskz_loadu_epi8(mask, place.cast()), padding)
    }
}

/// The most significant byte of each word first.
///
/// # Safety
/// The CPU has AVX-512.
#[inline(always)]
unsafe fn order_32() -> __m512i {
    // SAFETY: the caller answers for the CPU.
    unsafe { _mm512_set4_epi32(0x0c0d_0e0f, 0x0809_0a0b, 0x0405_0607, 0x0001_0203) }
}

/// 16 words of each of 16 lanes, transposed.
///
/// # Safety
/// The CPU has AVX-512.
#[inline(always)]
unsafe fn words_32(rows: [__m512i; 16]) -> [__m512i; 16] {
    // SAFETY: the caller answers for the CPU.
    unsafe {
        let order = order_32();
        let mut words = rows;
        for row in &mut words {
            *row = _mm512_shuffle_epi8(*row, order);
        }
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = words;
        let ([a, b, c, d], [e, f, g, h]) = (four_32([a, b, c, d]), four_32([e, f, g, h]));
        let ([i, j, k, l], [m, n, o, p]) = (four_32([i, j, k, l]), four_32([m, n, o, p]));
        // Each has words 0, 4, 8 and 12 (or 1, 5, 9 and 13 …) of four lanes.
        let ([w0, w4, w8, w12], [w1, w5, w9, w13]) = (quarters([a, e, i, m]), quarters([b, f, j, n]));
        let ([w2, w6, w10, w14], [w3, w7, w11, w15]) = (quarters([c, g, k, o]), quarters([d, h, l, p]));
        [w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11, w12, w13, w14, w15]
    }
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

/// 16 words of each of eight lanes, whose first and last eight come as two halves, transposed.
///
/// # Safety
/// The CPU has AVX-512.
#[inline(always)]
unsafe fn words_64([first, last]: [[__m512i; 8]; 2]) -> [__m512i; 16] {
    // SAFETY: the caller answers for the CPU.
    unsafe {
        let [a, b, c, d, e, f, g, h] = half_64(first);
        let [i, j, k, l, m, n, o, p] = half_64(last);
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }
}

/// Eight words of each of eight rows, transposed, the most significant byte first.
///
/// # Safety
/// The CPU has AVX-512.
#[inline(always)]
unsafe fn half_64(rows: [__m512i; 8]) -> [__m512i; 8] {
    // SAFETY: the caller answers for the CPU.
    unsafe {
        let order = _mm512_set4_epi32(0x0809_0a0b, 0x0c0d_0e0f, 0x0001_0203, 0x0405_0607);
        let mut words = rows;
        for row in &mut words {
            *row = _mm512_shuffle_epi8(*row, order);
        }
        let [a, b, c, d, e, f, g, h] = words;
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
super::groups::grouped!(Avx512x16, Sixteen, u32, 16, "avx512f,avx512bw");
super::groups::grouped!(Avx512x8, Eight, u64, 8, "avx512f,avx512bw");
