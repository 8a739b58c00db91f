//! `hashmesh cache`: what all Gateways share and may lose.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use hashmesh::limits::MAX_CALLS;
use hashmesh_cache::CacheConfig;
use hashmesh_gateway::RateLimits;
use hashmesh_runtime::tls::Role;

use super::{access::ReachArgs, process::Process, tls::TlsArgs};
use crate::address::HostPort;

/// What all Gateways share and may lose: the windows of the rate limits, in Redis. Envoy may ask it too.
#[derive(Args, Debug)]
pub(crate) struct CacheArgs {
    /// Where Gateways reach it.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7460")]
    listen: HostPort,
    /// Where its admin pages are (HTTP); default: the next port.
    #[arg(long, value_name = "HOST:PORT")]
    admin_listen: Option<HostPort>,
    /// The Redis (also REDIS_URL): redis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE]; or
    /// redis-sentinel://[USER:PASSWORD@]HOST:PORT[,HOST:PORT…]/PRIMARY[/DATABASE], where the hosts are sentinels; or
    /// redis-cluster://[USER:PASSWORD@]HOST:PORT[,HOST:PORT…]. With TLS: rediss…
    #[arg(long, value_name = "URL", required = true)]
    redis_url: String,
    /// How long Redis is waited for.
    #[arg(long, value_name = "DURATION", default_value = "10ms", value_parser = humantime::parse_duration)]
    redis_timeout: Duration,
    /// Requests a minute from each address, where Envoy asks about `remote_address` without a limit of its own. 0: any number.
    #[arg(long, value_name = "CALLS", default_value_t = RateLimits::USUAL.per_address,
          value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_CALLS)))]
    limit_per_address: u32,
    #[command(flatten)]
    reach: ReachArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

impl CacheArgs {
    pub(crate) async fn run(self) -> Result<()> {
        let process = Process::bind("cache", &self.listen, self.admin_listen.as_ref()).await?;
        let tls = self.tls.open(Role::Cache).await?;
        self.reach.check(process.address()?, tls.is_some())?;
        let config = CacheConfig {
            redis_url: self.redis_url,
            redis_timeout: self.redis_timeout,
            calls_per_address: self.limit_per_address,
            tls,
        };
        process
            .run(|admin| admin, |listener, health, shutdown| hashmesh_cache::serve(config, listener, health, shutdown))
            .await
    }
}
