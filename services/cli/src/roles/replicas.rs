//! Which replicas of the database answer reads: settings of whatever runs a Queue.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use hashmesh_queue::ReplicaConfig;

use crate::settings::value_or_file;

/// Reads from replicas.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReplicaArgs {
    /// Standby servers of the Postgres that answer reads of what is stored: 1 to 5 URLs with commas between them, each of
    /// one server; @FILE is a file that holds one. A comma within a URL is written as %2C.
    #[arg(long, value_name = "URL|@FILE,…", value_delimiter = ',', value_parser = value_or_file)]
    replica_url: Vec<String>,
    /// A replica that is further behind is not read from; a read waits at most this long for one.
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = humantime::parse_duration)]
    replica_max_lag: Duration,
}

impl ReplicaArgs {
    /// What they say. Nothing is connected to.
    pub(crate) fn config(&self) -> Result<ReplicaConfig> {
        ReplicaConfig::new(&self.replica_url, self.replica_max_lag).context("cannot read from replicas")
    }
}
