//! The mesh on which faults are tried: two Gateways, two Queues, two Workers, a Hash and a Postgres of its own, each a process,
//! and a [`Proxy`] on every way between them.

use rand::{RngCore as _, SeedableRng as _, rngs::StdRng};

use crate::support::{
    Database, Role,
    disk::Disk,
    postgres::Postgres,
    proxy::Proxy,
    rundir,
    wait::{PATIENCE, until},
};

const GATEWAYS: usize = 2;
const QUEUES: usize = 2;
const WORKERS: usize = 2;

/// What a fault needs of the mesh from its start on.
#[derive(Clone, Debug, Default)]
pub(super) struct Needs {
    /// Environment of the first Queue, which owns shards when the load begins.
    pub(super) queue: Vec<(String, String)>,
    pub(super) gateways: Vec<(String, String)>,
    pub(super) workers: Vec<(String, String)>,
    /// `NAME=VALUE` of Postgres.
    pub(super) settings: Vec<&'static str>,
    pub(super) postgres: Vec<(String, String)>,
    /// MiB of the disk that Postgres has for itself; none: it has its data where all others have.
    pub(super) disk_mebibytes: Option<u32>,
}

/// The ways between the processes.
#[derive(Debug)]
pub(super) struct Links {
    /// To each Gateway.
    pub(super) clients: Vec<Proxy>,
    /// From the Gateways to each Queue.
    pub(super) gateways: Vec<Proxy>,
    /// From the Workers to each Queue.
    pub(super) workers: Vec<Proxy>,
    /// From each Queue to Postgres.
    pub(super) postgres: Vec<Proxy>,
}

#[derive(Debug)]
pub(super) struct Stage {
    // Dropped in this order: who is used last ends last.
    pub(super) gateways: Vec<Role>,
    pub(super) workers: Vec<Role>,
    pub(super) hash: Role,
    pub(super) queues: Vec<Role>,
    pub(super) postgres: Postgres,
    pub(super) links: Links,
}

impl Stage {
    /// Starts all. The first Queue owns shards when this returns, and everybody does its work.
    pub(super) async fn start(name: &str, seed: u64, needs: Needs) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let directory = rundir::directory(name);
        let disk = needs.disk_mebibytes.map(|size| Disk::mount(&directory, size).expect("root may mount"));
        let postgres = Postgres::start_in(directory.clone(), disk, &needs.settings, &needs.postgres).await;
        let to_queues = proxies(QUEUES, &mut random).await;
        let links = Links {
            clients: proxies(GATEWAYS, &mut random).await,
            // All come to the address that a Queue tells of itself.
            workers: to_queues.iter().map(|proxy| proxy.way_of("worker")).collect(),
            gateways: to_queues,
            postgres: proxies(QUEUES, &mut random).await,
        };
        let mut queues = Vec::new();
        for number in 0..QUEUES {
            links.postgres[number].leads_to(&postgres.address());
            let url = Postgres::url_by(&links.postgres[number].address);
            let advertised = links.gateways[number].url();
            let arguments = ["--database-url", &url, "--no-migrate", "--advertise", &advertised].map(str::to_owned);
            let environment: &[_] = if number == 0 { &needs.queue } else { &[] };
            let name = format!("queue-{number}");
            let mut queue = Role::start("queue", &name, arguments.to_vec(), environment, directory.clone()).await;
            links.gateways[number].leads_to(&queue.address);
            if number == 0 {
                queue.ready().await;
            }
            queues.push(queue);
        }
        let hash = ["--threads", "1"].map(str::to_owned).to_vec();
        let hash = Role::start("hash", "hash", hash, &[], directory.clone()).await;
        let urls = |proxies: &[Proxy]| proxies.iter().map(Proxy::url).collect::<Vec<_>>().join(",");
        let mut gateways = Vec::new();
        for number in 0..GATEWAYS {
            let arguments = ["--queue", &urls(&links.gateways), "--hash", &hash.url()].map(str::to_owned).to_vec();
            let name = format!("gateway-{number}");
            let gateway = Role::start("gateway", &name, arguments, &needs.gateways, directory.clone()).await;
            links.clients[number].leads_to(&gateway.address);
            gateways.push(gateway);
        }
        let mut workers = Vec::new();
        for number in 0..WORKERS {
            let id = format!("worker-{number}");
            let arguments = ["--queue", &urls(&links.workers), "--threads", "1", "--worker-id", &id];
            let arguments = arguments.map(str::to_owned).to_vec();
            workers.push(Role::start("worker", &id, arguments, &needs.workers, directory.clone()).await);
        }
        let mut stage = Self { gateways, workers, hash, queues, postgres, links };
        stage.hash.ready().await;
        for role in stage.gateways.iter_mut().chain(&mut stage.workers) {
            role.ready().await;
        }
        assert!(stage.owned_by(0).await > 0, "the first queue owns nothing");
        stage
    }

    /// Where its clients find it.
    pub(super) fn servers(&self) -> Vec<String> {
        self.links.clients.iter().map(Proxy::url).collect()
    }

    pub(super) fn database(&self) -> Database {
        self.postgres.database()
    }

    /// How many shards a Queue owns, by the tables.
    pub(super) async fn owned_by(&self, queue: usize) -> u64 {
        let address = self.links.gateways[queue].url();
        let query = format!("SELECT count(*) FROM shards WHERE owner IS NOT NULL AND address = '{address}'");
        self.database().value(&query).await.parse().expect("a number")
    }

    /// Waits until nobody but this Queue owns anything.
    pub(super) async fn lost_by(&self, queue: usize) {
        until("the shards to have another owner", PATIENCE, async || (self.owned_by(queue).await == 0).then_some(()))
            .await;
    }
}

async fn proxies(count: usize, random: &mut StdRng) -> Vec<Proxy> {
    let mut proxies = Vec::new();
    for _ in 0..count {
        proxies.push(Proxy::open(random.next_u64()).await);
    }
    proxies
}
