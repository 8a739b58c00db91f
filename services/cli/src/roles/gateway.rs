//! `hashmesh gateway`: the public API.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Result;
use clap::Args;
use futures::FutureExt as _;
use hashmesh_gateway::{GatewayConfig, UploadConfig};
use hashmesh_runtime::{admin::Admin, envoy::lb_stats, tls::Role};
use serde_json::json;

use super::{
    access::AccessArgs,
    limits::LimitArgs,
    process::Process,
    tls::TlsArgs,
    uploads::{S3Args, UploadArgs, UploadLimitArgs},
};
use crate::address::HostPort;

/// The public API. Stateless: run as many as you like.
#[derive(Args, Debug)]
pub(crate) struct GatewayArgs {
    /// Where clients reach it.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7420")]
    listen: HostPort,
    /// Where its admin pages are (HTTP); default: the next port.
    #[arg(long, value_name = "HOST:PORT")]
    admin_listen: Option<HostPort>,
    /// Where the Queues are.
    #[arg(long, value_name = "URL", value_delimiter = ',', required = true)]
    queue: Vec<String>,
    /// Where the Hash services are.
    #[arg(long, value_name = "URL", value_delimiter = ',', required = true)]
    hash: Vec<String>,
    /// Where the Cache services are, in which all Gateways count calls together, and of which users have digests forgotten;
    /// default: each counts by itself.
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    cache_url: Vec<String>,
    /// How long a Cache service is waited for before a call is counted here.
    #[arg(long, value_name = "DURATION", default_value = "15ms", value_parser = humantime::parse_duration)]
    cache_timeout: Duration,
    /// After how long streams are ended in order (and go on where their clients connect again), give or take a fifth, so that new
    /// Gateways get their share of them; 0s: never.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = humantime::parse_duration)]
    max_stream_age: Duration,
    /// How long calls are taken after a stop has begun: until a proxy in front sends them elsewhere. Envoy hears of it with the
    /// first answer.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
    drain_delay: Duration,
    /// The socket of the admin interface of the Envoy in front, for the admin page /lb/stats.
    #[arg(long, value_name = "SOCKET")]
    envoy_admin: Option<PathBuf>,
    #[command(flatten)]
    uploads: UploadArgs,
    #[command(flatten)]
    upload_limits: UploadLimitArgs,
    #[command(flatten)]
    s3: S3Args,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

impl GatewayArgs {
    pub(crate) async fn run(self) -> Result<()> {
        let process = Process::bind("gateway", &self.listen, self.admin_listen.as_ref()).await?;
        let tls = self.tls.open(Role::Gateway).await?;
        let auth = self.access.resolve(process.address()?, tls.is_some())?;
        let max_bytes = self.upload_limits.upload_max_bytes;
        let uploads = self.uploads.open(&self.s3)?.map(|store| UploadConfig { store, max_bytes });
        let config = GatewayConfig {
            queue: self.queue,
            hash: self.hash,
            auth,
            tls,
            limits: self.limits.resolve(true),
            trusted_proxies: self.limits.trusted_proxy,
            cache: self.cache_url,
            shared_limits: true,
            cache_timeout: Some(self.cache_timeout),
            uploads,
            max_concurrent_calls: self.limits.max_concurrent_calls,
            drain_delay: self.drain_delay,
            max_stream_age: Some(self.max_stream_age).filter(|age| !age.is_zero()),
        };
        process
            .run(
                |admin| match self.envoy_admin {
                    Some(socket) => lb_page(admin, socket),
                    None => admin,
                },
                |listener, health, shutdown| hashmesh_gateway::serve(config, listener, health, shutdown),
            )
            .await
    }
}

/// `/lb/stats`: what the Envoy in front says of the Gateways.
fn lb_page(admin: Admin, socket: PathBuf) -> Admin {
    let socket: Arc<Path> = socket.into();
    admin.page("/lb/stats", move || {
        let socket = Arc::clone(&socket);
        async move {
            match lb_stats(&socket).await {
                Ok(stats) => serde_json::to_value(stats).unwrap_or_default(),
                Err(error) => json!({ "error": error.to_string() }),
            }
        }
        .boxed()
    })
}
