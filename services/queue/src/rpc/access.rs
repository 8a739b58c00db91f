//! `AccessService`: keys and the audit trail, in and out of the tables. Works on every process, owner or not.

use std::time::Duration;

use hashmesh::{
    keys::is_id,
    queue::v1::{
        CreateKeyRequest, CreateKeyResponse, FindKeyRequest, FindKeyResponse, ListAuditRequest, ListAuditResponse,
        ListKeysRequest, ListKeysResponse, NoteAuditRequest, NoteAuditResponse, NoteKeyUsesRequest,
        NoteKeyUsesResponse, RevokeKeyRequest, RevokeKeyResponse, RotateKeyRequest, RotateKeyResponse,
        SetKeyLimitsRequest, SetKeyLimitsResponse, access_service_server::AccessService,
    },
    v1::TenantSources,
};
use hashmesh_database::Database;
use tonic::{Request, Response, Status};

use crate::{
    error::QueueError,
    store::{self, FoundKey},
};

/// Keys or entries on a page.
const MAX_PAGE: u32 = 1_000;
/// Keys whose use is noted at once.
const MAX_USES: usize = 1_000;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct AccessRpc {
    database: Database,
}

impl AccessRpc {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }

    /// Why there is nothing to rotate.
    async fn no_live_key(&self, id: &str) -> Result<QueueError, QueueError> {
        let known = store::api_key(&self.database, id).await?.is_some();
        Ok(if known { QueueError::KeyRevoked } else { QueueError::KeyNotFound })
    }
}

fn key_id(field: &'static str, id: &str) -> Result<(), QueueError> {
    if is_id(id) { Ok(()) } else { Err(QueueError::invalid(field, "must be a key's id: 16 of 0-9 a-f")) }
}

fn text_hash(hash: &[u8]) -> Result<(), QueueError> {
    if hash.len() == 32 { Ok(()) } else { Err(QueueError::invalid("text_hash", "must be the 32 bytes of a SHA-256")) }
}

/// Cuts off the one more that says that there are more.
fn page<T>(mut found: Vec<T>, page_size: u32) -> (Vec<T>, bool) {
    let more = found.len() > page_size as usize;
    found.truncate(page_size as usize);
    (found, more)
}

#[tonic::async_trait]
impl AccessService for AccessRpc {
    async fn find_key(&self, request: Request<FindKeyRequest>) -> Result<Response<FindKeyResponse>, Status> {
        let FindKeyRequest { key_id: id } = request.into_inner();
        key_id("key_id", &id)?;
        let found = store::api_key(&self.database, &id).await.map_err(QueueError::from)?;
        let Some(FoundKey { key, hashes, sources }) = found else {
            return Ok(Response::new(FindKeyResponse::default()));
        };
        Ok(Response::new(FindKeyResponse {
            key: Some(key),
            accepted_hashes: hashes.into_iter().map(Into::into).collect(),
            sources: sources.map(|uri_prefixes| TenantSources { uri_prefixes }),
        }))
    }

    async fn create_key(&self, request: Request<CreateKeyRequest>) -> Result<Response<CreateKeyResponse>, Status> {
        let CreateKeyRequest { actor, key, text_hash: hash } = request.into_inner();
        let key = key.ok_or_else(|| QueueError::invalid("key", "must be set"))?;
        key_id("key.key_id", &key.key_id)?;
        text_hash(&hash)?;
        if key.tenant.is_empty() || key.scopes.is_empty() {
            return Err(QueueError::invalid("key", "must have a tenant and a scope").into());
        }
        let key = store::create_api_key(&self.database, &actor, &key, &hash).await.map_err(QueueError::from)?;
        Ok(Response::new(CreateKeyResponse { key }))
    }

    async fn list_keys(&self, request: Request<ListKeysRequest>) -> Result<Response<ListKeysResponse>, Status> {
        let ListKeysRequest { tenant, page_size, before_key_id } = request.into_inner();
        let page_size = page_size.clamp(1, MAX_PAGE);
        let found = store::api_keys(&self.database, &tenant, &before_key_id, page_size).await;
        let (keys, more) = page(found.map_err(QueueError::from)?, page_size);
        Ok(Response::new(ListKeysResponse { keys, more }))
    }

    async fn rotate_key(&self, request: Request<RotateKeyRequest>) -> Result<Response<RotateKeyResponse>, Status> {
        let RotateKeyRequest { actor, key_id: id, text_hash: hash, keep_previous } = request.into_inner();
        key_id("key_id", &id)?;
        text_hash(&hash)?;
        let keep = keep_previous.unwrap_or_default();
        let keep =
            Duration::try_from(keep).map_err(|_| QueueError::invalid("keep_previous", "must not be negative"))?;
        let rotated = store::rotate_api_key(&self.database, &actor, &id, &hash, keep).await;
        match rotated.map_err(QueueError::from)? {
            Some(key) => Ok(Response::new(RotateKeyResponse { key: Some(key) })),
            None => Err(self.no_live_key(&id).await?.into()),
        }
    }

    async fn set_key_limits(
        &self,
        request: Request<SetKeyLimitsRequest>,
    ) -> Result<Response<SetKeyLimitsResponse>, Status> {
        let SetKeyLimitsRequest { actor, key_id: id, calls_per_minute } = request.into_inner();
        key_id("key_id", &id)?;
        let changed = store::set_api_key_limits(&self.database, &actor, &id, calls_per_minute).await;
        match changed.map_err(QueueError::from)? {
            Some(key) => Ok(Response::new(SetKeyLimitsResponse { key: Some(key) })),
            None => Err(self.no_live_key(&id).await?.into()),
        }
    }

    async fn revoke_key(&self, request: Request<RevokeKeyRequest>) -> Result<Response<RevokeKeyResponse>, Status> {
        let RevokeKeyRequest { actor, key_id: id } = request.into_inner();
        key_id("key_id", &id)?;
        let revoked = store::revoke_api_key(&self.database, &actor, &id).await.map_err(QueueError::from)?;
        let key = revoked.ok_or(QueueError::KeyNotFound)?;
        Ok(Response::new(RevokeKeyResponse { key: Some(key) }))
    }

    async fn note_key_uses(
        &self,
        request: Request<NoteKeyUsesRequest>,
    ) -> Result<Response<NoteKeyUsesResponse>, Status> {
        let mut ids = request.into_inner().key_ids;
        ids.truncate(MAX_USES);
        store::note_api_key_uses(&self.database, &ids).await.map_err(QueueError::from)?;
        Ok(Response::new(NoteKeyUsesResponse {}))
    }

    async fn note_audit(&self, request: Request<NoteAuditRequest>) -> Result<Response<NoteAuditResponse>, Status> {
        let entry = request.into_inner().entry.ok_or_else(|| QueueError::invalid("entry", "must be set"))?;
        store::note_audit(&self.database, &entry).await.map_err(QueueError::from)?;
        Ok(Response::new(NoteAuditResponse {}))
    }

    async fn list_audit(&self, request: Request<ListAuditRequest>) -> Result<Response<ListAuditResponse>, Status> {
        let ListAuditRequest { page_size, before_entry_id } = request.into_inner();
        let page_size = page_size.clamp(1, MAX_PAGE);
        let found = store::audit(&self.database, before_entry_id, page_size).await.map_err(QueueError::from)?;
        let (entries, more) = page(found, page_size);
        Ok(Response::new(ListAuditResponse { entries, more }))
    }
}
