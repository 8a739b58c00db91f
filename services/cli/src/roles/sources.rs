//! What a worker may read besides inline bytes, and how.

use std::time::Duration;

use anyhow::Result;
use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser as _},
};
use hashmesh::tasks::AllowedSource;
use hashmesh_worker::{RemoteSettings, S3Credentials, S3Settings};
use ipnet::IpNet;

use super::{limits::network, uploads::S3Args};

/// Sources. Without `--allow-source` nothing is read.
#[derive(Args, Clone, Debug)]
pub(crate) struct SourceArgs {
    /// What workers may read, may be given more than once: a directory; s3://BUCKET or s3://BUCKET/PREFIX/;
    /// https://HOST or https://HOST/PATH/ (http: likewise); s3:// and https:// alone are every bucket and every public host.
    #[arg(long, value_name = "DIR|URI", value_parser = OsStringValueParser::new().try_map(AllowedSource::try_from))]
    pub(crate) allow_source: Vec<AllowedSource>,
    /// Hosts of sources may be at addresses of this network, which is not public; may be given more than once.
    #[arg(long, value_name = "ADDRESS/BITS", value_parser = network)]
    allow_network: Vec<IpNet>,
    #[command(flatten)]
    pub(crate) s3: S3Args,
    /// Objects that a worker reads over the network at the same time; fewer where its memory is small.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    source_reads: u16,
    /// Of these, from one host or bucket.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    source_reads_per_host: u16,
    /// Bytes a second that a worker reads from one host or bucket; 0: as many as come.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    source_bytes_per_second: u64,
    /// The most that is read of one object over the network.
    #[arg(long, value_name = "BYTES", default_value_t = RemoteSettings::default().max_bytes, value_parser = clap::value_parser!(u64).range(1..))]
    source_max_bytes: u64,
    /// A host that sends nothing for so long is given up. At most 50 s: work that stands still for a minute counts as hung.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = stall)]
    source_stall: Duration,
    /// An object whose reading over the network takes longer is given up.
    #[arg(long, value_name = "DURATION", default_value = "6h", value_parser = humantime::parse_duration)]
    source_timeout: Duration,
}

impl SourceArgs {
    /// How objects are read over the network.
    pub(crate) fn remote(&self) -> Result<RemoteSettings> {
        let credentials = self.s3.credentials()?;
        Ok(RemoteSettings {
            allow_networks: self.allow_network.clone(),
            s3: S3Settings {
                endpoint: self.s3.s3_endpoint.clone(),
                region: self.s3.s3_region.clone(),
                credentials: credentials.map(|(id, secret, token)| S3Credentials::new(id, secret, token)),
            },
            reads: self.source_reads.into(),
            reads_per_host: self.source_reads_per_host.into(),
            bytes_per_second_per_host: self.source_bytes_per_second,
            max_bytes: self.source_max_bytes,
            stall: self.source_stall,
            total: self.source_timeout,
        })
    }
}

fn stall(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let fits = (Duration::from_millis(100)..=Duration::from_secs(50)).contains(&time);
    if fits { Ok(time) } else { Err("wanted 100ms to 50s".to_owned()) }
}
