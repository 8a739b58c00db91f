//! A throw-away Postgres. It needs no cleaning up by tests: a shell keeps it, and takes it down and away once the pipe
//! from this process closes, however this process ends.

use std::{
    env,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use hashmesh_database::{Database, DatabaseConfig, migrate, migrate_to};
use tokio::sync::OnceCell;

/// $1: directory, $2: Postgres' binaries, $3…: what to run them with. Line 1 of the output: `ready`.
const KEEPER: &str = r#"
directory=$1; binaries=$2; shift 2
as() { (cd "$directory" && "$@"); }
trap 'as "$@" "$binaries/pg_ctl" -D data -m immediate stop >/dev/null 2>&1; rm -rf "$directory"' EXIT
trap '' INT HUP
{
    as "$@" "$binaries/initdb" -D data -U postgres -A trust -E UTF8 --locale=C --no-sync &&
    as "$@" "$binaries/pg_ctl" -D data -l log -w -o "-c listen_addresses='' -c unix_socket_directories=$directory \
        -c fsync=${HASHMESH_TEST_FSYNC:-off} -c max_connections=300 -c max_wal_size=4GB" start
} >"$directory/setup" 2>&1 || { cat "$directory/setup" "$directory/log" 2>&1; exit 1; }
echo ready
cat >/dev/null
"#;

const TEMPLATE: &str = "hashmesh_template";

pub(super) struct Cluster {
    pub(super) directory: PathBuf,
    /// Closes with this process.
    _pipe: ChildStdin,
    _keeper: Child,
}

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A new database with the schema, and nothing in it.
pub(super) async fn database() -> Database {
    let cluster = CLUSTER.get_or_init(start).await;
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    create(cluster, &name, TEMPLATE).await;
    Database::connect(cluster.config(&name)).await.unwrap()
}

/// A new database with the tables of an older version, and what is needed to migrate it.
pub(super) async fn database_of_version(version: u32) -> (Database, DatabaseConfig) {
    let cluster = CLUSTER.get_or_init(start).await;
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    create(cluster, &name, "template1").await;
    let config = cluster.config(&name);
    migrate_to(&config, version).await.unwrap();
    (Database::connect(config.clone()).await.unwrap(), config)
}

/// A cluster of a test's own, with one database; gone with the handle.
pub(super) async fn lone() -> (Cluster, Database) {
    let cluster = launch();
    create(&cluster, "test", "template1").await;
    migrate(&cluster.config("test")).await.unwrap();
    let database = Database::connect(cluster.config("test")).await.unwrap();
    (cluster, database)
}

async fn start() -> Cluster {
    let cluster = launch();
    create(&cluster, TEMPLATE, "template1").await;
    migrate(&cluster.config(TEMPLATE)).await.unwrap();
    cluster
}

async fn create(cluster: &Cluster, name: &str, template: &str) {
    let postgres = Database::connect(cluster.config("postgres")).await.unwrap();
    let connection = postgres.dedicated("create").await.unwrap();
    connection.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await.unwrap();
}

impl Cluster {
    /// A further database, empty.
    pub(super) async fn create(&self, name: &str) {
        create(self, name, "template1").await;
    }

    fn config(&self, database: &str) -> DatabaseConfig {
        DatabaseConfig {
            url: format!("postgres:///{database}?host={}&user=postgres", self.directory.display()),
            allow_unsafe_durability: true,
            ..DatabaseConfig::default()
        }
    }
}

fn launch() -> Cluster {
    let binaries = binaries();
    let (directory, mut command) = keeper(KEEPER, &binaries, &[]);
    // A group of its own: Ctrl-C must not end the keeper before it has cleaned up.
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut keeper = command.spawn().unwrap();
    let pipe = keeper.stdin.take().unwrap();
    let mut output = BufReader::new(keeper.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    if line != "ready\n" {
        output.read_to_string(&mut line).unwrap();
        panic!("cannot start Postgres from {}: {line}", binaries.display());
    }
    Cluster { directory, _pipe: pipe, _keeper: keeper }
}

/// A new directory, and a shell that runs a script for it: $1 is the directory, $2 Postgres' binaries, then what is
/// given, and the command that others than root are run by.
pub(super) fn keeper(script: &str, binaries: &Path, given: &[&Path]) -> (PathBuf, Command) {
    // Its owner changes, so that it is no guard's to remove: the keeper removes it.
    let directory = tempfile::Builder::new().prefix("hashmesh-store-").tempdir().unwrap().keep();
    let mut command = Command::new("sh");
    command.args(["-c", script, "keeper"]).args([directory.as_path(), binaries]).args(given);
    if run_by_root() {
        // Postgres refuses root.
        let owned = Command::new("chown").arg("nobody:nogroup").arg(&directory).status().unwrap();
        assert!(owned.success(), "cannot give {} to nobody", directory.display());
        command.args(["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    }
    (directory, command)
}

fn run_by_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0
}

/// The folder of `initdb`, `pg_ctl` and `postgres`.
pub(super) fn binaries() -> PathBuf {
    if let Some(given) = env::var_os("POSTGRES_BIN") {
        return PathBuf::from(given);
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut candidates: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    candidates.sort();
    candidates.push(PathBuf::from("/usr/local/pgsql/bin"));
    candidates
        .into_iter()
        .rev()
        .find(|folder| has_postgres(folder))
        .expect("no PostgreSQL found: install one (15 to 18), or set POSTGRES_BIN to the folder of its initdb")
}

fn has_postgres(folder: &Path) -> bool {
    ["initdb", "pg_ctl", "postgres"].iter().all(|binary| folder.join(binary).is_file())
}
