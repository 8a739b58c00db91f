//! `hashmesh worker`: takes leases and hashes.

use std::{fs, time::Duration};

use anyhow::Result;
use clap::Args;
use hashmesh_runtime::{health::Health, server::GrpcServer, shutdown::Shutdown, tasks, tls::Role};
use hashmesh_worker::WorkerConfig;
use tokio::net::TcpListener;

use super::{
    access::ReachArgs, default_threads, process::Process, sources::SourceArgs, tls::TlsArgs, uploads::UploadArgs,
};
use crate::{address::HostPort, kernels::KernelArgs};

/// Takes leases from the Queue, reads sources, hashes.
#[derive(Args, Debug)]
pub(crate) struct WorkerArgs {
    /// Where its health is asked for.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7450")]
    listen: HostPort,
    /// Where its admin pages are (HTTP); default: the next port.
    #[arg(long, value_name = "HOST:PORT")]
    admin_listen: Option<HostPort>,
    /// Where Queues are; one is enough, it knows of the others. Each is reached under the address that it says itself.
    #[arg(long, value_name = "URL", value_delimiter = ',', required = true)]
    queue: Vec<String>,
    /// The name that the Queue knows it by.
    #[arg(long, value_name = "NAME", default_value_t = default_worker_id())]
    worker_id: String,
    /// How many threads hash.
    #[arg(long, value_name = "N", default_value_t = default_threads())]
    threads: usize,
    #[command(flatten)]
    kernels: KernelArgs,
    /// How long it finishes what it has begun, once it is told to stop; what takes longer is given back, for others to
    /// begin it anew. Whoever stops it must wait a few seconds longer before it kills it.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    drain_grace: Duration,
    /// Where the Cache services are, which know digests of objects that have not changed; default: everything is read.
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    cache_url: Vec<String>,
    /// The name of this machine in the cache: workers of one name see the same files; default: /etc/machine-id, else another one
    /// after each start of the machine.
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    machine_id: Option<String>,
    #[command(flatten)]
    sources: SourceArgs,
    #[command(flatten)]
    uploads: UploadArgs,
    #[command(flatten)]
    reach: ReachArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

impl WorkerArgs {
    pub(crate) async fn run(self) -> Result<()> {
        self.kernels.allow();
        let process = Process::bind("worker", &self.listen, self.admin_listen.as_ref()).await?;
        let tls = self.tls.open(Role::Worker).await?;
        self.reach.check(process.address()?, tls.is_some())?;
        let config = WorkerConfig {
            queue: self.queue,
            worker_id: self.worker_id,
            threads: self.threads,
            remote: self.sources.remote()?,
            uploads: self.uploads.open(&self.sources.s3)?,
            allow_sources: self.sources.allow_source,
            drain_grace: self.drain_grace,
            cache: self.cache_url,
            machine_id: self.machine_id,
            tls,
            ..WorkerConfig::default()
        };
        process.run(|admin| admin, |listener, health, shutdown| serve(config, listener, health, shutdown)).await
    }
}

/// A worker has no service of its own; health and reflection are served beside it.
pub(crate) async fn serve(
    config: WorkerConfig,
    listener: TcpListener,
    health: Health,
    shutdown: Shutdown,
) -> Result<()> {
    // Health is asked for until the last lease is given back.
    let health_shutdown = Shutdown::new();
    let server = GrpcServer::new("worker", health.clone()).tls(config.tls.clone());
    let beside = tasks::spawn_owned("worker health", server.serve(listener, health_shutdown.clone()));
    let worked = hashmesh_worker::serve(config, health, shutdown).await;
    health_shutdown.begin();
    beside.await??;
    Ok(worked?)
}

/// The host's name, so that people recognise it, and something random, so that no two are alike.
pub(crate) fn default_worker_id() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "worker" } else { host.trim() };
    format!("{host}-{:08x}", rand::random::<u32>())
}
