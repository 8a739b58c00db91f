//! Both versions where certificates are checked: a Queue of the version before refuses what it does not know, because it does not
//! know for whom it is.

use std::{path::Path, time::Instant};

use super::{newer, older};
use crate::support::{Database, Role, authority::Pair, cli::hashmesh, heavy, mesh::own_host, rundir, wait::soon};
use crate::tls::certs;

/// A Gateway, a Worker and Hash of this version over mutual TLS, and two Queues, one of which is asked to stop.
struct Secure {
    // Dropped in this order.
    gateway: Role,
    _worker: Role,
    _hash: Role,
    queues: [Role; 2],
    ca: String,
}

impl Secure {
    /// The first of these Queues works, the second waits.
    async fn start(name: &str, queues: [&Path; 2]) -> Self {
        let directory = rundir::directory(name);
        let (authority, host) = (directory.join("certs"), own_host());
        certs(&authority, &host, &[]).await;
        let ca = authority.join("ca.pem");
        let arguments = |role: &str, more: &[&str]| {
            let more = more.iter().map(|argument| (*argument).to_owned());
            more.chain(Pair::of(&authority, role).options(Some(&ca))).collect::<Vec<_>>()
        };
        let database = Database::create().await;
        let of_queue = arguments("queue", &["--database-url", &database.url, "--no-migrate"]);
        let queue = async |program, name| {
            Role::start_program(program, "queue", name, of_queue.clone(), &[], directory.clone()).await
        };
        let mut first = queue(queues[0], "queue").await;
        first.ready().await;
        let queues = [first, queue(queues[1], "second-queue").await];
        let both = queues.each_ref().map(|queue| format!("https://{}", queue.address)).join(",");
        let of_hash = arguments("hash", &["--threads", "1"]);
        let mut hash = Role::start("hash", "hash", of_hash, &[], directory.clone()).await;
        hash.ready().await;
        let of_worker = arguments("worker", &["--queue", &both, "--threads", "1"]);
        let mut worker = Role::start("worker", "worker", of_worker, &[], directory.clone()).await;
        worker.ready().await;
        let hash_url = format!("https://{}", hash.address);
        let of_gateway = arguments("gateway", &["--queue", &both, "--hash", &hash_url]);
        let mut gateway = Role::start_on(&host, "gateway", "gateway", of_gateway, &[], directory.clone()).await;
        gateway.ready().await;
        Self { gateway, _worker: worker, _hash: hash, queues, ca: ca.display().to_string() }
    }

    async fn submit(&self) {
        let began = Instant::now();
        let server = format!("https://{}", self.gateway.address);
        let arguments = ["submit", "--lines", "-", "--output", "jsonl", "--server", &server, "--tls-ca", &self.ca];
        let lines: String = (0..1_000).map(|line| format!("line {line}\n")).collect();
        let ended = soon("a submission", hashmesh(arguments).stdin(lines).run()).await.succeeded();
        assert_eq!(ended.json_lines().len(), 1_000);
        eprintln!("a submission took {:?}", began.elapsed());
    }

    /// The Queue that works stops; the other takes over.
    async fn hand_over(&mut self) {
        assert!(self.queues[0].terminate().await.success());
        self.queues[1].ready().await;
        self.queues.swap(0, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an earlier program: make upgrade-test"]
async fn promise_12_over_mutual_tls_gateways_and_workers_go_with_the_queue_to_the_version_before_and_back() {
    let _turn = heavy::turn().await;
    let mut mesh = Secure::start("upgrade-secure", [&newer(), &older()]).await;
    mesh.submit().await;
    mesh.hand_over().await;
    mesh.submit().await;
    // The one that has stopped waits now.
    mesh.queues[1].restart().await;
    mesh.hand_over().await;
    mesh.submit().await;
}
