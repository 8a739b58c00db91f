//! Digests: the algorithms, a rayon pool behind a bounded door, and the Hash service.
//!
//! A [`Recipe`] says what is wanted. [`digest_into`] and [`digest_many`] are for small inputs, [`MultiHasher`] for inputs
//! that come in pieces, and [`digest_files`] for very many files; all of them compute every digest from one read. SHA-2 of
//! several inputs is computed side by side. None may run on an async thread for longer than 0.5 ms: [`HashPool::run`] is the
//! way to the threads that may. [`serve`] is the Hash service.

// For what the fuzz target and a test here share.
#[cfg(test)]
extern crate self as hashmesh_hash;

mod busy;
mod config;
mod digest;
mod error;
mod fault;
mod files;
mod kernel;
mod kernels;
mod pool;
mod recipe;
mod sample;
mod self_test;
mod serve;
mod service;
mod stats;
mod validate;

pub use config::HashConfig;
pub use digest::{MultiHasher, digest_into, digest_many};
pub use error::{HashError, HashServiceError};
pub use files::{
    Buffer, Entry, Foresight, Help, Helpers, Input, LargeInput, SideBySide, SmallInputs, ask_disk, digest_files,
    must_wait, read_now,
};
pub use kernel::{kernel, kernel_of};
pub use kernels::{KernelNames, UnknownKernel, allow_kernels};
pub use pool::{HashPool, PoolLimits};
pub use recipe::{NoPartSize, Recipe};
pub use sample::Untrusted;
pub use self_test::{WrongDigest, self_test};
pub use serve::serve;
pub use stats::HashStats;
