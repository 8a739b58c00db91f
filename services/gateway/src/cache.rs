//! What a tenant may do to its entries of the cache: forget them, warm them, look at the counters.

use std::{sync::Arc, time::Duration};

use hashmesh::{
    cache::v1::{
        GetCacheStatsRequest, InvalidateEntriesRequest, WarmEntriesRequest, cache_service_client::CacheServiceClient,
    },
    error::{Reason, StatusBuilder, bad_field},
    gateway::v1::{InvalidateCacheRequest, InvalidateCacheResponse, WarmCacheRequest, WarmCacheResponse},
    limits::MAX_URI_BYTES,
    tasks::{canonical_prefix, canonical_uri},
    v1::CacheStats,
};
use hashmesh_runtime::channel::Guarded;
use tonic::Status;

use crate::{
    call::Call,
    deadline::Deadline,
    service::Gateway,
    upstream::{Repeat, Upstream, ask_by},
};

/// As many as the Cache service brings at a time.
const MAX_WARMED: u32 = 100_000;
const WARMED_BY_DEFAULT: u32 = 10_000;
/// Counters are not waited for longer.
const STATS_TIMEOUT: Duration = Duration::from_millis(500);

/// Forgets a tenant's entries.
pub(crate) async fn invalidate(
    gateway: &Gateway,
    request: InvalidateCacheRequest,
    call: Call,
) -> Result<InvalidateCacheResponse, Status> {
    let cache = cache(gateway)?;
    let InvalidateCacheRequest { uri, prefix } = request;
    if uri.len() > MAX_URI_BYTES {
        return Err(bad_field("uri", format!("may have {MAX_URI_BYTES} bytes, has {}", uri.len())));
    }
    let uri = if prefix { canonical_prefix(&uri) } else { canonical(&uri)? };
    if uri.contains('\0') {
        return Err(bad_field("uri", "must not contain NUL"));
    }
    let request = InvalidateEntriesRequest { tenant: call.tenant(), uri, prefix };
    // A second time it forgets a little more.
    let answer = ask_by!(cache, client, Repeat::Safe, call.deadline, invalidate_entries(request))?;
    Ok(InvalidateCacheResponse { deleted_entries: answer.deleted_entries })
}

/// Brings a tenant's entries that are used most into memory.
pub(crate) async fn warm(
    gateway: &Gateway,
    request: WarmCacheRequest,
    call: Call,
) -> Result<WarmCacheResponse, Status> {
    let cache = cache(gateway)?;
    let max_entries = match request.max_entries {
        0 => WARMED_BY_DEFAULT,
        wanted if wanted <= MAX_WARMED => wanted,
        found => return Err(bad_field("max_entries", format!("may be {MAX_WARMED}, is {found}"))),
    };
    let request = WarmEntriesRequest { tenant: call.tenant(), max_entries };
    let answer = ask_by!(cache, client, Repeat::Safe, call.deadline, warm_entries(request))?;
    Ok(WarmCacheResponse { entries: answer.entries })
}

/// The counters. `None`: there is no cache, or it does not say.
pub(crate) async fn stats(gateway: &Gateway) -> Option<CacheStats> {
    let cache = gateway.cache.as_ref()?;
    let deadline = Deadline::after(STATS_TIMEOUT);
    let answer = ask_by!(cache, client, Repeat::Safe, deadline, get_cache_stats(GetCacheStatsRequest {}));
    answer.ok()?.stats
}

fn client(channel: Guarded) -> CacheServiceClient<Guarded> {
    CacheServiceClient::new(channel)
}

fn cache(gateway: &Gateway) -> Result<&Arc<Upstream>, Status> {
    gateway.cache.as_ref().ok_or_else(|| {
        let message = "this mesh has no cache: start a Cache service with --database-url, and Gateways and Workers with \
                       --cache-url";
        StatusBuilder::new(Reason::CacheDisabled, message).build()
    })
}

fn canonical(uri: &str) -> Result<String, Status> {
    canonical_uri(uri.as_bytes()).ok_or_else(|| {
        bad_field("uri", "must be the URI of an object as tasks name it: file:///PATH, s3://BUCKET/KEY, https://…")
    })
}
