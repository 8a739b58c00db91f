//! A Postgres of a test's own, which it may stop, kill, starve and tell the wrong time.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};

use super::{
    Database, cli,
    disk::Disk,
    mesh::own_host,
    process::spawn,
    rundir, shared,
    wait::{PATIENCE, until},
};

/// Each has a host of its own, so the port is free.
const PORT: u16 = 5432;

/// A stopped cluster with hashmesh's tables, of which the others are copies.
static TEMPLATE: OnceCell<PathBuf> = OnceCell::const_new();

/// Killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Postgres {
    server: Option<Child>,
    directory: PathBuf,
    data: PathBuf,
    host: String,
    /// `NAME=VALUE`
    settings: Vec<String>,
    environment: Vec<(String, String)>,
    /// On which its data is, if not on that of all.
    pub(crate) disk: Option<Disk>,
}

impl Postgres {
    /// A new one with hashmesh's tables and these settings, in this directory or on a disk of its own that is mounted there.
    pub(crate) async fn start_in(
        directory: PathBuf,
        disk: Option<Disk>,
        settings: &[&str],
        environment: &[(String, String)],
    ) -> Self {
        let template = TEMPLATE.get_or_init(make_template).await;
        let data = directory.join("data");
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let environment = environment.to_vec();
        let mut postgres = Self { server: None, directory, data, host: own_host(), settings, environment, disk };
        let mut copy = postgres.program("cp");
        let copied = copy.args(["-a", "--reflink=auto"]).arg(template).arg(&postgres.data).status();
        assert!(copied.is_ok_and(|status| status.success()), "the template cannot be copied");
        postgres.restart().await;
        postgres
    }

    /// Runs a program where the data is.
    fn program(&self, program: &str) -> Command {
        self.disk.as_ref().map_or_else(|| Command::new(program), |disk| disk.within(program))
    }

    /// `HOST:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("{}:{PORT}", self.host)
    }

    /// Its database by another address that leads to it.
    pub(crate) fn url_by(address: &str) -> String {
        format!("postgres://hashmesh@{address}/hashmesh?sslmode=disable")
    }

    pub(crate) fn database(&self) -> Database {
        Database::of_url(Self::url_by(&self.address()))
    }

    /// A connection, if it takes one.
    pub(crate) async fn try_connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&Self::url_by(&self.address()), NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// The server process.
    pub(crate) fn pid(&self) -> Pid {
        let server = self.server.as_ref().expect("it was started");
        Pid::from_raw(server.id().cast_signed()).expect("a process id")
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.server.as_mut().expect("it was started").try_wait().expect("it is our child")
    }

    /// What it logged, from its first start on.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("postgres.log")).unwrap_or_default()
    }

    /// Signals the server and waits until it is gone, and its backends with it.
    pub(crate) async fn end(&mut self, signal: Signal) -> ExitStatus {
        kill_process(self.pid(), signal).expect("it runs");
        until("Postgres to end", PATIENCE, async || self.ended()).await
    }

    /// Starts it, unless it runs, and waits until it takes connections.
    pub(crate) async fn restart(&mut self) {
        if self.server.is_none() || self.ended().is_some() {
            self.server = Some(self.launch());
        }
        until("Postgres to take connections", PATIENCE, async || {
            // Those that a killed server left behind still have its memory: then it does not start, and is started again.
            if self.ended().is_some() {
                self.server = Some(self.launch());
            }
            self.try_connect().await.ok()
        })
        .await;
    }

    fn launch(&self) -> Child {
        let mut command = self.program("setpriv");
        as_owner(&mut command, TEMPLATE.get().unwrap_or(&self.data), &self.environment, "postgres");
        command.arg("-D").arg(&self.data);
        let ours = [
            format!("listen_addresses={}", self.host),
            format!("port={PORT}"),
            "unix_socket_directories=".to_owned(),
            "timezone=UTC".to_owned(),
            // Small, so that it starts and recovers soon.
            "shared_buffers=32MB".to_owned(),
            // With its data: in /dev/shm it would stay behind when it is killed.
            "dynamic_shared_memory_type=mmap".to_owned(),
        ];
        for setting in ours.iter().chain(&self.settings) {
            command.args(["-c", setting]);
        }
        let log = fs::OpenOptions::new().create(true).append(true).open(self.directory.join("postgres.log"));
        spawn_quiet(command, log.expect("a log file"))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("── the end of Postgres' log ──\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
        }
        if let Some(server) = &mut self.server {
            // At once, and its backends with it. One that has ended is gone already.
            let pid = Pid::from_raw(server.id().cast_signed()).expect("a process id");
            if server.try_wait().is_ok_and(|ended| ended.is_none()) {
                let _ = kill_process(pid, Signal::QUIT);
            }
            let _ = server.wait();
        }
        rundir::remove(&self.directory);
    }
}

