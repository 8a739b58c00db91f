//! Objects that are read over the network: `http:`, `https:` and `s3:`.
//!
//! ```text
//! URI ── allowed? ── Target ── object.rs   from the first byte to the last, over as many requests as that takes
//!                               ├─ ask.rs    one request: a turn at its host, redirects, refusals
//!                               │   ├─ host.rs     what one host is asked for at a time
//!                               │   ├─ s3.rs       where a bucket is, signatures
//!                               │   ├─ client.rs   connections, to permitted addresses (address.rs) only
//!                               │   └─ answer.rs   statuses and headers
//!                               └─ feed.rs   bytes to the hash pool
//! list ─── allowed? ── Target ── part.rs     its next bytes, by object.rs
//! prefix ─ allowed? ── bucket.rs            its keys, page by page (listing.rs: what the store answers), by ask.rs too
//! ```
//!
//! Nothing here blocks a thread; hashing is the pool's.

mod address;
mod answer;
mod ask;
mod bucket;
mod client;
mod feed;
mod host;
mod listing;
mod object;
mod part;
mod s3;

use std::time::Duration;

use hashmesh::{
    error::TaskReason,
    tasks::{AllowedSources, BucketRoot, Scheme, SiteRoot, s3_object},
};
use hashmesh_hash::HashPool;
use ipnet::IpNet;
use tokio::time::timeout;
use url::Url;

pub(in crate::sources) use self::feed::Feed;
pub use self::s3::{S3Credentials, S3Settings};
pub(crate) use self::{address::Networks, client::Client, feed::GATHERED_BYTES, host::HostLimits};
use self::{
    ask::{Target, Trouble},
    host::Hosts,
    object::Reading,
    s3::S3,
};
use super::{Failure, Known, Progress, Read, ReadError, SourcesError, Wanted};

/// How objects are read over the network.
#[derive(Clone, Debug)]
pub struct RemoteSettings {
    /// Networks that may be connected to although they are not public.
    pub allow_networks: Vec<IpNet>,
    /// The store that `s3:` stands for.
    pub s3: S3Settings,
    /// Objects read at the same time.
    pub reads: usize,
    /// Of these, from one host.
    pub reads_per_host: usize,
    /// Bytes a second from one host; 0: as many as come.
    pub bytes_per_second_per_host: u64,
    /// The most that is read of one object.
    pub max_bytes: u64,
    /// A host that sends nothing for so long is given up.
    pub stall: Duration,
    /// An object that takes longer is given up.
    pub total: Duration,
}

impl Default for RemoteSettings {
    fn default() -> Self {
        Self {
            allow_networks: Vec::new(),
            s3: S3Settings::default(),
            reads: 64,
            reads_per_host: 32,
            bytes_per_second_per_host: 0,
            // S3's own limit.
            max_bytes: 5 << 40,
            stall: Duration::from_secs(30),
            total: Duration::from_secs(6 * 3_600),
        }
    }
}

/// What a connection and its reading occupy: hyper's buffer, what the pool hashes, what is gathered meanwhile, a piece.
pub(crate) const READ_BYTES: usize = 4 * GATHERED_BYTES;

/// Reads objects over the network.
#[derive(Debug)]
pub(crate) struct Remote {
    sites: Vec<SiteRoot>,
    buckets: Vec<BucketRoot>,
    networks: Networks,
    limits: Limits,
    hosts: Hosts,
    public: Client,
    endpoint: Client,
    s3: S3,
    pool: HashPool,
}

/// Of one object.
#[derive(Clone, Copy, Debug)]
struct Limits {
    max_bytes: u64,
    stall: Duration,
    total: Duration,
}

