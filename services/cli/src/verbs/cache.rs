//! `hashmesh cache stats`, `invalidate`, `warm`: what the tenant may do to the mesh's cache.

use clap::{Args, Subcommand};
use hashmesh::gateway::v1::{InvalidateCacheRequest, WarmCacheRequest};
use serde_json::json;

use super::{
    failure::{self, Failure},
    output::{Format, write_document, write_text},
    server::ServerArgs,
    stats,
};

/// What is done to a mesh's cache.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheVerb {
    /// Show what the cache has saved, and holds.
    Stats(StatsArgs),
    /// Forget digests: of an object, of all whose URIs begin with a prefix, or all.
    ///
    /// For changes that a source does not show by itself. Objects that have changed otherwise are read in any case.
    Invalidate(InvalidateArgs),
    /// Bring the digests that are used most from the database into memory.
    Warm(WarmArgs),
}

#[derive(Args, Debug)]
pub(crate) struct StatsArgs {
    /// Lines for people, one document, or one line.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
pub(crate) struct InvalidateArgs {
    /// The object, as tasks name it: file:///PATH, s3://BUCKET/KEY, https://…
    #[arg(value_name = "URI", required_unless_present_any = ["prefix", "all"])]
    uri: Option<String>,
    /// All objects whose URIs begin with this: s3://BUCKET/2024/, file:///srv/data/
    #[arg(long, value_name = "PREFIX", conflicts_with_all = ["uri", "all"])]
    prefix: Option<String>,
    /// Everything.
    #[arg(long, conflicts_with = "uri")]
    all: bool,
    /// Lines for people, one document, or one line.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
pub(crate) struct WarmArgs {
    /// How many digests.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    entries: u32,
    /// Lines for people, one document, or one line.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

impl CacheVerb {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        match self {
            Self::Stats(args) => args.run().await?,
            Self::Invalidate(args) => args.run().await?,
            Self::Warm(args) => args.run().await?,
        }
        Ok(failure::OK)
    }
}

impl StatsArgs {
    async fn run(self) -> Result<(), Failure> {
        let answer = self.server.client()?.get_stats().await?;
        let Some(stats) = answer.cache else {
            let text = "this mesh has no cache, or it does not answer (a Cache service with --database-url; Gateways and \
                        Workers with --cache-url)";
            return Err(Failure::Local(text.into()));
        };
        let document = stats::cache(&stats);
        match self.output {
            Format::Text => write_text(&stats::text(&document)).await,
            format => write_document(format, &document).await,
        }
    }
}

impl InvalidateArgs {
    async fn run(self) -> Result<(), Failure> {
        let prefix = self.all || self.prefix.is_some();
        let uri = self.uri.or(self.prefix).unwrap_or_default();
        let request = InvalidateCacheRequest { uri, prefix };
        let deleted = self.server.client()?.invalidate_cache(request).await?.deleted_entries;
        match self.output {
            Format::Text if prefix => write_text("forgotten\n").await,
            Format::Text => write_text(&format!("forgotten; {deleted} digests were there\n")).await,
            format => write_document(format, &json!({ "deleted_entries": deleted })).await,
        }
    }
}

impl WarmArgs {
    async fn run(self) -> Result<(), Failure> {
        let request = WarmCacheRequest { max_entries: self.entries };
        let entries = self.server.client()?.warm_cache(request).await?.entries;
        match self.output {
            Format::Text => write_text(&format!("{entries} digests are in memory\n")).await,
            format => write_document(format, &json!({ "entries": entries })).await,
        }
    }
}
