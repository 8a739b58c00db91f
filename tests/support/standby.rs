//! A streaming replica of a mesh's Postgres, with the same binaries and as the same user.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{Database, Up, cli, process};

/// Gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Standby {
    server: Child,
}

impl Standby {
    /// How it is read from; a directory has one.
    pub(crate) fn url(directory: &Path) -> String {
        format!("postgresql:///hashmesh?host={}&user=hashmesh", directory.join("standby").display())
    }

    /// Copies what the mesh has stored, and starts a server that follows from there.
    pub(crate) async fn of(up: &Up, directory: &Path) -> Self {
        let primary = up.postgres_pid().expect("the mesh has a Postgres of its own").as_raw_nonzero();
        let binary = fs::read_link(format!("/proc/{primary}/exe")).expect("it runs");
        let source = up.data_dir().join("postgres");
        let owner = fs::metadata(&source).expect("its data");
        let (home, data) = (directory.join("standby"), directory.join("standby/data"));
        for made in [&home, &data, &data.join("pg_wal")] {
            fs::create_dir(made).expect("a new directory");
            fs::set_permissions(made, fs::Permissions::from_mode(0o700)).expect("it is ours");
            chown(made, Some(owner.uid()), Some(owner.gid())).expect("it can be given to Postgres' user");
        }
        let label = back_up(up, &source, &data).await;
        for (name, text) in [("backup_label", label.as_str()), ("standby.signal", "")] {
            fs::write(data.join(name), text).expect("a file");
            chown(data.join(name), Some(owner.uid()), Some(owner.gid())).expect("it can be given to Postgres' user");
        }
        fs::write(home.join("hba"), "local all all trust\n").expect("a file");

        let mut server = Command::new("setpriv");
        server.args(["--pdeathsig", "KILL"]);
        if rustix::process::geteuid().is_root() {
            let ids = [format!("--reuid={}", owner.uid()), format!("--regid={}", owner.gid())];
            server.args(ids).arg("--clear-groups");
        }
        server.arg("--").arg(binary).arg("-D").arg(&data);
        for (setting, value) in [
            ("primary_conninfo", up.database_url().as_str()),
            ("hba_file", &home.join("hba").to_string_lossy()),
            ("unix_socket_directories", &home.to_string_lossy()),
            ("listen_addresses", ""),
            ("port", "5432"),
            ("fsync", "off"),
        ] {
            server.args(["-c", &format!("{setting}={value}")]);
        }
        let log = fs::File::create(directory.join("standby.log")).expect("a log file");
        server.current_dir(&home).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self { server: process::spawn(server) }
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn crash(&mut self) {
        if self.server.try_wait().is_ok_and(|ended| ended.is_none()) {
            let pid = i32::try_from(self.server.id()).ok().and_then(Pid::from_raw).expect("a process id");
            kill_process(pid, Signal::QUIT).expect("it runs");
            self.server.wait().expect("it is our child");
        }
    }
}

/// What pg_basebackup does, which not every build of Postgres comes with; the WAL is streamed afterwards. Returns the label
/// with which recovery begins.
async fn back_up(up: &Up, source: &Path, data: &Path) -> String {
    let session = Database::of_url(up.database_url()).client().await;
    session.batch_execute("SELECT pg_backup_start('standby', true)").await.expect("a backup begins");
    // What is removed meanwhile is no failure: the second tar's status counts.
    let copy = "tar -C \"$1\" --exclude='./pg_wal/*' --exclude='./postmaster.*' -cf - . | tar -C \"$2\" -xpf -";
    cli::program("sh", ["-c", copy, "copy"]).arg(source).arg(data).run().await.succeeded();
    let label = session.query_one("SELECT labelfile FROM pg_backup_stop(false)", &[]).await.expect("it ends");
    label.get(0)
}

impl Drop for Standby {
    fn drop(&mut self) {
        self.crash();
    }
}
