//! The roles of an `up`: each with its own listener, health and shutdown, started and drained in order.

use std::{future::Future, net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use hashmesh::tasks::AllowedSource;
use hashmesh_cache::{CacheConfig, CacheEvents, EntriesConfig};
use hashmesh_database::Database;
use hashmesh_gateway::{Auth, GatewayConfig, RateLimits, UploadConfig};
use hashmesh_hash::HashConfig;
use hashmesh_queue::{QueueConfig, ReplicaConfig};
use hashmesh_runtime::{health::Health, shutdown::Shutdown, tasks, tls::Tls};
use hashmesh_uploads::UploadStore;
use hashmesh_worker::{RemoteSettings, WorkerConfig};
use ipnet::IpNet;
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    address::{HostPort, local},
    roles::{StorageArgs, default_worker_id, serve_worker},
};

/// What a role may take to drain. Each promises about 10 s; one that takes longer is left behind, and that is an error.
const LONGEST_DRAIN: Duration = Duration::from_secs(20);
/// How often a start that takes long says what it waits for.
const STILL_WAITING: Duration = Duration::from_secs(10);

/// What the roles are started with.
#[derive(Debug)]
pub(super) struct MeshConfig {
    pub(super) database: Database,
    /// The database is this mesh's own, so that no other process can own the queue.
    pub(super) private_database: bool,
    pub(super) allow_sources: Vec<AllowedSource>,
    pub(super) remote: RemoteSettings,
    /// Of Gateway, Workers and Queue.
    pub(super) uploads: UploadStore,
    pub(super) upload_max_bytes: u64,
    pub(super) workers: u16,
    /// Of each worker, and of Hash.
    pub(super) threads: usize,
    /// Of the Queue.
    pub(super) storage: StorageArgs,
    pub(super) replicas: ReplicaConfig,
    /// Of the Gateway.
    pub(super) auth: Auth,
    pub(super) limits: RateLimits,
    pub(super) trusted_proxies: Vec<IpNet>,
    pub(super) max_concurrent_calls: usize,
    /// Where calls are counted, if not in this process, and digests are kept for a while.
    pub(super) redis_url: Option<String>,
    pub(super) entries: EntriesConfig,
    pub(super) events: CacheEvents,
    pub(super) tls: Option<Tls>,
}

