//! A PgBouncer of a test's own, in transaction mode.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tokio::net::TcpStream;

use super::{
    mesh::own_host,
    process, rundir,
    wait::{PATIENCE, until},
};

/// Each has a host of its own, so the port is free.
const PORT: u16 = 6432;
/// PgBouncer refuses to run as root: "nobody" of every Linux.
const NOBODY: &str = "65534";

/// Gone when it is dropped.
#[derive(Debug)]
pub(crate) struct PgBouncer {
    process: Child,
    directory: PathBuf,
    host: String,
    database: String,
}

impl PgBouncer {
    /// One in front of a database.
    pub(crate) async fn start(name: &str, database_url: &str) -> Self {
        let config: tokio_postgres::Config = database_url.parse().expect("a URL");
        let Some(tokio_postgres::config::Host::Tcp(server)) = config.get_hosts().first() else {
            panic!("it listens on TCP")
        };
        let database = config.get_dbname().expect("it is named").to_owned();
        let password = String::from_utf8_lossy(config.get_password().unwrap_or_default()).into_owned();
        let (directory, host) = (rundir::directory(name), own_host());
        let settings = format!(
            "[databases]\n\
             {database} = host={server} port={} user={} password='{password}'\n\
             [pgbouncer]\n\
             listen_addr = {host}\nlisten_port = {PORT}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = 2\nmax_client_conn = 100\n",
            config.get_ports().first().expect("it is said"),
            config.get_user().expect("it is said"),
        );
        let file = directory.join("pgbouncer.ini");
        fs::write(&file, settings).expect("a file");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if rustix::process::geteuid().is_root() {
            command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
        }
        let log = fs::File::create(directory.join("pgbouncer.log")).expect("a file");
        command.args(["--", "pgbouncer"]).arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = process::spawn(command);
        let bouncer = Self { process, directory, host, database };
        until("pgbouncer to listen", PATIENCE, async || TcpStream::connect((&*bouncer.host, PORT)).await.ok()).await;
        bouncer
    }

    /// The same database through it.
    pub(crate) fn url(&self) -> String {
        format!("postgres://anybody@{}:{PORT}/{}?sslmode=disable", self.host, self.database)
    }

    /// What it has said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("pgbouncer.log")).unwrap_or_default()
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("── pgbouncer ──\n{}", self.log());
        }
        // One that has ended is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
