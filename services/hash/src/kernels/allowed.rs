//! Which kernels may be used: what whoever runs the process says.

use std::{str::FromStr, sync::OnceLock};

/// One input after another: the library that the kernels are checked with.
pub(super) const PLAIN: &str = "sha2";

/// Those of every CPU, so that one configuration does for different machines.
pub(super) const NAMES: [&str; 8] =
    ["avx512-x16", "sha-ni-x2", "avx2-x8", "avx512-x8", "avx2-x4", "avx512-x1", "avx2-x1", PLAIN];

static ALLOWED: OnceLock<KernelNames> = OnceLock::new();

/// Names of kernels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelNames(Vec<&'static str>);

/// A name of no kernel.
#[derive(Debug, thiserror::Error)]
#[error("there is no kernel {name:?}; wanted some of {}, separated by commas", NAMES.join(", "))]
pub struct UnknownKernel {
    name: String,
}

impl FromStr for KernelNames {
    type Err = UnknownKernel;

    fn from_str(text: &str) -> Result<Self, UnknownKernel> {
        let known = |name: &str| NAMES.into_iter().find(|known| *known == name);
        let names = text.split(',').map(str::trim);
        let names = names.map(|name| known(name).ok_or_else(|| UnknownKernel { name: name.to_owned() }));
        Ok(Self(names.collect::<Result<_, _>>()?))
    }
}

/// SHA-2 is computed by these alone, as far as this CPU has them. Before the first digest of the process: later it changes nothing.
pub fn allow_kernels(names: KernelNames) {
    let _before = ALLOWED.set(names);
}

/// None: all.
pub(super) fn allowed() -> Option<&'static [&'static str]> {
    ALLOWED.get().map(|names| names.0.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::kernel::{SHA256_KERNELS, SHA512_KERNELS};

    #[test]
    fn every_kernel_may_be_named_and_nothing_else() {
        for name in SHA256_KERNELS.iter().map(|one| one.name).chain(SHA512_KERNELS.iter().map(|one| one.name)) {
            assert!(NAMES.contains(&name), "{name}");
        }
        assert_eq!("sha2, avx2-x8".parse::<KernelNames>().unwrap(), KernelNames(vec!["sha2", "avx2-x8"]));
        for (text, name) in [("", ""), ("sha2,", ""), ("sha2,AVX2-x8", "AVX2-x8"), ("none", "none")] {
            let refused = text.parse::<KernelNames>().unwrap_err().to_string();
            assert!(
                refused.starts_with(&format!("there is no kernel {name:?}; wanted some of avx512-x16, ")),
                "{refused}"
            );
        }
    }
}
