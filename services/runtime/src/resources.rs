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

/// CPU seconds this process may use per second: the CPUs it may run on, or less by the quota of its control group or of a
/// parent's, which need not be whole. What CPU time is to be compared with.
#[must_use]
pub fn cpu_limit() -> f64 {
    cpu_limit_below(Path::new("/"))
}

/// Bytes of memory this process may use: the machine's, or less by a limit of its control group or of a parent's.
#[must_use]
pub fn memory_bytes() -> u64 {
    memory_bytes_below(Path::new("/"))
}

/// The name of this machine, or of the container; `unknown` where the system does not tell.
#[must_use]
pub fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    if name.is_empty() { "unknown".to_owned() } else { name.into_owned() }
}

/// `root` holds `proc/` and `sys/`.
fn memory_bytes_below(root: &Path) -> u64 {
    let machine = fs::read_to_string(root.join("proc/meminfo")).ok().and_then(|text| total_of_meminfo(&text));
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().filter_map(|line| limit_of_group(&root.join("sys/fs/cgroup"), line));
    limits.chain(machine).min().unwrap_or(FALLBACK_MEMORY_BYTES)
}

/// `root` holds `proc/` and `sys/`.
fn cpu_limit_below(root: &Path) -> f64 {
    let status = fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
    #[allow(clippy::cast_precision_loss)] // never that many
    let allowed = allowed_of_status(&status).unwrap_or_else(cpus) as f64;
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let quotas = groups.lines().filter_map(|line| quota_of_group(&root.join("sys/fs/cgroup"), line));
    quotas.fold(allowed, f64::min)
}

/// `Cpus_allowed_list:      0-3,8`
fn allowed_of_status(text: &str) -> Option<usize> {
    let list = text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    list.trim().split(',').try_fold(0, |cpus, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        Some(cpus + (last + 1).checked_sub(first)?)
    })
}

/// The lowest quota that a line of `/proc/self/cgroup` leads to, in CPUs.
fn quota_of_group(mounted: &Path, line: &str) -> Option<f64> {
    let (version_2, base, path) = group(mounted, line, "cpu")?;
    let read = |group: PathBuf, file: &str| fs::read_to_string(group.join(file)).ok();
    let quotas = up_the_tree(&base, path).filter_map(|group| {
        if version_2 {
            quota(&read(group, "cpu.max")?)
        } else {
            let (microseconds, period) = (read(group.clone(), "cpu.cfs_quota_us")?, read(group, "cpu.cfs_period_us")?);
            quota(&format!("{} {}", microseconds.trim(), period.trim()))
        }
    });
    quotas.reduce(f64::min)
}

/// `150000 100000`: microseconds of CPU time in each period of so many. `max`, or -1, is none.
fn quota(text: &str) -> Option<f64> {
    let (microseconds, period) = text.trim().split_once(' ')?;
    let (microseconds, period): (f64, f64) = (microseconds.parse().ok()?, period.parse().ok()?);
    (microseconds > 0.0 && period > 0.0).then(|| microseconds / period)
}

/// `MemTotal:       16384256 kB`
fn total_of_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The lowest limit of memory that a line of `/proc/self/cgroup` leads to.
fn limit_of_group(mounted: &Path, line: &str) -> Option<u64> {
    let (version_2, base, path) = group(mounted, line, "memory")?;
    let file = if version_2 { "memory.max" } else { "memory.limit_in_bytes" };
    let limits = up_the_tree(&base, path).filter_map(|group| fs::read_to_string(group.join(file)).ok());
    // "max" is no number, and none is what it means.
    limits.filter_map(|text| text.trim().parse().ok()).min()
}

/// One line of `/proc/self/cgroup`, `hierarchy:controllers:path` (cgroups(7)): whether it is of version 2, which has hierarchy
/// 0 and no list, where the hierarchy of a controller is mounted, and the group's path there.
fn group<'a>(mounted: &Path, line: &'a str, controller: &str) -> Option<(bool, PathBuf, &'a str)> {
    let mut parts = line.splitn(3, ':');
    let (hierarchy, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    match hierarchy {
        "0" => Some((true, mounted.to_owned(), path)),
        _ if controllers.split(',').any(|name| name == controller) => Some((false, mounted.join(controller), path)),
        _ => None,
    }
}

/// From the group up to the root of the hierarchy: the lowest limit of all holds. Within a container the group's path may not
/// exist below the mount; the limit is then at the mount itself.
fn up_the_tree(base: &Path, path: &str) -> impl Iterator<Item = PathBuf> {
    let groups: Vec<PathBuf> =
        Path::new(path.trim_start_matches('/')).ancestors().map(|group| base.join(group)).collect();
    groups.into_iter()
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
    fn cpus_may_be_parts_of_one_and_the_lowest_of_all_limits_holds() {
        let status = ("proc/self/status", "Name:\tx\nCpus_allowed_list:\t0-3,8\n");
        let group = ("proc/self/cgroup", "0::/pod/container\n");
        let limit = |files: &[(&str, &str)]| cpu_limit_below(machine(files).path());
        let container = |text| ("sys/fs/cgroup/pod/container/cpu.max", text);
        assert_eq!(limit(&[status, group]), 5.0);
        assert_eq!(limit(&[status, group, container("max 100000\n")]), 5.0);
        assert_eq!(limit(&[status, group, container("150000 100000\n")]), 1.5);
        assert_eq!(limit(&[status, group, container("900000 100000\n")]), 5.0, "it runs on five");
        let pod = ("sys/fs/cgroup/pod/cpu.max", "25000 50000\n");
        assert_eq!(limit(&[status, group, container("150000 100000\n"), pod]), 0.5);
    }

    #[test]
    fn version_1_has_a_quota_and_a_period_of_its_cpu_controller() {
        let limit = |quota: &'static str| {
            let root = machine(&[
                ("proc/self/status", "Cpus_allowed_list:\t0-63\n"),
                ("proc/self/cgroup", "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n"),
                ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", quota),
                ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ]);
            cpu_limit_below(root.path())
        };
        assert_eq!((limit("250000\n"), limit("-1\n")), (2.5, 64.0));
    }

    #[test]
    fn this_machine_has_cpus_and_memory() {
        assert!(cpus() >= 1 && cpu_limit() > 0.0);
        assert!(memory_bytes() >= 16 * MIB);
    }
}
