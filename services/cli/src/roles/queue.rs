//! `hashmesh queue`: the durable queue.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use hashmesh_database::{Database, DatabaseConfig};
use hashmesh_queue::QueueConfig;
use hashmesh_runtime::tls::Role;

use super::{
    access::ReachArgs,
    migrate::migrate,
    process::{Process, admin_pages},
    replicas::ReplicaArgs,
    storage::StorageArgs,
    tls::TlsArgs,
    uploads::{S3Args, UploadArgs},
};
use crate::{
    address::{HostPort, advertised},
    settings::value_or_file,
};

/// The durable queue. A second process on the same database waits, and takes over when the first one is gone.
#[derive(Args, Debug)]
pub(crate) struct QueueArgs {
    /// Where Gateways and Workers reach it.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7430")]
    listen: HostPort,
    /// Where its admin pages are (HTTP); default: the next port.
    #[arg(long, value_name = "HOST:PORT")]
    admin_listen: Option<HostPort>,
    /// The URL that it gives to others as its own; default: the address it listens on, or this machine's host name if that is
    /// every address.
    #[arg(long, value_name = "URL")]
    advertise: Option<String>,
    /// Its Postgres (also DATABASE_URL): the URL, or @FILE for a file that holds it.
    #[arg(long, value_name = "URL|@FILE", required = true, value_parser = value_or_file)]
    database_url: String,
    /// Where its reads go instead: PgBouncer in transaction mode in front of the same database. What is written goes to the
    /// database itself.
    #[arg(long, value_name = "URL|@FILE", value_parser = value_or_file)]
    database_pool_url: Option<String>,
    /// How long work on a lease may stand still before it is taken back and counts as a strike against its tasks.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    stall_timeout: Duration,
    /// How much memory it may use, in MiB: at least 64.
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(64..))]
    memory_mib: u32,
    /// Do not bring the tables up to date at the start.
    #[arg(long)]
    no_migrate: bool,
    #[command(flatten)]
    uploads: UploadArgs,
    #[command(flatten)]
    s3: S3Args,
    #[command(flatten)]
    storage: StorageArgs,
    #[command(flatten)]
    replicas: ReplicaArgs,
    #[command(flatten)]
    reach: ReachArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

impl QueueArgs {
    pub(crate) async fn run(self) -> Result<()> {
        let replicas = self.replicas.config()?;
        let process = Process::bind("queue", &self.listen, self.admin_listen.as_ref()).await?;
        let tls = self.tls.open(Role::Queue).await?;
        self.reach.check(process.address()?, tls.is_some())?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let address = match self.advertise {
            Some(url) => url,
            None => format!("{scheme}://{}", advertised(process.address()?)),
        };
        let database_config =
            DatabaseConfig { url: self.database_url, pool_url: self.database_pool_url, ..DatabaseConfig::default() };
        if !self.no_migrate {
            migrate(&database_config).await?;
        }
        let database = Database::connect(database_config).await.context("cannot use the database")?;
        let memory = self.memory_mib as usize * 1024 * 1024;
        let mut config = QueueConfig::new(database.clone(), address).within(memory);
        self.storage.apply(&mut config);
        config.uploads = self.uploads.open(&self.s3)?;
        config.replicas = replicas;
        config.tls = tls;
        config.stall_timeout = self.stall_timeout;
        process
            .run(
                |admin| admin_pages(admin, database),
                |listener, health, shutdown| hashmesh_queue::serve(config, listener, health, shutdown),
            )
            .await
    }
}
