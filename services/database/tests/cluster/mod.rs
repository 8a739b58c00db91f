//! A private Postgres cluster per test, below a temporary directory, stopped when it is dropped.

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use hashmesh_database::DatabaseConfig;
use tempfile::TempDir;

/// Postgres refuses to run as root: "nobody" of every Linux.
const NOBODY: u32 = 65534;
/// Another process may take the port between our look and Postgres' start.
const START_ATTEMPTS: usize = 5;
const SUPERUSER: &str = "postgres";
/// With characters that a URL must escape.
pub(crate) const PASSWORD: &str = "s3cret@/?#";
const PASSWORD_ESCAPED: &str = "s3cret%40%2F%3F%23";

pub(crate) struct Cluster {
    directory: TempDir,
    bin: PathBuf,
    port: u16,
}

impl Cluster {
    /// A running cluster with TLS, asking for passwords over TCP.
    pub(crate) fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("hashmesh-database-").tempdir().unwrap();
        let mut cluster = Self { bin: find_bin(), directory, port: 0 };
        give_away(cluster.directory.path());
        cluster.write("password", PASSWORD.as_bytes());
        cluster.run(
            "initdb",
            &["--no-sync", "--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C"],
            &[("-U", SUPERUSER.into()), ("-D", cluster.path("data")), ("--pwfile", cluster.path("password"))],
        );
        cluster.write("server.pem", include_bytes!("../certificates/server.pem"));
        cluster.write("server.key", include_bytes!("../certificates/server.key"));
        assert!((0..START_ATTEMPTS).any(|_| cluster.try_start()), "Postgres does not start: {}", cluster.log());
        cluster
    }

    /// Starts what was stopped, at its old port.
    pub(crate) fn restart(&self) {
        assert!(self.start_at(self.port), "Postgres does not start again: {}", self.log());
    }

    /// Stops without any courtesy, as a crash would.
    pub(crate) fn stop(&self) {
        self.run("pg_ctl", &["stop", "-m", "immediate", "-w"], &[("-D", self.path("data"))]);
    }

    /// Stops every process of it in its tracks: silent, but not gone.
    pub(crate) fn freeze(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// Lets them go on.
    pub(crate) fn thaw(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let text = fs::read_to_string(self.path("data").join("postmaster.pid")).unwrap_or_default();
        let Some(server) = text.lines().next().and_then(|line| line.trim().parse::<i32>().ok()) else { return };
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let children = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).filter(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // After the command's name, which may hold anything: state, then the parent.
            let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<i32>().ok());
            parent == Some(server)
        });
        // The server first: it makes no child that is not seen.
        for pid in std::iter::once(server).chain(children) {
            let Some(pid) = rustix::process::Pid::from_raw(pid) else { continue };
            // One that is gone meanwhile needs no signal.
            let _gone = rustix::process::kill_process(pid, signal);
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Over the socket, without a password.
    pub(crate) fn socket_url(&self) -> String {
        format!("postgres:///postgres?host={}&port={}&user={SUPERUSER}", self.directory.path().display(), self.port)
    }

    pub(crate) fn tcp_url(&self, host: &str, parameters: &str) -> String {
        format!("postgres://{SUPERUSER}:{PASSWORD_ESCAPED}@{host}:{}/postgres?{parameters}", self.port)
    }

    /// The same over TCP by way of another port.
    pub(crate) fn tcp_url_at(&self, port: u16, parameters: &str) -> String {
        format!("postgres://{SUPERUSER}:{PASSWORD_ESCAPED}@127.0.0.1:{port}/postgres?{parameters}")
    }

    pub(crate) fn config(&self) -> DatabaseConfig {
        DatabaseConfig { url: self.socket_url(), ..DatabaseConfig::default() }
    }

    fn try_start(&mut self) -> bool {
        self.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        self.start_at(self.port)
    }

    fn start_at(&self, port: u16) -> bool {
        let directory = self.directory.path().display();
        let options = format!(
            "-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={directory} -c ssl=on \
             -c ssl_cert_file={directory}/server.pem -c ssl_key_file={directory}/server.key"
        );
        let mut command = self.command("pg_ctl");
        command.args(["start", "-w", "-D"]).arg(self.path("data")).arg("-l").arg(self.path("log"));
        command.arg("-o").arg(options).status().unwrap().success()
    }

    fn run(&self, program: &str, arguments: &[&str], paths: &[(&str, PathBuf)]) {
        let mut command = self.command(program);
        command.args(arguments);
        for (name, path) in paths {
            command.arg(name).arg(path);
        }
        assert!(command.status().unwrap().success(), "{program} failed: {}", self.log());
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir(self.directory.path()).stdin(Stdio::null()).stdout(Stdio::null());
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        give_away(&path);
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.thaw();
        // It may be stopped already; and a panic here would hide the test's own.
        let _stopped = self.command("pg_ctl").args(["stop", "-m", "immediate", "-D"]).arg(self.path("data")).status();
    }
}

fn give_away(path: &Path) {
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

/// POSTGRES_BIN, or the newest of Debian's.
fn find_bin() -> PathBuf {
    if let Some(bin) = std::env::var_os("POSTGRES_BIN") {
        return PathBuf::from(bin);
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())));
    let newest = newest.filter(|(_, path)| path.join("bin/pg_ctl").exists()).max();
    newest.expect("no Postgres: set POSTGRES_BIN to the directory of its programs").1.join("bin")
}
