//! A Redis of a test's own with a replica, and sentinels that let it take over.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use tokio::net::TcpStream;

use super::{
    authority::Authority,
    mesh::own_host,
    process,
    redis::{PORT, Redis, ask, tls_settings},
    rundir,
    wait::{PATIENCE, until},
};

const SENTINELS: usize = 3;
const SENTINEL_PORT: u16 = 26_379;
const OPTIONS: [&str; 4] = ["--replica-announce-ip", "HOST", "--repl-diskless-sync-delay", "0"];

/// Gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Sentinels {
    primary: Redis,
    _replica: Option<Redis>,
    sentinels: Vec<Sentinel>,
}

#[derive(Debug)]
struct Sentinel {
    process: Child,
    host: String,
}

impl Sentinels {
    pub(crate) async fn start(name: &str) -> Self {
        let primary = Redis::start_with(&format!("{name}-primary"), &OPTIONS).await;
        let replica = Redis::start_with(&format!("{name}-replica"), &OPTIONS).await;
        replica.ask(&["replicaof", &primary.host, &PORT.to_string()]);
        until("the replica to follow", PATIENCE, async || {
            replica.ask(&["info", "replication"]).contains("master_link_status:up").then_some(())
        })
        .await;
        let sentinels = (0..SENTINELS)
            .map(|number| launch(&format!("{name}-sentinel-{number}"), &primary.host, |_| Vec::new()))
            .collect();
        let group = Self { primary, _replica: Some(replica), sentinels };
        until("the sentinels to know each other", PATIENCE, async || {
            let told = |sentinel: &Sentinel| ask(&sentinel.host, SENTINEL_PORT, &["info", "sentinel"]);
            let complete = format!("status=ok,address={}:{PORT},slaves=1,sentinels={SENTINELS}", group.primary.host);
            group.sentinels.iter().all(|sentinel| told(sentinel).contains(&complete)).then_some(())
        })
        .await;
        group
    }

    /// A primary alone that speaks TLS and wants a password, and a sentinel that speaks TLS and wants none.
    pub(crate) async fn start_tls(name: &str, authority: &Authority, password: &str) -> Self {
        let primary = Redis::start_tls(&format!("{name}-primary"), authority, password, &[]).await;
        let sentinel_name = format!("{name}-sentinel");
        let sentinel = launch(&sentinel_name, &primary.host, |host| {
            let mut settings = tls_settings(authority, &sentinel_name, host, SENTINEL_PORT);
            settings.push(("sentinel auth-pass", format!("main {password}")));
            settings
        });
        let address = (&*sentinel.host, SENTINEL_PORT);
        until("the sentinel to listen", PATIENCE, async || TcpStream::connect(address).await.ok()).await;
        Self { primary, _replica: None, sentinels: vec![sentinel] }
    }

    pub(crate) fn url(&self) -> String {
        let host = |sentinel: &Sentinel| format!("{}:{SENTINEL_PORT}", sentinel.host);
        format!("redis-sentinel://{}/main", self.sentinels.iter().map(host).collect::<Vec<_>>().join(","))
    }

    /// Who is the primary until it is killed or frozen.
    pub(crate) fn first_primary(&mut self) -> &mut Redis {
        &mut self.primary
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        // One that has ended is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `more` settings are made for its host.
fn launch(name: &str, primary: &str, more: impl FnOnce(&str) -> Vec<(&'static str, String)>) -> Sentinel {
    let (directory, host) = (rundir::directory(name), own_host());
    let file = directory.join("sentinel.conf");
    let mut settings = format!(
        "bind {host}\nport {SENTINEL_PORT}\nlogfile sentinel.log\nsentinel announce-ip {host}\n\
         sentinel monitor main {primary} {PORT} 2\nsentinel down-after-milliseconds main 500\n\
         sentinel failover-timeout main 2000\n",
    );
    for (setting, value) in more(&host) {
        settings += &format!("{setting} {value}\n");
    }
    fs::write(&file, settings).expect("a file");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "redis-server"]).arg(&file).arg("--sentinel");
    command.current_dir(&directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Sentinel { process: process::spawn(command), host }
}