/// The roles, in the order in which they start: each needs those before it.
#[derive(Debug)]
pub(super) struct Mesh {
    config: MeshConfig,
    healths: [(&'static str, Health); 5],
    parts: Vec<Part>,
    /// Given by the first part that ends by itself.
    broken: Shutdown,
    /// The workers' healths are one.
    _workers: Option<AbortOnDropHandle<()>>,
}

/// One running role.
#[derive(Debug)]
struct Part {
    name: &'static str,
    address: SocketAddr,
    shutdown: Shutdown,
    task: JoinHandle<Result<()>>,
}

impl Mesh {
    pub(super) fn new(config: MeshConfig) -> Self {
        let healths = ["queue", "hash", "cache", "worker", "gateway"].map(|name| (name, Health::new()));
        Self { config, healths, parts: Vec::new(), broken: Shutdown::new(), _workers: None }
    }

    /// The health of every role. Several workers are one role, which is ready while at least one of them is: the mesh does its
    /// work then, if more slowly. One that ends by itself ends all.
    pub(super) fn healths(&self) -> impl Iterator<Item = (&'static str, Health)> {
        self.healths.clone().into_iter()
    }

    /// Who listens where.
    pub(super) fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        self.parts.iter().map(|part| (part.name, part.address)).collect()
    }

    /// Starts every role and waits until all do their work. `false`: interrupted by `shutdown`.
    pub(super) async fn start(&mut self, gateway: TcpListener, shutdown: &Shutdown) -> Result<bool> {
        let [queue_health, hash_health, cache_health, worker_health, gateway_health] =
            self.healths.clone().map(|(_, health)| health);

        let (listener, queue_url) = inner_listener().await?;
        let database = self.config.database.clone();
        let mut queue = QueueConfig::new(database, queue_url.clone());
        queue.alone = self.config.private_database;
        self.config.storage.apply(&mut queue);
        queue.uploads = Some(self.config.uploads.clone());
        queue.replicas = self.config.replicas.clone();
        self.add("queue", listener, queue_health.clone(), |listener, health, shutdown| {
            hashmesh_queue::serve(queue, listener, health, shutdown)
        })?;
        if !self.serves("queue", &queue_health, shutdown).await? {
            return Ok(false);
        }

        let (listener, hash_url) = inner_listener().await?;
        let hash = HashConfig { threads: self.config.threads, ..HashConfig::default() };
        self.add("hash", listener, hash_health.clone(), |listener, health, shutdown| {
            hashmesh_hash::serve(hash, listener, health, shutdown)
        })?;

        let Some(cache) = self.add_cache(cache_health, shutdown).await? else { return Ok(false) };
        let workers: Vec<Health> = (0..self.config.workers).map(|_| Health::new()).collect();
        let follow = worker_health.clone().follow_any(workers.clone());
        self._workers = Some(tasks::spawn_owned("workers", follow));
        for health in workers {
            let (listener, _) = inner_listener().await?;
            let worker = WorkerConfig {
                queue: vec![queue_url.clone()],
                worker_id: default_worker_id(),
                threads: self.config.threads,
                allow_sources: self.config.allow_sources.clone(),
                remote: self.config.remote.clone(),
                uploads: Some(self.config.uploads.clone()),
                cache: cache.clone(),
                ..WorkerConfig::default()
            };
            self.add("worker", listener, health, |listener, health, shutdown| {
                serve_worker(worker, listener, health, shutdown)
            })?;
        }

        let config = GatewayConfig {
            queue: vec![queue_url],
            hash: vec![hash_url],
            auth: self.config.auth,
            limits: self.config.limits,
            trusted_proxies: self.config.trusted_proxies.clone(),
            cache,
            shared_limits: self.config.redis_url.is_some(),
            cache_timeout: None,
            uploads: Some(UploadConfig { store: self.config.uploads.clone(), max_bytes: self.config.upload_max_bytes }),
            max_concurrent_calls: self.config.max_concurrent_calls,
            // There is no other Gateway.
            drain_delay: Duration::ZERO,
            max_stream_age: None,
            tls: self.config.tls.clone(),
        };
        self.add("gateway", gateway, gateway_health.clone(), |listener, health, shutdown| {
            hashmesh_gateway::serve(config, listener, health, shutdown)
        })?;
        for (name, health) in [("hash", hash_health), ("worker", worker_health), ("gateway", gateway_health)] {
            if !self.serves(name, &health, shutdown).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Starts a Cache service, and waits until it knows what was invalidated; Redis is not waited for. `None`: interrupted.
    async fn add_cache(&mut self, health: Health, shutdown: &Shutdown) -> Result<Option<Vec<String>>> {
        let (listener, url) = inner_listener().await?;
        let config = CacheConfig {
            redis_url: self.config.redis_url.clone(),
            database: Some(self.config.database.clone()),
            entries: self.config.entries.clone(),
            events: self.config.events.clone(),
            redis_timeout: CacheConfig::REDIS_TIMEOUT,
            calls_per_address: self.config.limits.per_address,
            // For this process alone.
            tls: None,
        };
        self.add("cache", listener, health.clone(), |listener, health, shutdown| {
            hashmesh_cache::serve(config, listener, health, shutdown)
        })?;
        Ok(self.serves("cache", &health, shutdown).await?.then(|| vec![url]))
    }

    fn add<F, E>(
        &mut self,
        name: &'static str,
        listener: TcpListener,
        health: Health,
        serve: impl FnOnce(TcpListener, Health, Shutdown) -> F,
    ) -> Result<()>
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        anyhow::Error: From<E>,
        E: Send + 'static,
    {
        let address = local(listener.local_addr()?);
        let shutdown = Shutdown::new();
        let serving = serve(listener, health, shutdown.clone());
        let (stopping, broken) = (shutdown.clone(), self.broken.clone());
        let task = tasks::spawn(name, async move {
            // Also when it panics.
            let _ended = OnDrop(|| {
                if !stopping.begun() {
                    tracing::error!(role = name, "ended by itself");
                }
                broken.begin();
            });
            serving.await.map_err(anyhow::Error::from)
        });
        self.parts.push(Part { name, address, shutdown, task });
        Ok(())
    }

    /// Waits until a role does its work. `false`: `shutdown`, or a role ended, came first; [`Mesh::drain`] knows why.
    async fn serves(&self, name: &str, health: &Health, shutdown: &Shutdown) -> Result<bool> {
        loop {
            tokio::select! {
                () = shutdown.wait() => return Ok(false),
                () = self.broken.wait() => return Ok(false),
                () = health.wait_serving() => return Ok(true),
                () = tokio::time::sleep(STILL_WAITING) => {
                    let why = health.state().err().unwrap_or_default();
                    tracing::info!(role = name, why, "still waiting");
                }
            }
        }
    }

    /// Waits for `shutdown`, or for a role that ends by itself.
    pub(super) async fn wait(&self, shutdown: &Shutdown) {
        tokio::select! {
            () = shutdown.wait() => {}
            () = self.broken.wait() => {}
        }
    }

    /// Stops all roles, the Gateway first and the Queue after those that use it. The first error of any.
    pub(super) async fn drain(self) -> Result<()> {
        let mut outcome = Ok(());
        for part in self.parts.into_iter().rev() {
            part.shutdown.begin();
            let name = part.name;
            let ended = match timeout(LONGEST_DRAIN, part.task).await {
                Ok(Ok(ended)) => ended.with_context(|| format!("the {name} failed")),
                Ok(Err(error)) => Err(error).with_context(|| format!("the {name} panicked")),
                Err(_) => Err(anyhow::anyhow!("the {name} did not drain within {LONGEST_DRAIN:?}")),
            };
            match ended {
                Ok(()) => tracing::info!(role = name, "stopped"),
                Err(error) => {
                    tracing::error!("{error:#}");
                    outcome = outcome.and(Err(error));
                }
            }
        }
        outcome
    }
}

/// A listener for the other roles only.
async fn inner_listener() -> Result<(TcpListener, String)> {
    let listener = HostPort::any_loopback().bind("listen").await?;
    let url = format!("http://{}", listener.local_addr()?);
    Ok((listener, url))
}

/// Runs when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
