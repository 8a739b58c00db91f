//! Uploads: which of their bytes count. Not under the fence: no shard owns them, and each change is one statement that asks
//! for the state it is made from, so that of two writers one finds nothing to change.

use std::time::{Duration, SystemTime};

use hashmesh::{
    limits::{MAX_OPEN_UPLOADS, MAX_UPLOAD_RUNS},
    queue::v1::UploadRun,
    tasks::upload_uri,
    v1::{Upload, UploadState},
};
use hashmesh_database::{
    Database,
    postgres::{Row, types::Type},
};
use uuid::Uuid;

use super::{
    StoreError, integer, long,
    reads::{many, one, one_as},
};

/// Uploads whose store is emptied in one round.
const EMPTIED_AT_ONCE: i64 = 1_000;

/// An upload as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct StoredUpload {
    pub(crate) upload: Upload,
    /// Whoever writes now.
    pub(crate) writer: u32,
    /// It takes bytes.
    pub(crate) open: bool,
}

/// An upload that is deleted and whose bytes may still be there.
#[derive(Clone, Debug)]
pub(crate) struct DeletedUpload {
    pub(crate) id: Uuid,
    pub(crate) tenant: String,
    /// Nobody can be putting anything there any more.
    pub(crate) for_good: bool,
}

/// Bytes that a writer has put behind those that are stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewBytes {
    pub(crate) writer: u32,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// The tenant's upload.
pub(crate) async fn upload(db: &Database, tenant: &str, id: Uuid) -> Result<Option<StoredUpload>, StoreError> {
    let what = "read an upload";
    let parameters = [(&id as _, Type::UUID), (&tenant as _, Type::TEXT)];
    one_as(db, what, include_str!("sql/upload.sql"), &parameters, stored).await
}

/// A new upload. `None`: there is one with this id, or the tenant has as many open ones as it may.
pub(crate) async fn create_upload(
    db: &Database,
    tenant: &str,
    id: Uuid,
    retention: Duration,
) -> Result<Option<StoredUpload>, StoreError> {
    let what = "create an upload";
    let (seconds, most) = (retention.as_secs_f64(), i64::from(MAX_OPEN_UPLOADS));
    let parameters =
        [(&id as _, Type::UUID), (&tenant as _, Type::TEXT), (&seconds as _, Type::FLOAT8), (&most as _, Type::INT8)];
    one_as(db, what, include_str!("sql/create_upload.sql"), &parameters, stored).await
}

/// Makes the caller the writer of an open upload of this many bytes. `None`: there is no such one, or it had too many.
pub(crate) async fn take_upload(
    db: &Database,
    tenant: &str,
    id: Uuid,
    offset: u64,
) -> Result<Option<StoredUpload>, StoreError> {
    let what = "open an upload";
    let (offset, most) = (long(offset), i64::from(MAX_UPLOAD_RUNS));
    let parameters =
        [(&id as _, Type::UUID), (&tenant as _, Type::TEXT), (&offset as _, Type::INT8), (&most as _, Type::INT8)];
    one_as(db, what, include_str!("sql/take_upload.sql"), &parameters, stored).await
}

/// Notes bytes. `None`: the caller does not write there now.
pub(crate) async fn store_bytes(
    db: &Database,
    tenant: &str,
    id: Uuid,
    new: NewBytes,
    retention: Duration,
) -> Result<Option<StoredUpload>, StoreError> {
    let what = "note bytes of an upload";
    let (writer, offset, bytes, seconds) =
        (integer(new.writer), long(new.offset), long(new.bytes), retention.as_secs_f64());
    let parameters = [
        (&id as _, Type::UUID),
        (&tenant as _, Type::TEXT),
        (&writer as _, Type::INT4),
        (&offset as _, Type::INT8),
        (&bytes as _, Type::INT8),
        (&seconds as _, Type::FLOAT8),
    ];
    one_as(db, what, include_str!("sql/store_bytes.sql"), &parameters, stored).await
}

/// Closes an open upload. `None`: the caller does not write there now.
pub(crate) async fn seal_upload(
    db: &Database,
    tenant: &str,
    id: Uuid,
    writer: u32,
    total_bytes: u64,
) -> Result<Option<StoredUpload>, StoreError> {
    let what = "close an upload";
    let (writer, total) = (integer(writer), long(total_bytes));
    let parameters =
        [(&id as _, Type::UUID), (&tenant as _, Type::TEXT), (&writer as _, Type::INT4), (&total as _, Type::INT8)];
    one_as(db, what, include_str!("sql/seal_upload.sql"), &parameters, stored).await
}

