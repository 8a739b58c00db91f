//! A Redis Cluster of a test's own: three primaries with a replica each.

use std::process::Command;

use super::{
    authority::Authority,
    redis::{PORT, Redis},
    wait::{PATIENCE, until},
};

const SERVERS: usize = 6;
/// The replica of a primary that is silent for a second takes over.
const OPTIONS: [&str; 8] = [
    "--cluster-enabled",
    "yes",
    "--cluster-node-timeout",
    "1000",
    "--cluster-announce-ip",
    "HOST",
    "--repl-diskless-sync-delay",
    "0",
];

/// Gone when it is dropped.
#[derive(Debug)]
pub(crate) struct RedisCluster {
    servers: Vec<Redis>,
}

impl RedisCluster {
    pub(crate) async fn start(name: &str) -> Self {
        let mut servers = Vec::new();
        for number in 0..SERVERS {
            servers.push(Redis::start_with(&format!("{name}-{number}"), &OPTIONS).await);
        }
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]);
        create.args(servers.iter().map(|server| format!("{}:{PORT}", server.host)));
        let created = create.args(["--cluster-replicas", "1", "--cluster-yes"]).output().expect("redis-cli");
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        let cluster = Self { servers };
        until("the cluster to be complete", PATIENCE, async || {
            let joined = |server: &Redis| server.ask(&["cluster", "info"]).contains("cluster_state:ok");
            let follow = |server: &Redis| server.ask(&["info", "replication"]).contains("master_link_status:up");
            let replicas = cluster.servers.iter().filter(|server| follow(server)).count();
            (replicas == SERVERS / 2 && cluster.servers.iter().all(joined)).then_some(())
        })
        .await;
        cluster
    }

    /// One server that has all slots, speaks TLS and wants a password.
    pub(crate) async fn start_tls(name: &str, authority: &Authority, password: &str) -> Self {
        let options: Vec<&str> = OPTIONS.into_iter().chain(["--tls-cluster", "yes"]).collect();
        let server = Redis::start_tls(name, authority, password, &options).await;
        let ca = authority.ca().display().to_string();
        let ask = |command: &[&str]| server.ask(&[&["--tls", "--cacert", &ca, "-a", password], command].concat());
        ask(&["cluster", "addslotsrange", "0", "16383"]);
        until("the cluster to be complete", PATIENCE, async || {
            ask(&["cluster", "info"]).contains("cluster_state:ok").then_some(())
        })
        .await;
        Self { servers: vec![server] }
    }

    /// Names half of them.
    pub(crate) fn url(&self) -> String {
        let hosts: Vec<String> =
            self.servers.iter().step_by(2).map(|server| format!("{}:{PORT}", server.host)).collect();
        format!("redis-cluster://{}", hosts.join(","))
    }

    /// The primary that has this key.
    pub(crate) fn primary_of(&mut self, key: &str) -> &mut Redis {
        let has = |server: &&mut Redis| {
            let owner = server.ask(&["get", key]);
            !owner.starts_with("MOVED") && !owner.starts_with("CLUSTERDOWN")
        };
        self.servers.iter_mut().find(has).expect("one has it")
    }
}