impl Remote {
    /// Reads from these places, hashing on this pool.
    pub(super) fn new(
        sites: Vec<SiteRoot>,
        buckets: Vec<BucketRoot>,
        settings: &RemoteSettings,
        pool: HashPool,
    ) -> Result<Self, SourcesError> {
        let networks = Networks::new(settings.allow_networks.clone());
        let client = |networks| Client::new(networks, settings.reads_per_host).map_err(SourcesError::Certificates);
        let limits =
            HostLimits { requests: settings.reads_per_host, bytes_per_second: settings.bytes_per_second_per_host };
        Ok(Self {
            sites,
            buckets,
            limits: Limits { max_bytes: settings.max_bytes, stall: settings.stall, total: settings.total },
            hosts: Hosts::new(limits),
            public: client(Some(networks.clone()))?,
            endpoint: client(None)?,
            s3: S3::new(&settings.s3)?,
            networks,
            pool,
        })
    }

    /// Reads what is wanted of an object, once, and appends its digests to `digests`. On an error `digests` is as it was.
    pub(crate) async fn digest(
        &self,
        wanted: Wanted<'_>,
        digests: &mut Vec<u8>,
        progress: &(dyn Progress + Sync),
    ) -> Result<Read, ReadError> {
        let Wanted { uri, range, algorithms, allowed, known, listed, .. } = wanted;
        let target = self.target(uri, allowed).map_err(ReadError::Failed)?;
        if let (Some(known), Some(listed)) = (known, listed)
            && known.is_listed(listed)
        {
            return Ok(Read::nothing(known, digests));
        }
        let mut feed = Feed::new(&self.pool, algorithms);
        let reading = Reading::new(self, &target, range, progress).map_err(ReadError::Failed)?;
        let mut reading = reading.unless(known.and_then(Known::strong_etag));
        let read = match timeout(self.limits.total, reading.run(&mut feed)).await {
            Ok(Ok(read)) => read,
            Ok(Err(Trouble::Failed(failure) | Trouble::Broken(failure))) => return Err(ReadError::Failed(failure)),
            Ok(Err(Trouble::Cancelled)) => return Err(ReadError::Cancelled),
            Err(_) => return Err(ReadError::Failed(took_too_long(self.limits.total))),
        };
        if let (Some(known), true) = (known, reading.is_same()) {
            return Ok(Read::nothing(known, digests));
        }
        feed.finish(digests).await.map_err(ReadError::Failed)?;
        Ok(read)
    }

    /// The store that `s3:` stands for, by its address.
    pub(in crate::sources) fn store(&self) -> &str {
        self.s3.address()
    }

    /// What a URI names, if the tenant may name it and this worker may read it.
    fn target(&self, uri: &[u8], allowed: Option<&AllowedSources>) -> Result<Target, Failure> {
        if allowed.is_some_and(|allowed| !allowed.cover(uri)) {
            return Err(Failure::not_the_tenants());
        }
        match Scheme::of(uri) {
            Some(Scheme::S3) => {
                let object = s3_object(uri).ok_or_else(Failure::cannot_reach)?;
                let covered = self.buckets.iter().any(|bucket| bucket.covers(&object.bucket, &object.key));
                if covered { Ok(Target::Bucket(object)) } else { Err(Failure::cannot_reach()) }
            }
            Some(Scheme::Http | Scheme::Https) => {
                let url = std::str::from_utf8(uri).ok().and_then(|text| Url::parse(text).ok());
                let Some(url) = url else { return Err(no_url()) };
                if !url.username().is_empty() || url.password().is_some() {
                    return Err(no_url());
                }
                if self.sites.iter().any(|site| site.covers(&url)) {
                    Ok(Target::Site { url, allowed: allowed.cloned() })
                } else {
                    Err(Failure::cannot_reach())
                }
            }
            Some(Scheme::File | Scheme::Upload) | None => Err(Failure::cannot_reach()),
        }
    }
}

fn no_url() -> Failure {
    Failure::permanent(TaskReason::SourceNotAllowed, "the URI is no URL of a host")
}

fn took_too_long(total: Duration) -> Failure {
    let message = format!("reading the object took longer than {} s", total.as_secs());
    Failure::retryable(TaskReason::SourceTimedOut, message)
}

#[cfg(test)]
mod tests;