fn spawn_quiet(mut command: Command, log: fs::File) -> Child {
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    spawn(command)
}

/// Has setpriv run a program of Postgres' as who owns such data.
fn as_owner(setpriv: &mut Command, data: &Path, environment: &[(String, String)], program: &str) {
    setpriv.args(["--pdeathsig", "KILL"]);
    if rustix::process::geteuid().is_root() {
        let owner = fs::metadata(data).expect("its data");
        let ids = [format!("--reuid={}", owner.uid()), format!("--regid={}", owner.gid())];
        setpriv.args(ids).arg("--clear-groups");
    }
    // The environment is the program's alone.
    setpriv.args(["--", "env", "LC_ALL=C"]).args(environment.iter().map(|(name, value)| format!("{name}={value}")));
    setpriv.arg(binaries().join(program));
}

/// The directory of the programs of the shared mesh's Postgres.
fn binaries() -> PathBuf {
    static BINARIES: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    let find = || {
        let server = shared::started().expect("it was started").postgres_pid().expect("it has a Postgres of its own");
        let binary = fs::read_link(format!("/proc/{}/exe", server.as_raw_nonzero())).expect("it runs");
        binary.parent().expect("a directory").to_owned()
    };
    BINARIES.get_or_init(find).clone()
}

fn own(directory: &Path, owner: &fs::Metadata) {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).expect("it is ours");
    if rustix::process::geteuid().is_root() {
        chown(directory, Some(owner.uid()), Some(owner.gid())).expect("it can be given to Postgres' user");
    }
}

async fn make_template() -> PathBuf {
    let shared = shared::up().await;
    let owner = fs::metadata(shared.data_dir().join("postgres")).expect("its data");
    let directory = rundir::directory("postgres-template");
    let data = directory.join("data");
    fs::create_dir(&data).expect("a new directory");
    own(&data, &owner);
    let mut command = Command::new("setpriv");
    as_owner(&mut command, &data, &[], "initdb");
    command.args(["--username=hashmesh", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
    // Small segments, so that a small disk is full of them.
    command.args(["--wal-segsize=1", "--pgdata"]).arg(&data);
    let log = fs::File::create(directory.join("initdb.log")).expect("a file");
    let made = spawn_quiet(command, log).wait().expect("it is our child");
    let said = || fs::read_to_string(directory.join("initdb.log")).unwrap_or_default();
    assert!(made.success(), "initdb failed: {}", said());
    fs::write(data.join("pg_hba.conf"), "host all all 127.0.0.0/8 trust\n").expect("it is there");

    let mut postgres = Postgres {
        server: None,
        directory: rundir::directory("postgres-template-log"),
        data: data.clone(),
        host: own_host(),
        settings: Vec::new(),
        environment: Vec::new(),
        disk: None,
    };
    postgres.server = Some(postgres.launch());
    let url = format!("postgres://hashmesh@{}/postgres?sslmode=disable", postgres.address());
    let connect = async || tokio_postgres::connect(&url, NoTls).await.ok();
    let (client, connection) = until("Postgres to take connections", PATIENCE, connect).await;
    tokio::spawn(connection);
    client.batch_execute("CREATE DATABASE hashmesh").await.expect("a database");
    drop(client);
    let url = Postgres::url_by(&postgres.address());
    cli::hashmesh(["migrate", "--database-url", &url]).run().await.succeeded();
    assert!(postgres.end(Signal::INT).await.success());
    data
}
