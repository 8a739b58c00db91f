//! Which implementation computes the digests on this machine.

/// Names the implementation and the CPU features that it found, for example `sha2-0.11/sha-ni+avx2`. Stored with every
/// result, so that a defect found later in one of them tells which results to compute again.
#[must_use]
pub fn kernel() -> &'static str {
    // The libraries decide at run time by these same features: SHA-224/256 and SHA-1 by the first, SHA-384/512 by the second.
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    let features = (
        std::arch::is_x86_feature_detected!("sha") && std::arch::is_x86_feature_detected!("sse4.1"),
        std::arch::is_x86_feature_detected!("avx2"),
    );
    #[cfg(target_arch = "aarch64")]
    let features = (std::arch::is_aarch64_feature_detected!("sha2"), std::arch::is_aarch64_feature_detected!("sha3"));
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    let features = (false, false);

    match (cfg!(target_arch = "aarch64"), features) {
        (_, (false, false)) => "sha2-0.11/portable",
        (false, (true, true)) => "sha2-0.11/sha-ni+avx2",
        (false, (true, false)) => "sha2-0.11/sha-ni",
        (false, (false, true)) => "sha2-0.11/avx2",
        (true, (true, true)) => "sha2-0.11/sha2+sha3",
        (true, (true, false)) => "sha2-0.11/sha2",
        (true, (false, true)) => "sha2-0.11/sha3",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_names_the_locked_version_of_sha2() {
        let lock = include_str!("../../../Cargo.lock");
        let name = kernel().split('/').next().unwrap();
        let version = name.strip_prefix("sha2-").unwrap();
        assert!(lock.contains(&format!("name = \"sha2\"\nversion = \"{version}.")), "{name} is not what is locked");
    }
}
