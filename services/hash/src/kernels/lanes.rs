//! What a set of vector registers must offer for SHA-2 over as many inputs as a register has words, and the block function
//! on top of it. Only this and the dozen operations below differ between AVX2 and AVX-512.
//!
//! Everything here is `inline(always)`: the instructions are there only within the function that asked for them by
//! `target_feature`, and into that function all of this is compiled.

use super::standard::Word;

/// A register: word `lane` belongs to input `lane`.
///
/// # Safety
/// Values are made by [`Lanes::load`], [`Lanes::splat`] and [`Lanes::words`] only, whose callers answer for the CPU. Whoever
/// has a value may therefore use all other operations.
pub(super) trait Lanes<const LANES: usize>: Copy {
    type Word: Word;

    /// The same word in all lanes.
    ///
    /// # Safety
    /// The CPU has the instructions of this type.
    unsafe fn splat(word: Self::Word) -> Self;

    /// A word per lane.
    ///
    /// # Safety
    /// The CPU has the instructions of this type.
    unsafe fn load(row: &[Self::Word; LANES]) -> Self;

    /// A block of each lane: 16 words, the first of all lanes, the second of all lanes and so on.
    ///
    /// # Safety
    /// The CPU has the instructions of this type, and behind each place are [`Word::BLOCK_BYTES`] readable bytes.
    unsafe fn words(places: &[*const u8; LANES]) -> [Self; 16];

    fn store(self, row: &mut [Self::Word; LANES]);
    fn add(self, other: Self) -> Self;
    /// Σ0, Σ1, σ0, σ1 of FIPS 180-4, §4.1.
    fn big_sigma_0(self) -> Self;
    fn big_sigma_1(self) -> Self;
    fn small_sigma_0(self) -> Self;
    fn small_sigma_1(self) -> Self;
    /// `Ch`: where `self` has a bit set, that of `yes`, else that of `no`.
    fn choose(self, yes: Self, no: Self) -> Self;
    /// `Maj` of a, b and c. `differ` is b ^ c when it comes and a ^ b when it goes: the next round's b and c.
    fn majority(a: Self, b: Self, c: Self, differ: &mut Self) -> Self;
    fn xor(self, other: Self) -> Self;
}

/// The four sums of rotations, by the type's own `rotate` to the right, `shift` to the right and `xor3`. Both distances of a
/// rotation are named, since instructions take them as constants.
macro_rules! sigmas {
    ($name:ident, [$a:literal $b:literal $c:literal], bits $bits:literal) => {
        #[inline(always)]
        fn $name(self) -> Self {
            Self::xor3(
                self.rotate::<$a, { $bits - $a }>(),
                self.rotate::<$b, { $bits - $b }>(),
                self.rotate::<$c, { $bits - $c }>(),
            )
        }
    };
    ($name:ident, [$a:literal $b:literal >> $c:literal], bits $bits:literal) => {
        #[inline(always)]
        fn $name(self) -> Self {
            Self::xor3(
                self.rotate::<$a, { $bits - $a }>(),
                self.rotate::<$b, { $bits - $b }>(),
                self.shift::<$c>(),
            )
        }
    };
    (u32) => {
        sigmas!(big_sigma_0, [2 13 22], bits 32);
        sigmas!(big_sigma_1, [6 11 25], bits 32);
        sigmas!(small_sigma_0, [7 18 >> 3], bits 32);
        sigmas!(small_sigma_1, [17 19 >> 10], bits 32);
    };
    (u64) => {
        sigmas!(big_sigma_0, [28 34 39], bits 64);
        sigmas!(big_sigma_1, [14 18 41], bits 64);
        sigmas!(small_sigma_0, [1 8 >> 7], bits 64);
        sigmas!(small_sigma_1, [19 61 >> 6], bits 64);
    };
}
pub(super) use sigmas;

/// Runs a macro for each of the 16 words of a block. Written out, because the compiler does not unroll what is this long.
macro_rules! sixteen_times {
    ($do:ident) => {
        $do!(0);
        $do!(1);
        $do!(2);
        $do!(3);
        $do!(4);
        $do!(5);
        $do!(6);
        $do!(7);
        $do!(8);
        $do!(9);
        $do!(10);
        $do!(11);
        $do!(12);
        $do!(13);
        $do!(14);
        $do!(15);
    };
}

/// The block function of FIPS 180-4, §6.2.2 and §6.4.2, over `blocks` blocks of every lane. Moves the places behind them.
///
/// # Safety
/// The CPU has the instructions of `V`, and behind each place are so many readable blocks.
#[inline(always)]
pub(super) unsafe fn compress<V: Lanes<LANES>, const LANES: usize>(
    rows: &mut [[V::Word; LANES]; 8],
    places: &mut [*const u8; LANES],
    blocks: usize,
) {
    // SAFETY: the caller answers for the CPU.
    let mut state = unsafe {
        [
            V::load(&rows[0]),
            V::load(&rows[1]),
            V::load(&rows[2]),
            V::load(&rows[3]),
            V::load(&rows[4]),
            V::load(&rows[5]),
            V::load(&rows[6]),
            V::load(&rows[7]),
        ]
    };
    for _ in 0..blocks {
        // SAFETY: the caller answers for the CPU and for a block at each place.
        let mut word = unsafe { V::words(places) };
        for place in places.iter_mut() {
            // SAFETY: within, or at the end of, what the caller says is readable.
            *place = unsafe { place.add(V::Word::BLOCK_BYTES) };
        }
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
        let mut differ = b.xor(c);
        let (first, later) = V::Word::ROUNDS.split_at(16);
        macro_rules! round {
            ($constants:ident, $at:literal) => {
                // SAFETY: the caller answers for the CPU.
                let constant = unsafe { V::splat($constants[$at]) };
                let first = h.add(constant).add(word[$at]).add(e.choose(f, g)).add(e.big_sigma_1());
                let second = a.big_sigma_0().add(V::majority(a, b, c, &mut differ));
                (h, g, f, e, d, c, b, a) = (g, f, e, d.add(first), c, b, a, first.add(second));
            };
        }
        macro_rules! read_round {
            ($at:literal) => {
                round!(first, $at);
            };
        }
        sixteen_times!(read_round);
        for constants in later.as_chunks::<16>().0 {
            macro_rules! scheduled_round {
                ($at:literal) => {
                    word[$at] = word[$at]
                        .add(word[($at + 1) % 16].small_sigma_0())
                        .add(word[($at + 9) % 16])
                        .add(word[($at + 14) % 16].small_sigma_1());
                    round!(constants, $at);
                };
            }
            sixteen_times!(scheduled_round);
        }
        for (sum, end) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            *sum = sum.add(end);
        }
    }
    for (register, row) in state.into_iter().zip(rows) {
        register.store(row);
    }
}
