//! Keys and the audit trail. Not under the fence: no shard owns them, and each change is one statement that leaves its own
//! entry in the trail.

use std::time::SystemTime;

use hashmesh::v1::{ApiKey, AuditEntry, Scope};
use hashmesh_database::{
    Database,
    postgres::{Row, types::Type},
};

use super::{
    StoreError, integer, long,
    reads::{many, one, one_as},
};

/// A key as callers' calls are held against it.
pub(crate) struct FoundKey {
    pub(crate) key: ApiKey,
    /// Of the texts that are accepted now.
    pub(crate) hashes: Vec<Vec<u8>>,
    /// What its tenant may name. `None`: nothing was said.
    pub(crate) sources: Option<Vec<String>>,
}

/// The key with this id.
pub(crate) async fn api_key(db: &Database, id: &str) -> Result<Option<FoundKey>, StoreError> {
    let what = "find an API key";
    let Some(row) = one(db, what, include_str!("sql/api_key.sql"), &[(&id, Type::TEXT)]).await? else {
        return Ok(None);
    };
    let failed = StoreError::statement(what);
    let hashes: [Option<Vec<u8>>; 2] =
        [row.try_get("text_hash").map_err(&failed)?, row.try_get("previous_hash").map_err(&failed)?];
    let sources = row.try_get("sources").map_err(&failed)?;
    Ok(Some(FoundKey { key: key(&row, what)?, hashes: hashes.into_iter().flatten().collect(), sources }))
}

/// Stores a new key.
pub(crate) async fn create_api_key(
    db: &Database,
    actor: &str,
    new: &ApiKey,
    text_hash: &[u8],
) -> Result<Option<ApiKey>, StoreError> {
    let what = "create an API key";
    let scopes: Vec<i16> = new.scopes.iter().filter_map(|scope| i16::try_from(*scope).ok()).collect();
    let expires_at: Option<SystemTime> = new.expire_time.and_then(|time| time.try_into().ok());
    let calls_per_minute = new.calls_per_minute.map(integer);
    let names: Vec<&str> = new.scopes().map(Scope::name).collect();
    let detail = format!("tenant {}, scopes {}", new.tenant, names.join(" "));
    let parameters = [
        (&actor as _, Type::TEXT),
        (&new.key_id as _, Type::TEXT),
        (&new.tenant as _, Type::TEXT),
        (&scopes as _, Type::INT2_ARRAY),
        (&new.description as _, Type::TEXT),
        (&text_hash as _, Type::BYTEA),
        (&expires_at as _, Type::TIMESTAMPTZ),
        (&detail as _, Type::TEXT),
        (&calls_per_minute as _, Type::INT4),
    ];
    one_as(db, what, include_str!("sql/create_api_key.sql"), &parameters, key).await
}

/// A page of keys, newest first; one more than asked for if there are more.
pub(crate) async fn api_keys(
    db: &Database,
    tenant: &str,
    before: &str,
    page_size: u32,
) -> Result<Vec<ApiKey>, StoreError> {
    let what = "list API keys";
    let limit = i64::from(page_size) + 1;
    let parameters = [(&tenant as _, Type::TEXT), (&before as _, Type::TEXT), (&limit as _, Type::INT8)];
    let rows = many(db, what, include_str!("sql/api_keys.sql"), &parameters).await?;
    rows.iter().map(|row| key(row, what)).collect()
}

/// Stores a key's new secret. `None`: there is no such key, or it is revoked.
pub(crate) async fn rotate_api_key(
    db: &Database,
    actor: &str,
    id: &str,
    text_hash: &[u8],
    keep_previous: std::time::Duration,
) -> Result<Option<ApiKey>, StoreError> {
    let what = "rotate an API key";
    let seconds = keep_previous.as_secs_f64();
    let parameters = [
        (&actor as _, Type::TEXT),
        (&id as _, Type::TEXT),
        (&text_hash as _, Type::BYTEA),
        (&seconds as _, Type::FLOAT8),
    ];
    one_as(db, what, include_str!("sql/rotate_api_key.sql"), &parameters, key).await
}

