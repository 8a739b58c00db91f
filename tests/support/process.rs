//! Processes of the built command: started, signalled, and gone with us.

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{LazyLock, Mutex, mpsc},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::{
    panics, rundir,
    wait::{PATIENCE, until},
};

/// The command under test.
pub(crate) const HASHMESH: &str = env!("CARGO_BIN_EXE_hashmesh");

/// A process that is started with `SOURCE:TARGET` in this variable sees the file or directory SOURCE at TARGET, and nobody else
/// does. Only root may.
pub(crate) const MOUNTED: &str = "HASHMESH_TEST_MOUNTED";

/// Starts every child. The signal that a child gets at its parent's death comes at the death of the *thread* that started
/// it, and a test's thread ends with the test; this one ends with the process.
static SPAWNER: LazyLock<Mutex<mpsc::SyncSender<Order>>> = LazyLock::new(|| {
    panics::tell_at_once();
    let (orders, receiver) = mpsc::sync_channel::<Order>(0);
    let serve = move || {
        for mut order in receiver {
            // Who ordered it waits for it.
            let _ = order.done.send(order.command.spawn());
        }
    };
    thread::Builder::new().name("spawner".to_owned()).spawn(serve).expect("a thread");
    Mutex::new(orders)
});

struct Order {
    command: Command,
    done: mpsc::SyncSender<std::io::Result<Child>>,
}

/// A process to be started.
#[derive(Debug)]
pub(crate) struct Spawn {
    program: OsString,
    name: String,
    directory: PathBuf,
    /// What it gets when we die: KILL, or TERM for one that has children of its own to stop.
    death_signal: &'static str,
    /// What setpriv takes away.
    privileges: Vec<String>,
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
}

impl Spawn {
    /// `hashmesh ARGUMENTS`; its output goes to files of `directory`, named after `name`.
    pub(crate) fn hashmesh<A: AsRef<OsStr>>(
        name: &str,
        directory: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self::program(HASHMESH, name, directory, arguments)
    }

    /// The same for any program.
    pub(crate) fn program<A: AsRef<OsStr>>(
        program: impl AsRef<OsStr>,
        name: &str,
        directory: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            name: name.to_owned(),
            directory: directory.to_owned(),
            death_signal: "KILL",
            privileges: Vec::new(),
            arguments: arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect(),
            environment: Vec::new(),
        }
    }

    /// Asked to stop, not killed, should we die: it stops what it started.
    pub(crate) fn stops_in_order(mut self) -> Self {
        self.death_signal = "TERM";
        self
    }

    /// Bound by permissions, even if we are root.
    pub(crate) fn bound_by_permissions(mut self) -> Self {
        self.privileges = without_override();
        self
    }

    pub(crate) fn env(mut self, environment: &[(String, String)]) -> Self {
        self.environment.extend_from_slice(environment);
        self
    }

    pub(crate) fn start(&self) -> Process {
        let stdout = self.directory.join(format!("{}.out", self.name));
        let stderr = self.directory.join(format!("{}.log", self.name));
        let open = |path: &Path| fs::OpenOptions::new().create(true).append(true).open(path).expect("a log file");
        let (out, log) = (open(&stdout), open(&stderr));
        let (stdout_start, stderr_start) = (length(&stdout), length(&stderr));

        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", self.death_signal]).args(&self.privileges);
        command.arg("--");
        let mounted = self.environment.iter().find(|(name, _)| name == MOUNTED);
        if let Some((source, target)) = mounted.and_then(|(_, mounted)| mounted.split_once(':')) {
            // In a world of its own, as far as files are mounted.
            let script = r#"mount --bind "$0" "$1" && shift && exec "$@""#;
            command.args(["unshare", "--mount", "sh", "-c", script, source, target]);
        }
        command.arg(&self.program).args(&self.arguments);
        clean_environment(&mut command);
        command.envs(self.environment.iter().cloned());
        command.current_dir(&self.directory).stdin(Stdio::null()).stdout(out).stderr(log);
        let child = spawn(command);
        if self.death_signal == "TERM" {
            rundir::wait_for_at_the_end(child.id());
        }
        let name = self.name.clone();
        Process { name, child, stdout, stderr, stdout_start, stderr_start }
    }
}

/// What setpriv must be told to bind root by permissions, as everybody else is.
pub(crate) fn without_override() -> Vec<String> {
    if !rustix::process::geteuid().is_root() {
        return Vec::new();
    }
    vec![
        "--bounding-set=-dac_override,-dac_read_search".to_owned(),
        "--inh-caps=-dac_override,-dac_read_search".to_owned(),
    ]
}

