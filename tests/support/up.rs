//! `hashmesh up` as a process, with the Postgres that it starts.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::{
    process::{Process, Spawn},
    rundir,
    wait::{PATIENCE, until},
};

/// A whole mesh in one process.
#[derive(Debug)]
pub(crate) struct Up {
    spawn: Spawn,
    process: Process,
    directory: PathBuf,
    /// `http://127.0.0.1:PORT`, the same after a restart.
    pub(crate) server: String,
    /// The admin pages' `HOST:PORT`, after a restart another one.
    pub(crate) admin: String,
}

impl Up {
    /// Starts one on any free port, with a new data directory, and waits until it is ready.
    pub(crate) async fn start(name: &str, options: &[&str]) -> Self {
        Self::start_in(name, options, &[]).await
    }

    /// The same in this environment.
    pub(crate) async fn start_in(name: &str, options: &[&str], environment: &[(String, String)]) -> Self {
        let directory = rundir::directory(name);
        let mut arguments = arguments(&directory, "127.0.0.1:0");
        arguments.extend(options.iter().map(|option| (*option).to_owned()));
        let spawn = Spawn::hashmesh("up", &directory, arguments).stops_in_order().env(environment);
        let mut process = spawn.start();
        let (server, admin) = ready(&mut process).await;
        // A restart must be found where its clients look for it.
        let address = server.trim_start_matches("http://").to_owned();
        let mut again = self::arguments(&directory, &address);
        again.extend(options.iter().map(|option| (*option).to_owned()));
        let spawn = Spawn::hashmesh("up", &directory, again).stops_in_order().env(environment);
        Self { spawn, process, directory, server, admin }
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// The Postgres behind it, for any client.
    pub(crate) fn database_url(&self) -> String {
        let path = self.data_dir().join("up.json");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let state: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        state["database_url"].as_str().expect("a URL").to_owned()
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// `kill -9` of the mesh, and of its Postgres: the server alone, whose backends notice by themselves, or every
    /// process of it at once.
    pub(crate) fn kill_with_postgres(&mut self, backends_too: bool) {
        let server = self.postgres_pid();
        self.process.kill();
        let Some(server) = server else { return };
        let backends = if backends_too { children_of(server) } else { Vec::new() };
        for pid in std::iter::once(server).chain(backends) {
            // Those that are gone already are gone.
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// `kill -9` of its Postgres, and waits until it has another one.
    pub(crate) async fn kill_postgres(&self) {
        let killed = self.postgres_pid().expect("it runs");
        kill_process(killed, Signal::KILL).expect("it runs");
        let another = async || self.postgres_pid().filter(|pid| *pid != killed && alive(*pid));
        until("another Postgres", PATIENCE, another).await;
    }

    /// Starts it again on its data directory and its port, and waits until it is ready.
    pub(crate) async fn restart(&mut self) {
        self.process.kill();
        self.process = self.spawn.start();
        let (server, admin) = ready(&mut self.process).await;
        assert_eq!(server, self.server);
        self.admin = admin;
    }

    /// Starts one again that has ended by itself. False: it ended again before it was ready.
    pub(crate) async fn start_again(&mut self) -> bool {
        self.process = self.spawn.start();
        let process = &mut self.process;
        until("the mesh to be ready or to end", PATIENCE, async || {
            let ended = process.exited().is_some();
            (ended || process.output().ends_with("\nready\n")).then_some(!ended)
        })
        .await
    }

    /// True once it has ended by itself.
    pub(crate) fn ended(&mut self) -> bool {
        self.process.exited().is_some()
    }

    /// SIGTERM, and its exit status; its Postgres must be gone then too.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        let server = self.postgres_pid();
        let status = self.process.terminate().await;
        if let Some(server) = server {
            assert!(!alive(server), "Postgres {server:?} outlived its `up`");
        }
        status
    }

    /// Its Postgres' server process, if it has one of its own.
    pub(crate) fn postgres_pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.data_dir().join("postgres/postmaster.pid")).ok()?;
        Pid::from_raw(text.lines().next()?.trim().parse().ok()?)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.kill_with_postgres(true);
        rundir::remove(&self.directory);
    }
}

fn arguments(directory: &Path, listen: &str) -> Vec<String> {
    let data_dir = directory.join("data");
    ["up", "--data-dir", &data_dir.to_string_lossy(), "--listen", listen, "--admin-listen", "127.0.0.1:0"]
        .map(str::to_owned)
        .to_vec()
}

/// Waits for the last line, `ready`, and reads where the Gateway and the admin pages are.
async fn ready(process: &mut Process) -> (String, String) {
    let output =
        process.find_in_output("ready", |output| output.ends_with("\nready\n").then(|| output.to_owned())).await;
    let of = |what: &str| {
        let line = output.lines().find_map(|line| line.strip_prefix(what)).expect("a line of the banner");
        line.trim().to_owned()
    };
    let admin = of("admin").trim_start_matches("http://").trim_end_matches("/readyz").to_owned();
    (of("gateway"), admin)
}

/// True for a process that exists and is no zombie.
fn alive(pid: Pid) -> bool {
    let state = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let zombie = state.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'));
    test_kill_process(pid).is_ok() && !zombie
}

fn children_of(parent: Pid) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").expect("/proc");
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_child = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // After the command's name, which may hold anything: state, then the parent.
        let parent_field = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<i32>().ok());
        parent_field == Some(parent.as_raw_nonzero().get())
    };
    pids.filter(is_child).filter_map(Pid::from_raw).collect()
}
