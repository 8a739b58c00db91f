//! `hashmesh up`: the whole mesh in one process, over loopback gRPC; the same code as separate processes, no shortcut.

mod admin_key;
mod banner;
mod data_dir;
mod mesh;
mod state;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use hashmesh_cache::CacheEvents;
use hashmesh_database::{Database, DatabaseConfig};
use hashmesh_gateway::Auth;
use hashmesh_queue::ReplicaConfig;
use hashmesh_runtime::{
    admin::Admin,
    metrics::{self, Section},
    resources,
    shutdown::Shutdown,
    tasks,
    tls::{Role, Tls},
};

pub(crate) use state::State;

use self::{
    banner::Banner,
    data_dir::DataDir,
    mesh::{Mesh, MeshConfig},
};
use crate::{
    address::{HostPort, bind_pair, local},
    kernels::KernelArgs,
    postgres::{Cluster, ClusterConfig, Postgres},
    roles::{
        AccessArgs, EntriesArgs, LimitArgs, ReplicaArgs, SourceArgs, StorageArgs, TlsArgs, UploadArgs, UploadLimitArgs,
        admin_pages, default_threads, migrate, take_events,
    },
    settings::{standard_directory, value_or_file},
};

/// The whole mesh on this machine, with a Postgres of its own unless --database-url names one.
#[derive(Args, Clone, Debug)]
pub(crate) struct UpArgs {
    /// Where everything that lasts is kept.
    #[arg(long, value_name = "DIR", default_value_os_t = default_data_dir())]
    pub(crate) data_dir: PathBuf,
    /// Where clients reach the Gateway (port 0: any free one).
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7420")]
    listen: HostPort,
    /// Where the admin pages are (HTTP); default: the next port.
    #[arg(long, value_name = "HOST:PORT")]
    admin_listen: Option<HostPort>,
    #[command(flatten)]
    sources: SourceArgs,
    /// A Postgres to use instead of a private one (also DATABASE_URL): the URL, or @FILE for a file that holds it.
    #[arg(long, value_name = "URL|@FILE", value_parser = value_or_file)]
    database_url: Option<String>,
    /// A directory with PostgreSQL's programs, to use instead of downloading them (also POSTGRES_BIN).
    #[arg(long, value_name = "DIR")]
    postgres_bin: Option<PathBuf>,
    /// Where downloaded PostgreSQL programs are kept.
    #[arg(long, value_name = "DIR", default_value_os_t = default_postgres_cache())]
    postgres_cache: PathBuf,
    /// How many workers.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// How many threads of each worker hash.
    #[arg(long, value_name = "N", default_value_t = default_threads())]
    threads: usize,
    #[command(flatten)]
    kernels: KernelArgs,
    #[command(flatten)]
    storage: StorageArgs,
    #[command(flatten)]
    replicas: ReplicaArgs,
    /// A Redis in which calls are counted, and digests kept for a while (also REDIS_URL): redis://…, redis-sentinel://… or
    /// redis-cluster://…, or @FILE, as `hashmesh cache` has it; default: calls are counted in this process.
    #[arg(long, value_name = "URL|@FILE", value_parser = value_or_file)]
    redis_url: Option<String>,
    #[command(flatten)]
    entries: EntriesArgs,
    #[command(flatten)]
    uploads: UploadArgs,
    #[command(flatten)]
    upload_limits: UploadLimitArgs,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

fn default_data_dir() -> PathBuf {
    // For root a directory that Postgres' user can reach, which nothing below /root is.
    standard_directory("XDG_DATA_HOME", ".local/share", "/var/lib").unwrap_or_else(|| "hashmesh-data".into())
}

fn default_postgres_cache() -> PathBuf {
    standard_directory("XDG_CACHE_HOME", ".cache", "/var/cache").unwrap_or_else(|| "hashmesh-cache".into())
}

impl UpArgs {
    /// Runs the mesh until a signal comes, or a part of it fails.
    pub(crate) async fn run(self) -> Result<()> {
        self.kernels.allow();
        metrics::start(&Section::ALL);
        let shutdown = Shutdown::new();
        shutdown.on_signals();
        let replicas = self.replicas.config()?;
        // First, since nothing is easier to get wrong than a port.
        let listeners = bind_pair(&self.listen, self.admin_listen.as_ref()).await?;
        // Of its Gateway; the others are on loopback, for this process alone.
        let tls = self.tls.open(Role::Gateway).await?;
        let auth = self.access.resolve(listeners.0.local_addr()?, tls.is_some())?;
        let data_dir = DataDir::open(&self.data_dir, self.database_url.is_none())?;
        metrics::directory("data", data_dir.path());
        let postgres = self.start_postgres(&data_dir, &shutdown).await?;

        let url = match (&postgres, &self.database_url) {
            (Some(postgres), _) => postgres.url().to_owned(),
            (None, url) => url.clone().unwrap_or_default(),
        };
        let outcome =
            self.run_mesh(&data_dir, postgres.as_ref(), url, (replicas, auth, tls), listeners, &shutdown).await;
        // On every way out: Postgres goes last, and never stays behind.
        if let Some(postgres) = postgres {
            postgres.stop().await;
        }
        if shutdown.begun() && outcome.is_err() {
            // A start that was interrupted fails everywhere at once; what matters is that it stopped.
            tracing::debug!(?outcome, "stopped while starting");
        }
        outcome
    }

