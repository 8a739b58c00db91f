//! A Postgres that outlived the process that started it.
//!
//! It is stopped and started anew rather than adopted: then there is one way to watch and to stop it, as our child. What
//! it committed stays, and its fast shutdown spares the new one the recovery.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use rustix::process::{Pid, test_kill_process};

use super::server::end;

const POLL: Duration = Duration::from_millis(20);

/// Stops what runs on this cluster. The caller holds the data directory's lock, so whatever runs is no other `up`'s.
pub(super) async fn stop(data: &Path) -> Result<()> {
    let pid_file = data.join("postmaster.pid");
    let Some(pid) = recorded_pid(&pid_file) else { return Ok(()) };
    if runs_in(pid, data) {
        tracing::warn!(pid = pid.as_raw_nonzero().get(), "a Postgres outlived its hashmesh, stopping it");
        end(pid, gone(pid)).await;
    }
    // Left by a crash. Postgres would clear it itself, unless the number belongs to another process by now: with that it
    // refuses to start. Two servers on one cluster stay impossible: the shared memory segment is checked as well.
    if pid_file.exists() && !runs_in(pid, data) {
        fs::remove_file(&pid_file).with_context(|| format!("cannot remove {}", pid_file.display()))?;
    }
    Ok(())
}

fn recorded_pid(pid_file: &Path) -> Option<Pid> {
    let text = fs::read_to_string(pid_file).ok()?;
    // Negative in single-user mode.
    let pid: i32 = text.lines().next()?.trim().parse().ok()?;
    Pid::from_raw(pid.abs())
}

/// A postmaster's working directory is its cluster. Without /proc, whoever has the number is taken for it.
fn runs_in(pid: Pid, data: &Path) -> bool {
    if test_kill_process(pid).is_err_and(|error| error == rustix::io::Errno::SRCH) {
        return false;
    }
    let working_directory = fs::read_link(format!("/proc/{}/cwd", pid.as_raw_nonzero()));
    match (working_directory, data.canonicalize()) {
        (Ok(directory), Ok(data)) => directory == data,
        // A zombie has no directory; a process that is not ours to look at is no cluster of ours.
        _ => !Path::new("/proc/self").exists(),
    }
}

async fn gone(pid: Pid) {
    let directory = format!("/proc/{}/cwd", pid.as_raw_nonzero());
    let alive = || {
        let exists = test_kill_process(pid) != Err(rustix::io::Errno::SRCH);
        exists && (!Path::new("/proc/self").exists() || fs::read_link(&directory).is_ok())
    };
    while alive() {
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pid_file_whose_number_is_another_process_by_now_is_cleared_away() {
        let data = tempfile::tempdir().unwrap();
        let pid_file = data.path().join("postmaster.pid");
        fs::write(&pid_file, format!("{}\n/somewhere\n", std::process::id())).unwrap();
        stop(data.path()).await.unwrap();
        assert!(!pid_file.exists());
        stop(data.path()).await.unwrap();
    }
}
