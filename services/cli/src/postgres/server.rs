//! A running Postgres: started, watched, started again should it die, stopped with us.

use std::{
    fs,
    future::Future,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use hashmesh_runtime::{shutdown::Shutdown, tasks};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{cluster::Cluster, orphan};

/// Between two looks at `postmaster.pid` while it starts.
const POLL: Duration = Duration::from_millis(20);
/// Attempts at the first start: after a crash the old backends may need a moment to go.
const START_ATTEMPTS: u32 = 6;
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// One that ran this long starts anew with the first back-off.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// How it is asked to stop, and for how long each way is tried: fast (with a checkpoint), immediate (recovery at the
/// next start), and by force.
const STOPS: [(Signal, Duration); 3] = [
    (Signal::INT, Duration::from_secs(30)),
    (Signal::QUIT, Duration::from_secs(5)),
    (Signal::KILL, Duration::from_secs(5)),
];

/// A Postgres that runs until [`Postgres::stop`].
#[derive(Debug)]
pub(crate) struct Postgres {
    url: String,
    port: u16,
    version: String,
    stop: Shutdown,
    watcher: JoinHandle<()>,
}

impl Postgres {
    /// Starts a cluster and waits until it takes connections. `interrupt` ends the wait, and Postgres.
    pub(crate) async fn start(mut cluster: Cluster, interrupt: &Shutdown) -> Result<Self> {
        orphan::stop(&cluster.data).await?;
        let mut attempt = 1;
        let child = loop {
            if cluster.access.ensure_free_port()? {
                cluster.access.write(&cluster.data_dir)?;
            }
            match launch(&cluster, interrupt).await {
                Ok(child) => break child,
                Err(error) if attempt == START_ATTEMPTS || interrupt.begun() => return Err(error),
                Err(error) => tracing::warn!("{error:#}, trying again"),
            }
            sleep(FIRST_BACKOFF * attempt).await;
            attempt += 1;
        };
        let (url, port) = (cluster.access.url(), cluster.access.port);
        let version = cluster.binaries.version.clone();
        let stop = Shutdown::new();
        let watcher = tasks::spawn("postgres", watch(cluster, child, stop.clone()));
        Ok(Self { url, port, version, stop, watcher })
    }

    /// How clients reach it, password included.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Its port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its version, `18.1`.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Stops it and waits until it is gone.
    pub(crate) async fn stop(self) {
        self.stop.begin();
        if let Err(error) = self.watcher.await {
            tracing::error!(%error, "the watch over Postgres ended badly");
        }
    }
}

/// Starts it again whenever it ends by itself. The port stays, so that whoever uses it reconnects.
async fn watch(cluster: Cluster, mut child: Child, stop: Shutdown) {
    let mut backoff = FIRST_BACKOFF;
    loop {
        let started = Instant::now();
        tokio::select! {
            () = stop.wait() => return end_child(child).await,
            status = child.wait() => {
                let status = status.map(|status| status.to_string());
                tracing::error!(?status, log = %log_path(&cluster.data_dir).display(), "Postgres ended by itself, starting it again");
            }
        }
        if started.elapsed() > HEALTHY_AFTER {
            backoff = FIRST_BACKOFF;
        }
        child = loop {
            tokio::select! {
                () = stop.wait() => return,
                () = sleep(backoff) => backoff = (backoff * 2).min(LONGEST_BACKOFF),
            }
            match launch(&cluster, &stop).await {
                Ok(child) => break child,
                Err(_) if stop.begun() => return,
                Err(error) => tracing::error!("{error:#}"),
            }
        };
        tracing::info!("Postgres runs again");
    }
}

/// Starts the server and waits until it says that it is ready, however long recovery takes.
async fn launch(cluster: &Cluster, interrupt: &Shutdown) -> Result<Child> {
    let log = open_log(cluster)?;
    let log_start = log.metadata()?.len();
    let mut command = cluster.program("postgres");
    command
        .arg("-D")
        .arg(&cluster.data)
        .args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
        .args(["-c", &format!("port={}", cluster.access.port)])
        .stdout(Stdio::from(log.try_clone()?))
        .stderr(Stdio::from(log));
    // By force, should we panic: crash-safe, and better than a server nobody watches.
    let mut child = Command::from(command).kill_on_drop(true).spawn().context("cannot run postgres")?;
    let pid = child.id().context("postgres has no process id")?;
    loop {
        tokio::select! {
            status = child.wait() => {
                let said = last_words(&log_path(&cluster.data_dir), log_start);
                bail!("Postgres did not start ({}): {said}", status?);
            }
            () = interrupt.wait() => {
                end_child(child).await;
                bail!("stopped while Postgres was starting");
            }
            () = sleep(POLL) => {
                if ready(&cluster.data.join("postmaster.pid"), pid) {
                    return Ok(child);
                }
            }
        }
    }
}

/// What pg_ctl looks at: the eighth line of `postmaster.pid` says `ready` once connections are taken.
fn ready(pid_file: &Path, pid: u32) -> bool {
    let Ok(text) = fs::read_to_string(pid_file) else { return false };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.first().is_some_and(|line| *line == pid.to_string()) && lines.get(7) == Some(&"ready")
}

async fn end_child(mut child: Child) {
    let Some(pid) = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) else { return };
    end(pid, async {
        if let Err(error) = child.wait().await {
            tracing::error!(%error, "cannot wait for Postgres");
        }
    })
    .await;
}

/// Stops a postmaster, politely first; `exited` completes once it is gone.
pub(super) async fn end(pid: Pid, exited: impl Future<Output = ()>) {
    tokio::pin!(exited);
    for (signal, patience) in STOPS {
        // It may be gone already; `exited` knows.
        let _ = kill_process(pid, signal);
        if timeout(patience, &mut exited).await.is_ok() {
            return;
        }
        tracing::warn!(?signal, ?patience, "Postgres did not stop in time");
    }
}

fn log_path(data_dir: &Path) -> std::path::PathBuf {
    data_dir.join("postgres.log")
}

/// Opened by us and inherited, so that the data directory need not be writable by Postgres' user.
fn open_log(cluster: &Cluster) -> Result<fs::File> {
    const LONGEST_BYTES: u64 = 16 * 1024 * 1024;
    let path = log_path(&cluster.data_dir);
    if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > LONGEST_BYTES) {
        fs::rename(&path, path.with_extension("log.1"))?;
    }
    let opened = fs::OpenOptions::new().create(true).append(true).open(&path);
    opened.with_context(|| format!("cannot open {}", path.display()))
}

/// The last lines that were logged since `from`.
fn last_words(log: &Path, from: u64) -> String {
    const LINES: usize = 5;
    let bytes = fs::read(log).unwrap_or_default();
    let since = bytes.get(usize::try_from(from).unwrap_or(0)..).unwrap_or_default();
    let text = String::from_utf8_lossy(since);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(LINES)..].join("; ");
    format!("{last} (more in {})", log.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_servers_own_ready_line_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("postmaster.pid");
        assert!(!ready(&path, 42));
        let text = |status: &str| format!("42\n/data\n1700000000\n5432\n\n127.0.0.1\n  5432001         7\n{status}\n");
        fs::write(&path, text("starting")).unwrap();
        assert!(!ready(&path, 42));
        fs::write(&path, text("ready   ")).unwrap();
        assert!(ready(&path, 42));
        assert!(!ready(&path, 43));
    }
}
