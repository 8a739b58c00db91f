//! Which kernels compute digests, for every command that computes some.

use clap::Args;
use hashmesh_hash::{KernelNames, allow_kernels};

/// The choice of kernels.
#[derive(Args, Clone, Debug)]
pub(crate) struct KernelArgs {
    /// By which kernels SHA-2 may be computed, as far as the CPU has them: avx512-x16, sha-ni-x2, avx2-x8 (SHA-256), avx512-x8, avx2-x4,
    /// avx512-x1, avx2-x1 (SHA-512), sha2 (one input after another); default: by what is fastest of all.
    #[arg(long, value_name = "NAME,…")]
    kernels: Option<KernelNames>,
}

impl KernelArgs {
    /// Before the first digest.
    pub(crate) fn allow(&self) {
        self.kernels.clone().into_iter().for_each(allow_kernels);
    }
}