/// What each writer of an upload stored, in order.
pub(crate) async fn upload_runs(db: &Database, id: Uuid) -> Result<Vec<UploadRun>, StoreError> {
    let what = "read what an upload consists of";
    let rows = many(db, what, include_str!("sql/upload_runs.sql"), &[(&id as _, Type::UUID)]).await?;
    let failed = StoreError::statement(what);
    let run = |row: &Row| {
        let writer: i32 = row.try_get("writer").map_err(&failed)?;
        let bytes: i64 = row.try_get("bytes").map_err(&failed)?;
        Ok(UploadRun { writer: writer.unsigned_abs(), bytes: bytes.unsigned_abs() })
    };
    rows.iter().map(run).collect()
}

/// A closed upload is complete. `None`: there is no closed one.
pub(crate) async fn complete_upload(
    db: &Database,
    tenant: &str,
    id: Uuid,
    retention: Duration,
) -> Result<Option<StoredUpload>, StoreError> {
    let what = "complete an upload";
    let seconds = retention.as_secs_f64();
    let parameters = [(&id as _, Type::UUID), (&tenant as _, Type::TEXT), (&seconds as _, Type::FLOAT8)];
    one_as(db, what, include_str!("sql/complete_upload.sql"), &parameters, stored).await
}

/// Deletes an upload. False: there is none.
pub(crate) async fn delete_upload(db: &Database, tenant: &str, id: Uuid) -> Result<bool, StoreError> {
    let parameters = [(&id as _, Type::UUID), (&tenant as _, Type::TEXT)];
    Ok(one(db, "delete an upload", include_str!("sql/delete_upload.sql"), &parameters).await?.is_some())
}

/// Deletes the uploads whose time has passed.
pub(crate) async fn expire_uploads(db: &Database) -> Result<(), StoreError> {
    one(db, "delete expired uploads", include_str!("sql/expire_uploads.sql"), &[]).await.map(drop)
}

/// Deleted uploads whose store is to be emptied: at once, and once more after `grace`.
pub(crate) async fn deleted_uploads(db: &Database, grace: Duration) -> Result<Vec<DeletedUpload>, StoreError> {
    let what = "look for deleted uploads";
    let seconds = grace.as_secs_f64();
    let parameters = [(&seconds as _, Type::FLOAT8), (&EMPTIED_AT_ONCE as _, Type::INT8)];
    let rows = many(db, what, include_str!("sql/deleted_uploads.sql"), &parameters).await?;
    let failed = StoreError::statement(what);
    let deleted = |row: &Row| {
        Ok(DeletedUpload {
            id: row.try_get("id").map_err(&failed)?,
            tenant: row.try_get("tenant").map_err(&failed)?,
            for_good: row.try_get("for_good").map_err(&failed)?,
        })
    };
    rows.iter().map(deleted).collect()
}

/// The store of a deleted upload was emptied for the first time.
pub(crate) async fn note_emptied(db: &Database, id: Uuid) -> Result<(), StoreError> {
    one(db, "note an emptied upload", include_str!("sql/note_emptied.sql"), &[(&id as _, Type::UUID)]).await.map(drop)
}

/// Nothing is left of a deleted upload.
pub(crate) async fn forget_upload(db: &Database, id: Uuid) -> Result<(), StoreError> {
    one(db, "forget an upload", include_str!("sql/forget_upload.sql"), &[(&id as _, Type::UUID)]).await.map(drop)
}

/// The id as clients write it.
pub(crate) fn upload_id(id: Uuid) -> String {
    id.simple().to_string()
}

fn stored(row: &Row, what: &'static str) -> Result<StoredUpload, StoreError> {
    let failed = StoreError::statement(what);
    let time = |name: &str| row.try_get::<_, Option<SystemTime>>(name).map_err(&failed);
    let (id, tenant): (Uuid, String) = (row.try_get("id").map_err(&failed)?, row.try_get("tenant").map_err(&failed)?);
    let state: i16 = row.try_get("state").map_err(&failed)?;
    let upload_id = upload_id(id);
    // Closed, but not yet complete, is no state that clients know: finishing once more completes it.
    let shown = if state == COMPLETE { UploadState::Complete } else { UploadState::Open };
    let upload = Upload {
        uri: upload_uri(&tenant, &upload_id),
        upload_id,
        state: shown.into(),
        stored_bytes: row.try_get::<_, i64>("stored_bytes").map_err(&failed)?.unsigned_abs(),
        create_time: time("created_at")?.map(Into::into),
        complete_time: time("completed_at")?.map(Into::into),
        expire_time: time("expires_at")?.map(Into::into),
    };
    let writer: i32 = row.try_get("writer").map_err(&failed)?;
    Ok(StoredUpload { upload, writer: writer.unsigned_abs(), open: state == OPEN })
}

/// Values of `uploads.state`.
const OPEN: i16 = 1;
const COMPLETE: i16 = 3;
