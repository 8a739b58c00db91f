//! `hashmesh.cache.v1.CacheService`: what is asked is checked, and passed on.

use std::sync::Arc;

use hashmesh::{
    algorithm::check_part_bytes,
    cache::v1::{
        CachedObject, ComputedEntry, FoundEntry, GetCacheStatsRequest, GetCacheStatsResponse, GetEntriesRequest,
        GetEntriesResponse, InvalidateEntriesRequest, InvalidateEntriesResponse, PutEntriesRequest, PutEntriesResponse,
        WarmEntriesRequest, WarmEntriesResponse, cache_service_server::CacheService,
    },
    error::bad_field,
    limits::{MAX_ALGORITHMS, MAX_URI_BYTES},
    v1::Algorithm,
};
use tonic::{Request, Response, Status};

use super::{Entries, Wanted};

/// Objects of one call.
const MAX_OBJECTS: usize = 1_024;
const MAX_TENANT_BYTES: usize = 255;
const MAX_DOMAIN_BYTES: usize = 512;
const MAX_WARMED: u32 = 100_000;

/// The RPCs.
#[derive(Clone, Debug)]
pub(crate) struct CacheRpc(Arc<Entries>);

impl CacheRpc {
    pub(crate) fn new(entries: Arc<Entries>) -> Self {
        Self(entries)
    }
}

#[tonic::async_trait]
impl CacheService for CacheRpc {
    async fn get_entries(&self, request: Request<GetEntriesRequest>) -> Result<Response<GetEntriesResponse>, Status> {
        let GetEntriesRequest { tenant, algorithms, part_bytes, objects, verdicts } = request.into_inner();
        let wanted = wanted(tenant, &algorithms, part_bytes)?;
        check_count("objects", objects.len())?;
        for (place, object) in objects.iter().enumerate() {
            check_object(&format!("objects[{place}]"), object)?;
        }
        self.0.counters.note(verdicts);
        let (generation, entries) = self.0.get(&wanted, &objects).await;
        let entries = entries.into_iter().map(Option::unwrap_or_default).collect::<Vec<FoundEntry>>();
        Ok(Response::new(GetEntriesResponse { generation, entries }))
    }

    async fn put_entries(&self, request: Request<PutEntriesRequest>) -> Result<Response<PutEntriesResponse>, Status> {
        let PutEntriesRequest { tenant, algorithms, part_bytes, generation, entries, verdicts } = request.into_inner();
        let wanted = wanted(tenant, &algorithms, part_bytes)?;
        check_count("entries", entries.len())?;
        let stride = hashmesh::algorithm::stride(&wanted.algorithms);
        for (place, entry) in entries.iter().enumerate() {
            check_entry(&format!("entries[{place}]"), entry, stride)?;
        }
        self.0.counters.note(verdicts);
        self.0.put(&wanted, generation, entries).await?;
        Ok(Response::new(PutEntriesResponse {}))
    }

    async fn invalidate_entries(
        &self,
        request: Request<InvalidateEntriesRequest>,
    ) -> Result<Response<InvalidateEntriesResponse>, Status> {
        let InvalidateEntriesRequest { tenant, uri, prefix } = request.into_inner();
        if tenant.len() > MAX_TENANT_BYTES {
            return Err(bad_field("tenant", format!("may have {MAX_TENANT_BYTES} bytes, has {}", tenant.len())));
        }
        check_uri("uri", &uri, if prefix { 0 } else { 1 })?;
        check_text("tenant", &tenant)?;
        let deleted_entries = self.0.invalidate(tenant, uri, prefix).await?;
        Ok(Response::new(InvalidateEntriesResponse { deleted_entries }))
    }

    async fn warm_entries(
        &self,
        request: Request<WarmEntriesRequest>,
    ) -> Result<Response<WarmEntriesResponse>, Status> {
        let WarmEntriesRequest { tenant, max_entries } = request.into_inner();
        check_text("tenant", &tenant)?;
        if !(1..=MAX_WARMED).contains(&max_entries) {
            return Err(bad_field("max_entries", format!("must be 1 to {MAX_WARMED}, is {max_entries}")));
        }
        let entries = self.0.warm(&tenant, max_entries).await?;
        Ok(Response::new(WarmEntriesResponse { entries }))
    }

    async fn get_cache_stats(
        &self,
        _request: Request<GetCacheStatsRequest>,
    ) -> Result<Response<GetCacheStatsResponse>, Status> {
        Ok(Response::new(GetCacheStatsResponse { stats: Some(self.0.stats()) }))
    }
}

