//! SHA-2 of many inputs at once, by instructions that work on several of them.
//!
//! - `standard`: words and constants of FIPS 180-4.
//! - `lanes`: the block function over any vector registers; `avx2` and `avx512` are those. `sha_ni` has its own, and so has `single`, for
//!   one input.
//! - `engine`: what all of them offer; `scheduler` keeps its lanes full, with whole inputs (`messages`) or the next pieces of
//!   inputs (`pieces`). `groups` are short inputs of as many blocks each, which `avx512` computes without a scheduler.
//! - `kernel`: those of this build; `check` and `choice`: those of this machine, of which `allowed` are used; `plan`: how many inputs each is for.
//!
//! The only unsafe code of the workspace is in here. What is handed out is safe: slices in, digests out.

#![allow(unsafe_code)]
// Elsewhere there is no kernel yet, and what would keep its lanes full has nothing to do.
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]

mod allowed;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod check;
mod choice;
mod engine;
mod groups;
mod kernel;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod messages;
mod pieces;
mod plan;
mod scheduler;
#[cfg(target_arch = "x86_64")]
mod sha_ni;
#[cfg(target_arch = "x86_64")]
mod single;
mod standard;

pub use self::allowed::{KernelNames, UnknownKernel, allow_kernels};
pub(crate) use self::{
    kernel::Family,
    messages::Digests,
    pieces::Piece,
    standard::{SHA224, SHA256, SHA384, SHA512, SHA512_256, Sha2},
};

/// Writes the digest of every input, with the kernel that is fastest here for inputs of their lengths.
pub(crate) fn digests<W: Family>(algorithm: Sha2<W>, inputs: &[&[u8]], digests: &mut Digests<'_>) {
    W::chosen().digests(algorithm, inputs, digests);
}

/// Advances every piece's state over its whole blocks.
pub(crate) fn advance<W: Family>(pieces: &mut [Piece<'_, W>]) {
    W::chosen().advance(pieces);
}

/// The kernels that may compute algorithms of this word, joined by `+`. None: only `sha2` does. The first call in a process
/// checks and measures them, which takes some 10 ms.
pub(crate) fn names<W: Family>() -> Option<String> {
    W::chosen().names()
}

#[cfg(test)]
mod tests;
