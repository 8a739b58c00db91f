//! A Redis of a test's own.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;

use super::{
    authority::Authority,
    mesh::own_host,
    process, rundir,
    wait::{PATIENCE, until},
};

/// Gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Redis {
    server: Child,
    directory: PathBuf,
    pub(super) host: String,
    /// Besides the usual ones.
    options: Vec<String>,
}

/// Each has a host of its own, so the port is free.
pub(super) const PORT: u16 = 6379;

impl Redis {
    pub(crate) async fn start(name: &str) -> Self {
        Self::start_with(name, &[]).await
    }

    /// One that is told more than usual.
    pub(super) async fn start_with(name: &str, options: &[&str]) -> Self {
        let (directory, host) = (rundir::directory(name), own_host());
        let options: Vec<String> = options.iter().map(|option| option.replace("HOST", &host)).collect();
        let server = launch(&directory, &host, &options).await;
        Self { server, directory, host, options }
    }

    /// One that speaks TLS only and wants this password.
    pub(super) async fn start_tls(name: &str, authority: &Authority, password: &str, options: &[&str]) -> Self {
        let (directory, host) = (rundir::directory(name), own_host());
        let tls = tls_settings(authority, name, &host, PORT);
        let usual = tls.iter().flat_map(|(setting, value)| [format!("--{setting}"), value.clone()]);
        let own = [&["--requirepass", password], options].concat();
        let own = own.iter().map(|option| option.replace("HOST", &host));
        let options: Vec<String> = usual.chain(own).collect();
        let server = launch(&directory, &host, &options).await;
        Self { server, directory, host, options }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}:{PORT}", self.host)
    }

    /// `kill -STOP`: its connections stay open, and nothing comes on them.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    pub(crate) fn kill(&mut self) {
        self.server.kill().expect("it is our child");
        self.server.wait().expect("it is our child");
    }

    /// On the same address, with nothing in it.
    pub(crate) async fn restart(&mut self) {
        self.server = launch(&self.directory, &self.host, &self.options).await;
    }

    /// What it answers.
    pub(super) fn ask(&self, command: &[&str]) -> String {
        ask(&self.host, PORT, command)
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.server.id().cast_signed()).expect("a process id");
        kill_process(pid, signal).expect("it runs");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // One that was killed is gone already.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// What a server is told so that it speaks TLS, and nothing else, on this port.
pub(super) fn tls_settings(authority: &Authority, name: &str, host: &str, port: u16) -> Vec<(&'static str, String)> {
    let pair = authority.issue(name, host, None, false);
    vec![
        ("port", "0".to_owned()),
        ("tls-port", port.to_string()),
        ("tls-cert-file", pair.certificate.display().to_string()),
        ("tls-key-file", pair.key.display().to_string()),
        ("tls-ca-cert-file", authority.ca().display().to_string()),
        ("tls-auth-clients", "no".to_owned()),
        ("tls-replication", "yes".to_owned()),
    ]
}

/// What a server answers to `redis-cli`.
pub(super) fn ask(host: &str, port: u16, command: &[&str]) -> String {
    let output = Command::new("redis-cli").args(["-h", host, "-p", &port.to_string()]).args(command).output();
    String::from_utf8(output.expect("redis-cli").stdout).expect("text")
}

async fn launch(directory: &Path, host: &str, options: &[String]) -> Child {
    let mut server = Command::new("setpriv");
    server.args(["--pdeathsig", "KILL", "--", "redis-server"]);
    let port = PORT.to_string();
    server.args(["--bind", host, "--port", &port, "--save", "", "--appendonly", "no", "--logfile", "redis.log"]);
    server.args(options);
    server.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = process::spawn(server);
    until("redis to listen", PATIENCE, async || TcpStream::connect((host, PORT)).await.ok()).await;
    child
}
