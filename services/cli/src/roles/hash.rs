//! `hashmesh hash`: synchronous digests.

use anyhow::Result;
use clap::Args;
use futures::FutureExt as _;
use hashmesh_hash::HashConfig;
use hashmesh_runtime::tls::Role;
use serde_json::json;

use super::{access::ReachArgs, default_threads, process::Process, tls::TlsArgs};
use crate::{address::HostPort, kernels::KernelArgs};

/// Synchronous digests, for the Gateway's ComputeDigest.
#[derive(Args, Debug)]
pub(crate) struct HashArgs {
    /// Where Gateways reach it.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7440")]
    listen: HostPort,
    /// Where its admin pages are (HTTP); default: the next port.
    #[arg(long, value_name = "HOST:PORT")]
    admin_listen: Option<HostPort>,
    /// How many threads hash.
    #[arg(long, value_name = "N", default_value_t = default_threads())]
    threads: usize,
    #[command(flatten)]
    kernels: KernelArgs,
    #[command(flatten)]
    reach: ReachArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

impl HashArgs {
    pub(crate) async fn run(self) -> Result<()> {
        self.kernels.allow();
        let process = Process::bind("hash", &self.listen, self.admin_listen.as_ref()).await?;
        let tls = self.tls.open(Role::Hash).await?;
        self.reach.check(process.address()?, tls.is_some())?;
        let config = HashConfig { threads: self.threads, tls, ..HashConfig::default() };
        let stats = config.stats.clone();
        let page = move || {
            let stats = json!({ "computed": stats.computed(), "joined": stats.joined() });
            async move { stats }.boxed()
        };
        process
            .run(
                |admin| admin.page("/hash/stats", page),
                |listener, health, shutdown| hashmesh_hash::serve(config, listener, health, shutdown),
            )
            .await
    }
}
