//! What the operating system says of this process.

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use super::catalogue::process as catalogue;
use crate::{health::Health, resources};

/// Has everything asked for that needs no role.
pub(super) fn watch() {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    catalogue::START_TIME.watch(&[], move || started).forever();
    catalogue::BUILD_INFO.watch(&[env!("CARGO_PKG_VERSION")], || 1.0).forever();
    catalogue::CPU_SECONDS.watch(&[], cpu_seconds).forever();
    catalogue::CPU_CORES.watch(&[], resources::cpu_limit).forever();
    catalogue::RESIDENT_MEMORY.watch(&[], || status_bytes("VmRSS:")).forever();
    #[allow(clippy::cast_precision_loss)] // exact up to 2^53, here and below
    catalogue::MEMORY_LIMIT.watch(&[], || resources::memory_bytes() as f64).forever();
    catalogue::THREADS.watch(&[], || status("Threads:")).forever();
    #[allow(clippy::cast_precision_loss)]
    catalogue::OPEN_FILES
        .watch(&[], || fs::read_dir("/proc/self/fd").map_or(0.0, |files| files.count() as f64))
        .forever();
    catalogue::MAX_FILES.watch(&[], max_files).forever();
}

/// Exports whether a role does its work, as long as the process runs.
pub fn ready(role: &str, health: Health) {
    catalogue::READY.watch(&[role], move || if health.state().is_ok() { 1.0 } else { 0.0 }).forever();
}

/// User and system time, from the clock of the process.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    #[allow(clippy::cast_precision_loss)] // exact for 285 million years
    let (seconds, nanoseconds) = (time.tv_sec as f64, time.tv_nsec as f64);
    seconds + nanoseconds / 1e9
}

fn status_bytes(field: &str) -> f64 {
    // In kB, which are KiB (proc(5)).
    status(field) * 1024.0
}

/// A number of /proc/self/status; 0 where there is none, as on systems other than Linux.
fn status(field: &str) -> f64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

fn max_files() -> f64 {
    #[allow(clippy::cast_precision_loss)] // exact up to 2^53
    let current = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.map(|files| files as f64);
    current.unwrap_or(f64::INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_uses_something_and_not_more_than_it_may() {
        assert!(cpu_seconds() > 0.0);
        let memory = status_bytes("VmRSS:");
        assert!(memory > 100_000.0 && memory < resources::memory_bytes() as f64, "{memory}");
        assert!(status("Threads:") >= 1.0 && max_files() > 10.0);
    }
}