fn wanted(tenant: String, numbers: &[i32], part_bytes: u64) -> Result<Wanted, Status> {
    if !(1..=MAX_TENANT_BYTES).contains(&tenant.len()) {
        return Err(bad_field("tenant", format!("must have 1 to {MAX_TENANT_BYTES} bytes, has {}", tenant.len())));
    }
    check_text("tenant", &tenant)?;
    if !(1..=MAX_ALGORITHMS).contains(&numbers.len()) {
        return Err(bad_field("algorithms", format!("must be 1 to {MAX_ALGORITHMS}, are {}", numbers.len())));
    }
    let known: Option<Vec<Algorithm>> = numbers.iter().map(|number| Algorithm::known(*number)).collect();
    let algorithms = known.ok_or_else(|| bad_field("algorithms", "must be numbers of algorithms"))?;
    check_part_bytes(&algorithms, part_bytes).map_err(|error| bad_field("part_bytes", error.to_string()))?;
    Ok(Wanted { tenant, algorithms, part_bytes })
}

fn check_count(field: &str, found: usize) -> Result<(), Status> {
    if found <= MAX_OBJECTS {
        return Ok(());
    }
    Err(bad_field(field, format!("may be {MAX_OBJECTS}, are {found}")))
}

fn check_object(field: &str, object: &CachedObject) -> Result<(), Status> {
    let length = object.domain.len();
    if !(1..=MAX_DOMAIN_BYTES).contains(&length) {
        return Err(bad_field(
            &format!("{field}.domain"),
            format!("must have 1 to {MAX_DOMAIN_BYTES} bytes, has {length}"),
        ));
    }
    check_uri(&format!("{field}.uri"), &object.uri, 1)
}

fn check_entry(field: &str, entry: &ComputedEntry, stride: usize) -> Result<(), Status> {
    let object = entry.object.as_ref().ok_or_else(|| bad_field(&format!("{field}.object"), "must be set"))?;
    check_object(&format!("{field}.object"), object)?;
    if entry.state.is_none() {
        return Err(bad_field(&format!("{field}.state"), "must be set"));
    }
    if entry.digests.len() != stride {
        let found = entry.digests.len();
        return Err(bad_field(&format!("{field}.digests"), format!("must have {stride} bytes, has {found}")));
    }
    Ok(())
}

fn check_uri(field: &str, uri: &str, least: usize) -> Result<(), Status> {
    if !(least..=MAX_URI_BYTES).contains(&uri.len()) {
        return Err(bad_field(field, format!("must have {least} to {MAX_URI_BYTES} bytes, has {}", uri.len())));
    }
    check_text(field, uri)
}

/// Postgres stores no NUL in text.
fn check_text(field: &str, text: &str) -> Result<(), Status> {
    if text.contains('\0') { Err(bad_field(field, "must not contain NUL")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_holds_on_both_sides() {
        let sha256 = [i32::from(Algorithm::Sha256)];
        let named = |bytes: usize| wanted("t".repeat(bytes), &sha256, 0).is_ok();
        assert!(!named(0) && named(1) && named(255) && !named(256));
        assert!(wanted("t".to_owned(), &[], 0).is_err() && wanted("t".to_owned(), &[99], 0).is_err());
        assert!(wanted("t".to_owned(), &sha256.repeat(8), 0).is_ok());
        assert!(wanted("t".to_owned(), &sha256.repeat(9), 0).is_err());
        assert!(wanted("t".to_owned(), &sha256, 5 << 20).is_err() && wanted("\0".to_owned(), &sha256, 0).is_err());
        assert!(check_count("objects", 1_024).is_ok() && check_count("objects", 1_025).is_err());

        let object = |domain: usize, uri: usize| {
            let object = CachedObject { domain: "d".repeat(domain), uri: "u".repeat(uri), range: None };
            check_object("objects[0]", &object).is_ok()
        };
        assert!(object(1, 1) && object(512, 8_192) && !object(0, 1) && !object(513, 1));
        assert!(!object(1, 0) && !object(1, 8_193));

        let entry = |digest: usize| {
            let object = CachedObject { domain: "d".to_owned(), uri: "u".to_owned(), range: None };
            let digests = vec![1; digest].into();
            ComputedEntry { object: Some(object), state: Some(Default::default()), digests, read_bytes: 1 }
        };
        assert!(check_entry("e", &entry(32), 32).is_ok());
        assert!(check_entry("e", &entry(31), 32).is_err() && check_entry("e", &entry(33), 32).is_err());
        assert!(check_entry("e", &ComputedEntry { state: None, ..entry(32) }, 32).is_err());
        assert!(check_entry("e", &ComputedEntry { object: None, ..entry(32) }, 32).is_err());
    }
}
