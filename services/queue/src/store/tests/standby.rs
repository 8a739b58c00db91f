//! A streaming replica of a test's cluster, which can be stopped and started. As with the cluster, a shell keeps it and
//! takes it away once the pipe from this process closes.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use hashmesh_database::{DatabaseConfig, Replica};

use super::cluster::{Cluster, binaries, keeper};

/// $1: directory, $2: Postgres' binaries, $3: the primary's directory, $4…: what to run them with. Every line of the input
/// is what to do; every line of the output is `done` or what went wrong.
const KEEPER: &str = r#"
directory=$1; binaries=$2; primary=$3; shift 3
as() { (cd "$directory" && "$@"); }
all() { pid=$(head -n 1 "$directory/data/postmaster.pid"); echo "$pid" $(cat "/proc/$pid/task/$pid/children"); }
trap 'kill -CONT $(all) 2>/dev/null; as "$@" "$binaries/pg_ctl" -D data -m immediate stop >/dev/null 2>&1; rm -rf "$directory"' EXIT
trap '' INT HUP
while read -r what; do
    case $what in
    copy) as "$@" "$binaries/pg_basebackup" -D data -d "host=$primary user=postgres" -R -X stream -c fast --no-sync ;;
    start) as "$@" "$binaries/pg_ctl" -D data -l log -w -o "-c listen_addresses='' -c unix_socket_directories=$directory \
        -c fsync=off -c max_connections=300" start ;;
    stop) as "$@" "$binaries/pg_ctl" -D data -m immediate -w stop ;;
    freeze) kill -STOP $(all) ;;
    thaw) kill -CONT $(all) ;;
    promote) as "$@" "$binaries/pg_ctl" -D data -w promote ;;
    esac >"$directory/said" 2>&1 && echo done || echo "cannot $what: $(cat "$directory/said" "$directory/log" 2>&1)" | tr '\n' ' '
done
"#;

pub(super) struct Standby {
    directory: PathBuf,
    pipe: ChildStdin,
    said: BufReader<ChildStdout>,
    _keeper: Child,
}

impl Standby {
    /// A copy of the cluster that follows it.
    pub(super) fn of(cluster: &Cluster) -> Self {
        let (directory, mut command) = keeper(KEEPER, &binaries(), &[&cluster.directory]);
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let pipe = child.stdin.take().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut standby = Self { directory, pipe, said, _keeper: child };
        standby.tell("copy");
        standby.tell("start");
        standby
    }

    /// `start`, `stop`, `freeze`, `thaw` or `promote`; returns when it is done.
    pub(super) fn tell(&mut self, what: &str) {
        writeln!(self.pipe, "{what}").unwrap();
        let mut said = String::new();
        self.said.read_line(&mut said).unwrap();
        assert_eq!(said, "done\n");
    }

    /// How it is read from.
    pub(super) fn replica(&self) -> Replica {
        self.replica_of("test")
    }

    /// The same, with a URL that names another database.
    pub(super) fn replica_of(&self, database: &str) -> Replica {
        replica(&self.directory, database)
    }
}

/// The server whose socket is in this directory, as a replica.
pub(super) fn replica(directory: &Path, database: &str) -> Replica {
    let url = format!("postgres:///{database}?host={}&user=postgres", directory.display());
    Replica::new(&DatabaseConfig { url, pool_max: 4, ..DatabaseConfig::default() }).unwrap()
}
