//! TLS between everybody: who is believed, what certificates are for, and that they can be replaced.

mod doctor;
mod edge;
mod mesh;
mod refusals;
mod reload;
mod roles;

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use tonic::{
    Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use crate::support::{Database, Role, authority::Pair, cli::hashmesh, mesh::own_host, rundir};

/// Makes certificates for this host, by the command.
pub(crate) async fn certs(directory: &Path, host: &str, more: &[&str]) {
    let directory = directory.to_str().expect("UTF-8");
    let arguments = ["certs", "--directory", directory, "--host", host];
    hashmesh(arguments.iter().chain(more)).run().await.succeeded();
}

/// Where `grpcurl` is, which `make setup` fetches.
fn grpcurl() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let home = std::env::var("HOME").unwrap_or_default();
    let mut places = path.split(':').map(PathBuf::from).chain([PathBuf::from(home).join(".cache/hashmesh/tools/bin")]);
    let found = places.find(|place| place.join("grpcurl").exists()).expect("`make setup` fetches grpcurl");
    found.join("grpcurl").display().to_string()
}

/// A channel that shows a certificate, or none, to a server whose certificate is for localhost too.
async fn channel(address: &str, ca: &Path, own: Option<&Pair>) -> Result<Channel, tonic::transport::Error> {
    let read = |path: &Path| fs::read(path).expect("a file");
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca))).domain_name("localhost");
    if let Some(own) = own {
        tls = tls.identity(Identity::from_pem(read(&own.certificate), read(&own.key)));
    }
    Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls)?.connect().await
}

/// An error with what is behind it.
fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// A call's status with what is behind it.
fn told(status: &Status) -> String {
    chain(status)
}

/// Gateway, Queue, Hash, Cache and a Worker, which may read /usr/bin, that speak TLS to each other, and keys.
struct Secure {
    // Dropped in this order.
    gateway: Role,
    worker: Role,
    cache: Role,
    hash: Role,
    queue: Role,
    database: Database,
    certs: PathBuf,
    key: String,
}

impl Secure {
    async fn start(name: &str) -> Self {
        let directory = rundir::directory(name);
        let certs = directory.join("certs");
        let host = own_host();
        self::certs(&certs, &host, &[]).await;
        let ca = certs.join("ca.pem");
        let role = async |role: &str, host: &str, arguments: &[&str]| {
            let mut all: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
            all.extend(Pair::of(&certs, role).options(Some(&ca)));
            Role::start_on(host, role, role, all, &[], directory.clone()).await
        };
        let database = Database::create().await;
        let key = hashmesh(["admin", "first-key", "--database-url", &database.url]).run().await.succeeded();
        let key = key.text().lines().find(|line| line.starts_with("hm_")).expect("a key").trim().to_owned();
        let mut queue = role("queue", &own_host(), &["--database-url", &database.url, "--no-migrate"]).await;
        queue.ready().await;
        let queue_url = format!("https://{}", queue.address);
        let mut hash = role("hash", &own_host(), &["--threads", "1"]).await;
        hash.ready().await;
        let hash_url = format!("https://{}", hash.address);
        let mut cache = role("cache", &own_host(), &["--database-url", &database.url, "--no-migrate"]).await;
        cache.ready().await;
        let cache_url = format!("https://{}", cache.address);
        let of_worker =
            ["--queue", &queue_url, "--cache-url", &cache_url, "--allow-source", "/usr/bin", "--threads", "1"];
        let mut worker = role("worker", &own_host(), &of_worker).await;
        worker.ready().await;
        let to_both = ["--queue", &queue_url, "--hash", &hash_url, "--cache-url", &cache_url, "--auth", "keys"];
        let mut gateway = role("gateway", &host, &to_both).await;
        gateway.ready().await;
        Self { gateway, worker, cache, hash, queue, database, certs, key }
    }

    fn ca(&self) -> PathBuf {
        self.certs.join("ca.pem")
    }

    fn pair(&self, name: &str) -> Pair {
        Pair::of(&self.certs, name)
    }

    fn url(&self) -> String {
        format!("https://{}", self.gateway.address)
    }
}