/// Nothing of the caller's own mesh, and a log that can be read back.
pub(crate) fn clean_environment(command: &mut Command) {
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        let ours = ["HASHMESH_", "OTEL_"].iter().any(|start| name.starts_with(start));
        if ours || matches!(&*name, "DATABASE_URL" | "REDIS_URL" | "RUST_LOG" | "TRACEPARENT") {
            command.env_remove(&variable);
        }
    }
    command.env("HASHMESH_LOG", "info");
    // A test makes more calls than a client may. Those about limits say so.
    command.env("HASHMESH_LIMITS", "off");
}

/// Starts a child that does not depend on the life of this thread.
pub(crate) fn spawn(command: Command) -> Child {
    let (done, started) = mpsc::sync_channel(1);
    let what = format!("{command:?}");
    let orders = SPAWNER.lock().expect("no panic under the lock").clone();
    orders.send(Order { command, done }).expect("the spawner lives as long as we do");
    let child = started.recv().expect("the spawner answers");
    child.unwrap_or_else(|error| panic!("cannot start {what}: {error}"))
}

fn length(path: &Path) -> usize {
    fs::metadata(path).map_or(0, |metadata| usize::try_from(metadata.len()).expect("it fits"))
}

/// A running process. Killed when it is dropped; a failing test then shows the end of its log.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    /// The files are appended to when a process is started again; these are where this one's part begins.
    stdout_start: usize,
    stderr_start: usize,
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The program that it runs.
    pub(crate) fn executable(&self) -> PathBuf {
        fs::read_link(format!("/proc/{}/exe", self.pid())).expect("it runs")
    }

    /// What it has written to standard output so far.
    pub(crate) fn output(&self) -> String {
        text_from(&self.stdout, self.stdout_start)
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        text_from(&self.stderr, self.stderr_start)
    }

    /// Waits until `find` finds something in the output.
    pub(crate) async fn find_in_output<T>(&mut self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        self.find(what, Self::output, find).await
    }

    /// Waits until `find` finds something in the log.
    pub(crate) async fn find_in_log<T>(&mut self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        self.find(what, Self::log, find).await
    }

    async fn find<T>(&mut self, what: &str, text: fn(&Self) -> String, find: impl Fn(&str) -> Option<T>) -> T {
        let what = format!("{} to say {what}", self.name);
        until(&what, PATIENCE, async || {
            let ended = self.exited();
            // Looked at after: what it said last counts.
            if let Some(found) = find(&text(self)) {
                return Some(found);
            }
            assert!(ended.is_none(), "{}: it ended with {ended:?} and said:\n{}", what, self.log());
            None
        })
        .await
    }

    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        kill_process(pid, signal).unwrap_or_else(|error| panic!("cannot signal {}: {error}", self.name));
    }

    /// `kill -STOP`: silent, but not gone; its connections stay open. Returns once every thread of it has stopped: until then
    /// one that was on a CPU may answer another call.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        // Whoever waits for its end will still find it.
        let what = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid), what).expect("it is our child");
    }

    /// What the kernel says that it does: `R` or `S` for one that runs, `T` for one that is stopped, `Z` for one that has ended.
    pub(crate) fn state(&self) -> char {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("it is our child");
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).expect("a state")
    }

    /// `kill -CONT`.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        if self.exited().is_none() {
            self.child.kill().expect("it is our child");
            self.child.wait().expect("it is our child");
        }
    }

    /// `kill -TERM`, and waits until it has ended.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended(PATIENCE).await
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self, within: Duration) -> ExitStatus {
        let what = format!("{} to end", self.name);
        until(&what, within, async || self.exited()).await
    }

    /// What it has read from files so far, in bytes; none once it is gone.
    pub(crate) fn read_bytes(&self) -> Option<u64> {
        let io = fs::read_to_string(format!("/proc/{}/io", self.pid())).ok()?;
        let line = io.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("Linux counts it");
        Some(line.parse().expect("a number"))
    }

    /// Resident memory in bytes.
    pub(crate) fn rss_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = fs::read_to_string(path).expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
        kib * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            let (log, ended) = (self.log(), self.exited());
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!("── the end of the log of {} ({ended:?}) ──\n{end}", self.name);
        }
        self.kill();
    }
}

fn text_from(path: &Path, start: usize) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(bytes.get(start..).unwrap_or_default()).into_owned()
}
