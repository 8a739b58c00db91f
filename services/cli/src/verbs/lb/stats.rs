//! `hashmesh lb stats`: what `/lb/stats` says, for whoever is on Envoy's machine.

use std::{fmt::Write as _, path::PathBuf};

use clap::Args;
use hashmesh_runtime::envoy::{LbStats, lb_stats};

use super::super::{
    failure::{self, Failure},
    output::{Format, write_document, write_text},
};

/// Show the Gateways that Envoy knows, and what it has given them. A Gateway's admin page /lb/stats says the same
/// (`gateway --envoy-admin`).
#[derive(Args, Debug)]
pub(super) struct StatsArgs {
    /// The socket of Envoy's admin interface.
    #[arg(long, value_name = "SOCKET", default_value = "/run/envoy/admin.sock")]
    envoy_admin: PathBuf,
    /// Lines for people, one document, or one line.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
}

impl StatsArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        let stats = lb_stats(&self.envoy_admin).await.map_err(|error| Failure::Local(error.to_string()))?;
        match self.output {
            Format::Text => write_text(&text(&stats)).await?,
            format => write_document(format, &serde_json::to_value(&stats).unwrap_or_default()).await?,
        }
        Ok(failure::OK)
    }
}

fn text(stats: &LbStats) -> String {
    let LbStats { policy, endpoints, ejections, requests } = stats;
    let mut text = format!(
        "policy {policy}; {} calls, {} under way, {} repeated, {} refused; left out {} now, {} in all\n",
        requests.total, requests.active, requests.retries, requests.overflowed, ejections.active, ejections.total
    );
    for endpoint in endpoints {
        let health = if endpoint.healthy { "healthy".to_owned() } else { endpoint.why.join(", ") };
        writeln!(
            text,
            "{}  {health}  {} calls, {} under way, {} failed, {} connections, {} attempts to connect failed",
            endpoint.address,
            endpoint.requests,
            endpoint.active_requests,
            endpoint.failed_requests,
            endpoint.connections,
            endpoint.failed_connections
        )
        .expect("a string takes everything");
    }
    text
}