/// Changes a key's limits. `None`: there is no such key, or it is revoked.
pub(crate) async fn set_api_key_limits(
    db: &Database,
    actor: &str,
    id: &str,
    calls_per_minute: Option<u32>,
) -> Result<Option<ApiKey>, StoreError> {
    let what = "change an API key's limits";
    let calls = calls_per_minute.map(integer);
    let parameters = [(&actor as _, Type::TEXT), (&id as _, Type::TEXT), (&calls as _, Type::INT4)];
    one_as(db, what, include_str!("sql/set_api_key_limits.sql"), &parameters, key).await
}

/// Revokes a key. `None`: there is no such key.
pub(crate) async fn revoke_api_key(db: &Database, actor: &str, id: &str) -> Result<Option<ApiKey>, StoreError> {
    let what = "revoke an API key";
    let parameters = [(&actor as _, Type::TEXT), (&id as _, Type::TEXT)];
    one_as(db, what, include_str!("sql/revoke_api_key.sql"), &parameters, key).await
}

/// Keys were used just now.
pub(crate) async fn note_api_key_uses(db: &Database, ids: &[String]) -> Result<(), StoreError> {
    let sql = include_str!("sql/note_api_key_uses.sql");
    one(db, "note the use of API keys", sql, &[(&ids, Type::TEXT_ARRAY)]).await.map(drop)
}

/// True if somebody can administer this mesh.
pub(crate) async fn has_admin_key(db: &Database) -> Result<bool, StoreError> {
    let admin = i16::try_from(Scope::Admin as i32).unwrap_or_default();
    let sql = include_str!("sql/live_admin_key.sql");
    Ok(one(db, "look for an admin key", sql, &[(&admin, Type::INT2)]).await?.is_some())
}

/// Adds an entry to the audit trail.
pub(crate) async fn note_audit(db: &Database, entry: &AuditEntry) -> Result<(), StoreError> {
    let parameters = [
        (&entry.actor as _, Type::TEXT),
        (&entry.action as _, Type::TEXT),
        (&entry.target as _, Type::TEXT),
        (&entry.detail as _, Type::TEXT),
    ];
    one(db, "add to the audit trail", include_str!("sql/note_audit.sql"), &parameters).await.map(drop)
}

/// A page of the audit trail, newest first; one more than asked for if there are more.
pub(crate) async fn audit(db: &Database, before: u64, page_size: u32) -> Result<Vec<AuditEntry>, StoreError> {
    let what = "read the audit trail";
    let before = long(before);
    let limit = i64::from(page_size) + 1;
    let parameters = [(&before as _, Type::INT8), (&limit as _, Type::INT8)];
    let rows = many(db, what, include_str!("sql/audit.sql"), &parameters).await?;
    let failed = StoreError::statement(what);
    let entry = |row: &Row| {
        let at: SystemTime = row.try_get("at").map_err(&failed)?;
        Ok(AuditEntry {
            entry_id: row.try_get::<_, i64>("id").map_err(&failed)?.unsigned_abs(),
            time: Some(at.into()),
            actor: row.try_get("actor").map_err(&failed)?,
            action: row.try_get("action").map_err(&failed)?,
            target: row.try_get("target").map_err(&failed)?,
            detail: row.try_get("detail").map_err(&failed)?,
        })
    };
    rows.iter().map(entry).collect()
}

fn key(row: &Row, what: &'static str) -> Result<ApiKey, StoreError> {
    let failed = StoreError::statement(what);
    let scopes: Vec<i16> = row.try_get("scopes").map_err(&failed)?;
    let time = |name: &str| row.try_get::<_, Option<SystemTime>>(name).map_err(&failed);
    Ok(ApiKey {
        key_id: row.try_get("id").map_err(&failed)?,
        tenant: row.try_get("tenant").map_err(&failed)?,
        scopes: scopes.into_iter().map(i32::from).collect(),
        description: row.try_get("description").map_err(&failed)?,
        create_time: time("created_at")?.map(Into::into),
        expire_time: time("expires_at")?.map(Into::into),
        revoke_time: time("revoked_at")?.map(Into::into),
        last_use_time: time("last_used_at")?.map(Into::into),
        previous_secret_expire_time: time("previous_until")?.map(Into::into),
        calls_per_minute: row.try_get::<_, Option<i32>>("calls_per_minute").map_err(&failed)?.map(i32::unsigned_abs),
    })
}
