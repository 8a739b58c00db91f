//! What this process may use: the machine's CPUs and memory, less what its control groups forbid.
//!
//! Pools and windows are sized by these, so that a container of one CPU and 512 MiB on a large machine behaves.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

/// Assumed when not even the machine's memory can be read: small enough for any machine that runs this.
const FALLBACK_MEMORY_BYTES: u64 = 1024 * 1024 * 1024;

/// CPUs this process may use, at least 1: affinity and the quotas of control groups (v1 and v2) count, rounded down.
#[must_use]
pub fn cpus() -> usize {
    // std reads affinity, cpu.max and cpu.cfs_quota_us, of parent groups too.
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Bytes of memory this process may use: the machine's, or less by a limit of its control group or of a parent's.
#[must_use]
pub fn memory_bytes() -> u64 {
    memory_bytes_below(Path::new("/"))
}

/// `root` holds `proc/` and `sys/`.
fn memory_bytes_below(root: &Path) -> u64 {
    let machine = fs::read_to_string(root.join("proc/meminfo")).ok().and_then(|text| total_of_meminfo(&text));
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().filter_map(|line| limit_of_group(&root.join("sys/fs/cgroup"), line));
    limits.chain(machine).min().unwrap_or(FALLBACK_MEMORY_BYTES)
}

/// `MemTotal:       16384256 kB`
fn total_of_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// One line of `/proc/self/cgroup`, `hierarchy:controllers:path` (cgroups(7)). Version 2 has hierarchy 0 and no list.
fn limit_of_group(mounted: &Path, line: &str) -> Option<u64> {
    let mut parts = line.splitn(3, ':');
    let (hierarchy, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let (base, file) = match hierarchy {
        "0" => (mounted.to_owned(), "memory.max"),
        _ if controllers.split(',').any(|name| name == "memory") => (mounted.join("memory"), "memory.limit_in_bytes"),
        _ => return None,
    };
    lowest_up_the_tree(&base, path, file)
}

/// The lowest limit from the group up to the root of the hierarchy. Within a container the group's path may not exist
/// below the mount; the limit is then at the mount itself.
fn lowest_up_the_tree(base: &Path, path: &str, file: &str) -> Option<u64> {
    let relative = PathBuf::from(path.trim_start_matches('/'));
    relative
        .ancestors()
        .filter_map(|group| fs::read_to_string(base.join(group).join(file)).ok())
        // "max" is no number, and none is what it means.
        .filter_map(|text| text.trim().parse().ok())
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [("proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\n")].iter().chain(files) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn without_a_limit_it_is_the_machines_memory() {
        let root = machine(&[("proc/self/cgroup", "0::/a\n"), ("sys/fs/cgroup/a/memory.max", "max\n")]);
        assert_eq!(memory_bytes_below(root.path()), 8_192 * MIB);
    }

    #[test]
    fn a_parents_limit_counts_when_it_is_lower() {
        let root = machine(&[
            ("proc/self/cgroup", "0::/pod/container\n"),
            ("sys/fs/cgroup/pod/memory.max", "268435456\n"),
            ("sys/fs/cgroup/pod/container/memory.max", "536870912\n"),
        ]);
        assert_eq!(memory_bytes_below(root.path()), 256 * MIB);
    }

    #[test]
    fn version_1_has_the_limit_of_its_memory_controller() {
        let root = machine(&[
            ("proc/self/cgroup", "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n0::/docker/x\n"),
            // In a container the path is the host's, and the mount is the group.
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "134217728\n"),
        ]);
        assert_eq!(memory_bytes_below(root.path()), 128 * MIB);
    }

    #[test]
    fn this_machine_has_cpus_and_memory() {
        assert!(cpus() >= 1);
        assert!(memory_bytes() >= 16 * MIB);
    }
}