    async fn start_postgres(&self, data_dir: &DataDir, shutdown: &Shutdown) -> Result<Option<Postgres>> {
        if self.database_url.is_some() {
            return Ok(None);
        }
        let cluster = Cluster::prepare(ClusterConfig {
            data_dir: data_dir.path().to_owned(),
            postgres_bin: self.postgres_bin.clone(),
            cache: self.postgres_cache.clone(),
            memory_bytes: resources::memory_bytes(),
        })
        .await?;
        Ok(Some(Postgres::start(cluster, shutdown).await?))
    }

    async fn run_mesh(
        &self,
        data_dir: &DataDir,
        postgres: Option<&Postgres>,
        url: String,
        (replicas, auth, tls): (ReplicaConfig, Auth, Option<Tls>),
        (listener, admin_listener): (tokio::net::TcpListener, tokio::net::TcpListener),
        shutdown: &Shutdown,
    ) -> Result<()> {
        let config = DatabaseConfig { url: url.clone(), ..DatabaseConfig::default() };
        migrate(&config).await?;
        let database = Database::connect(config).await.context("cannot use the database")?;

        let admin_key = match auth {
            Auth::Keys => Some(admin_key::in_data_dir(data_dir.path(), &database).await?),
            Auth::Off => None,
        };
        let gateway = listener.local_addr()?;
        let limits = self.limits.resolve(!gateway.ip().to_canonical().is_loopback());
        let scheme = if tls.is_some() { "https" } else { "http" };
        let admin_address = local(admin_listener.local_addr()?);
        let events = CacheEvents::default();
        let mut mesh = Mesh::new(MeshConfig {
            database: database.clone(),
            private_database: postgres.is_some(),
            allow_sources: self.sources.allow_source.clone(),
            remote: self.sources.remote()?,
            uploads: self.uploads.open_or_below(data_dir.path(), &self.sources.s3)?,
            upload_max_bytes: self.upload_limits.upload_max_bytes,
            workers: self.workers,
            threads: self.threads,
            storage: self.storage,
            replicas,
            auth,
            limits,
            trusted_proxies: self.limits.trusted_proxy.clone(),
            max_concurrent_calls: self.limits.max_concurrent_calls,
            redis_url: self.redis_url.clone(),
            entries: self.entries.config(),
            events: events.clone(),
            tls,
        });
        let mut admin = take_events(admin_pages(Admin::new(), database), events);
        for (name, health) in mesh.healths() {
            admin = admin.health(name, health);
        }
        let admin_shutdown = Shutdown::new();
        let admin = tasks::spawn_owned("admin", admin.serve(admin_listener, admin_shutdown.clone()));

        let started = mesh.start(listener, shutdown).await;
        if let Ok(true) = started {
            let state = State::new(data_dir.path(), scheme, local(gateway), admin_address, url);
            state.write(data_dir.path())?;
            Banner {
                state: &state,
                gateway,
                parts: mesh.addresses(),
                postgres,
                sources: &self.sources.allow_source,
                admin_key,
                limits,
                authority: self.tls.authority(),
            }
            .print();
            mesh.wait(shutdown).await;
        }
        let drained = mesh.drain().await;
        admin_shutdown.begin();
        admin.await?.context("the admin pages failed")?;
        started?;
        drained
    }
}
