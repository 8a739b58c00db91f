//! The kernels that there are, and which of them this CPU has.

use std::fmt::{self, Debug};

#[cfg(target_arch = "x86_64")]
use super::{
    avx2::{Avx2x4, Avx2x8},
    avx512::{Avx512x8, Avx512x16},
    sha_ni::ShaNi,
    single::{Avx2x1, Avx512x1},
};
use super::{
    engine::Engine,
    groups::{self, Grouped},
    messages::{Buffers, Digests, Messages},
    pieces::{Piece, Pieces},
    plan::Rest,
    scheduler,
    standard::{Sha2, Word},
};

/// Writes the digest of every input, but those that remain are left to what is narrower.
type WriteDigests<W> = unsafe fn(Sha2<W>, &[&[u8]], &mut Digests<'_>, Rest<'_, W>);

/// A way to compute several digests side by side.
///
/// # Safety
/// Both functions want a CPU for which `detected` is true.
pub(crate) struct Kernel<W: 'static> {
    pub(super) name: &'static str,
    pub(super) lanes: usize,
    pub(super) detected: fn() -> bool,
    pub(super) digests: WriteDigests<W>,
    pub(super) advance: unsafe fn(&mut [Piece<'_, W>], Rest<'_, W>),
}

impl<W> Debug for Kernel<W> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}

/// A word that kernels exist for.
pub(crate) trait Family: Word {
    /// An algorithm and its digests of the examples of the standard.
    fn examples() -> (Sha2<Self>, [&'static str; 3]);

    /// Those that are used in this process.
    fn chosen() -> &'static super::choice::Chosen<Self>;
}

/// # Safety
/// The CPU has the engine's instructions.
unsafe fn digests<E: Engine<LANES>, const LANES: usize>(
    algorithm: Sha2<E::Word>,
    inputs: &[&[u8]],
    digests: &mut Digests<'_>,
    rest: Rest<'_, E::Word>,
) {
    let mut buffers = Buffers::<LANES>::new();
    let mut messages = Messages::new(algorithm, inputs.iter().copied().enumerate(), digests, &mut buffers);
    // SAFETY: the caller answers for the CPU.
    unsafe { scheduler::run::<E, LANES>(&mut messages, rest) }
}

/// # Safety
/// The CPU has the engine's instructions.
unsafe fn advance<E: Engine<LANES>, const LANES: usize>(pieces: &mut [Piece<'_, E::Word>], rest: Rest<'_, E::Word>) {
    // SAFETY: the caller answers for the CPU.
    unsafe { scheduler::run::<E, LANES>(&mut Pieces::<_, LANES>::new(pieces), rest) }
}

#[cfg(target_arch = "x86_64")]
const fn kernel<E: Engine<LANES>, const LANES: usize>(name: &'static str, detected: fn() -> bool) -> Kernel<E::Word> {
    Kernel { name, lanes: LANES, detected, digests: digests::<E, LANES>, advance: advance::<E, LANES> }
}

#[cfg(target_arch = "x86_64")]
const fn grouped<E: Grouped<LANES>, const LANES: usize>(name: &'static str, detected: fn() -> bool) -> Kernel<E::Word> {
    Kernel { digests: groups::digests::<E, LANES>, ..kernel::<E, LANES>(name, detected) }
}

#[cfg(target_arch = "x86_64")]
fn avx512() -> bool {
    std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512bw")
}

#[cfg(target_arch = "x86_64")]
fn avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2")
}

#[cfg(target_arch = "x86_64")]
fn bmi() -> bool {
    std::arch::is_x86_feature_detected!("bmi1") && std::arch::is_x86_feature_detected!("bmi2")
}

#[cfg(target_arch = "x86_64")]
fn sha_ni() -> bool {
    std::arch::is_x86_feature_detected!("sha")
        && std::arch::is_x86_feature_detected!("sse4.1")
        && std::arch::is_x86_feature_detected!("ssse3")
}

// On Zen 3, three and four streams of SHA-NI are slower than two: their registers do not fit.
#[cfg(target_arch = "x86_64")]
pub(super) static SHA256_KERNELS: [Kernel<u32>; 3] = [
    grouped::<Avx512x16, 16>("avx512-x16", avx512),
    kernel::<ShaNi<2>, 2>("sha-ni-x2", sha_ni),
    kernel::<Avx2x8, 8>("avx2-x8", avx2),
];

#[cfg(target_arch = "x86_64")]
pub(super) static SHA512_KERNELS: [Kernel<u64>; 4] = [
    grouped::<Avx512x8, 8>("avx512-x8", avx512),
    kernel::<Avx2x4, 4>("avx2-x4", avx2),
    kernel::<Avx512x1, 1>("avx512-x1", || {
        avx512() && std::arch::is_x86_feature_detected!("avx512vl") && avx2() && bmi()
    }),
    kernel::<Avx2x1, 1>("avx2-x1", || avx2() && bmi()),
];

#[cfg(not(target_arch = "x86_64"))]
pub(super) static SHA256_KERNELS: [Kernel<u32>; 0] = [];

#[cfg(not(target_arch = "x86_64"))]
pub(super) static SHA512_KERNELS: [Kernel<u64>; 0] = [];
