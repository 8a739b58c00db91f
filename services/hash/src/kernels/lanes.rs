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

/// A state out of memory.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn load<V: Lanes<LANES>, const LANES: usize>(rows: &[[V::Word; LANES]; 8]) -> [V; 8] {
    let [a, b, c, d, e, f, g, h] = rows;
    // SAFETY: the caller answers for the CPU.
    unsafe { [V::load(a), V::load(b), V::load(c), V::load(d), V::load(e), V::load(f), V::load(g), V::load(h)] }
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
    let mut state = unsafe { load::<V, LANES>(rows) };
    for _ in 0..blocks {
        // SAFETY: the caller answers for the CPU and for a block at each place.
        state = unsafe { block(state, V::words(places)) };
        next_block::<V::Word, LANES>(places);
    }
    for (register, row) in state.into_iter().zip(rows) {
        register.store(row);
    }
}

/// The state after one more block of every lane.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn block<V: Lanes<LANES>, const LANES: usize>(state: [V; 8], mut word: [V; 16]) -> [V; 8] {
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
    add(state, [a, b, c, d, e, f, g, h])
}

/// The state after a block that is the same in every lane. `rounds`: its schedule, the round constants added.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn common_block<V: Lanes<LANES>, const LANES: usize>(state: [V; 8], rounds: &[V::Word]) -> [V; 8] {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
    let mut differ = b.xor(c);
    for words in rounds.as_chunks::<16>().0 {
        macro_rules! round {
            ($at:literal) => {
                // SAFETY: the caller answers for the CPU.
                let word = unsafe { V::splat(words[$at]) };
                let first = h.add(word).add(e.choose(f, g)).add(e.big_sigma_1());
                let second = a.big_sigma_0().add(V::majority(a, b, c, &mut differ));
                (h, g, f, e, d, c, b, a) = (g, f, e, d.add(first), c, b, a, first.add(second));
            };
        }
        sixteen_times!(round);
    }
    add(state, [a, b, c, d, e, f, g, h])
}

#[inline(always)]
fn add<V: Lanes<LANES>, const LANES: usize>(mut sums: [V; 8], others: [V; 8]) -> [V; 8] {
    for (sum, other) in sums.iter_mut().zip(others) {
        *sum = sum.add(other);
    }
    sums
}

/// What inputs of one number of blocks need beyond [`Lanes`]: a lane may read less than a block.
///
/// # Safety
/// As of [`Lanes`].
pub(super) trait PartialLanes<const LANES: usize>: Lanes<LANES> {
    /// A block of each lane, out of as many of the bytes at its place as `left` says, at most a block: then comes, where `left` is
    /// not negative, the bit that begins the padding, then zeros.
    ///
    /// # Safety
    /// The CPU has the instructions of this type, and so many bytes are readable at each place.
    unsafe fn padded_words(places: &[*const u8; LANES], left: &[isize; LANES]) -> [Self; 16];

    /// The words of each lane, the most significant byte first.
    fn digests(state: [Self; 8]) -> [[Self::Word; 8]; LANES];
}

/// The digests of whole inputs that have `blocks` blocks each, padding included.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn group<V: PartialLanes<LANES>, const LANES: usize>(
    initial: &[V::Word; 8],
    inputs: &[&[u8]; LANES],
    blocks: usize,
) -> [[V::Word; 8]; LANES] {
    let mut places = [std::ptr::null(); LANES];
    let mut lengths = [0; LANES];
    for lane in 0..LANES {
        (places[lane], lengths[lane]) = (inputs[lane].as_ptr(), inputs[lane].len());
    }
    let [a, b, c, d, e, f, g, h] = *initial;
    // SAFETY: the caller answers for the CPU.
    let mut state = unsafe {
        [V::splat(a), V::splat(b), V::splat(c), V::splat(d), V::splat(e), V::splat(f), V::splat(g), V::splat(h)]
    };
    let whole = (blocks - 1) * V::Word::BLOCK_BYTES;
    let alike = lengths.iter().all(|length| *length == whole);
    // Of an input that does not end with a block, the padding begins in one of the last two.
    let full = if alike { blocks - 1 } else { blocks.saturating_sub(2) };
    for _ in 0..full {
        // SAFETY: the caller answers for the CPU; every input has more whole blocks than were read.
        state = unsafe { block(state, V::words(&places)) };
        next_block::<V::Word, LANES>(&mut places);
    }
    if alike {
        // SAFETY: the caller answers for the CPU.
        return V::digests(unsafe { common_block(state, V::Word::padding_rounds(blocks)) });
    }
    for number in full..blocks {
        let mut left = [0; LANES];
        let mut bits = [V::Word::default(); LANES];
        for lane in 0..LANES {
            left[lane] = lengths[lane].cast_signed() - (number * V::Word::BLOCK_BYTES).cast_signed();
            bits[lane] = V::Word::from_bits(lengths[lane]);
        }
        // SAFETY: the caller answers for the CPU; what is left of an input is readable.
        let mut words = unsafe { V::padded_words(&places, &left) };
        if number + 1 == blocks {
            // SAFETY: the caller answers for the CPU. The padding has zeros there.
            words[15] = words[15].add(unsafe { V::load(&bits) });
        }
        // SAFETY: the caller answers for the CPU.
        state = unsafe { block(state, words) };
        next_block::<V::Word, LANES>(&mut places);
    }
    V::digests(state)
}

/// Moves the places to the next block.
#[inline(always)]
fn next_block<W: Word, const LANES: usize>(places: &mut [*const u8; LANES]) {
    for place in places {
        *place = place.wrapping_add(W::BLOCK_BYTES);
    }
}
