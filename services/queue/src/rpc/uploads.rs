//! `UploadService`: uploads, in and out of the tables. Works on every process, owner or not.

use std::time::Duration;

use hashmesh::{
    limits::{MAX_UPLOAD_RUNS, UPLOAD_PART_BYTES},
    queue::v1::{
        CompleteUploadRequest, CompleteUploadResponse, DeleteUploadRequest, DeleteUploadResponse, GetUploadRequest,
        GetUploadResponse, OpenUploadRequest, OpenUploadResponse, SealUploadRequest, SealUploadResponse,
        StoreBytesRequest, StoreBytesResponse, UploadLayout, upload_service_server::UploadService,
    },
    tasks::is_upload_id,
};
use hashmesh_database::Database;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{
    error::QueueError,
    store::{self, NewBytes, StoredUpload},
};

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct UploadRpc {
    database: Database,
    retention: Duration,
}

impl UploadRpc {
    pub(crate) fn new(database: Database, retention: Duration) -> Self {
        Self { database, retention }
    }

    async fn find(&self, tenant: &str, id: Uuid) -> Result<StoredUpload, QueueError> {
        store::upload(&self.database, tenant, id).await?.ok_or(QueueError::UploadNotFound)
    }

    async fn open(&self, request: OpenUploadRequest) -> Result<OpenUploadResponse, QueueError> {
        let OpenUploadRequest { tenant, upload_id, create, offset } = request;
        let id = parse(&upload_id)?;
        if create && offset == 0 {
            if let Some(created) = store::create_upload(&self.database, &tenant, id, self.retention).await? {
                return Ok(opened(created));
            }
            // Either this call is a repeat, or there are too many.
            if store::upload(&self.database, &tenant, id).await?.is_none() {
                return Err(QueueError::TooManyUploads);
            }
        }
        if let Some(taken) = store::take_upload(&self.database, &tenant, id, offset).await? {
            return Ok(opened(taken));
        }
        let found = self.find(&tenant, id).await?;
        if found.upload.stored_bytes != offset {
            return Err(QueueError::UploadOffset { stored: found.upload.stored_bytes });
        }
        if found.open {
            return Err(QueueError::UploadPieces { most: MAX_UPLOAD_RUNS });
        }
        Ok(OpenUploadResponse { upload: Some(found.upload), writer: 0 })
    }

    async fn store(&self, request: StoreBytesRequest) -> Result<StoreBytesResponse, QueueError> {
        let StoreBytesRequest { tenant, upload_id, writer, offset, bytes } = request;
        let id = parse(&upload_id)?;
        let new = NewBytes { writer, offset, bytes };
        let end = offset.checked_add(bytes).filter(|_| bytes > 0);
        let end = end.ok_or_else(|| QueueError::invalid("bytes", "must be at least 1, and end below 2^64"))?;
        if let Some(stored) = store::store_bytes(&self.database, &tenant, id, new, self.retention).await? {
            return Ok(StoreBytesResponse { upload: Some(stored.upload) });
        }
        let found = self.find(&tenant, id).await?;
        // The answer to this very call was lost.
        if found.writer == writer && found.upload.stored_bytes == end {
            return Ok(StoreBytesResponse { upload: Some(found.upload) });
        }
        Err(QueueError::UploadWriterReplaced)
    }

    async fn seal(&self, request: SealUploadRequest) -> Result<SealUploadResponse, QueueError> {
        let SealUploadRequest { tenant, upload_id, writer, total_bytes } = request;
        let id = parse(&upload_id)?;
        if store::seal_upload(&self.database, &tenant, id, writer, total_bytes).await?.is_none() {
            let found = self.find(&tenant, id).await?;
            if found.open && found.writer != writer {
                return Err(QueueError::UploadWriterReplaced);
            }
            if found.upload.stored_bytes != total_bytes {
                return Err(QueueError::UploadOffset { stored: found.upload.stored_bytes });
            }
        }
        let runs = store::upload_runs(&self.database, id).await?;
        Ok(SealUploadResponse { layout: Some(UploadLayout { total_bytes, part_bytes: UPLOAD_PART_BYTES, runs }) })
    }

    async fn complete(&self, request: CompleteUploadRequest) -> Result<CompleteUploadResponse, QueueError> {
        let CompleteUploadRequest { tenant, upload_id } = request;
        let id = parse(&upload_id)?;
        let completed = store::complete_upload(&self.database, &tenant, id, self.retention).await?;
        let stored = match completed {
            Some(stored) => stored,
            None => self.find(&tenant, id).await?,
        };
        if stored.open {
            return Err(QueueError::Protocol("an upload that is not closed cannot be complete"));
        }
        Ok(CompleteUploadResponse { upload: Some(stored.upload) })
    }
}

fn opened(stored: StoredUpload) -> OpenUploadResponse {
    OpenUploadResponse { upload: Some(stored.upload), writer: stored.writer }
}

fn parse(upload_id: &str) -> Result<Uuid, QueueError> {
    let id = is_upload_id(upload_id).then(|| Uuid::try_parse(upload_id).ok()).flatten();
    id.ok_or_else(|| QueueError::invalid("upload_id", "must be 32 of 0-9 a-f"))
}

#[tonic::async_trait]
impl UploadService for UploadRpc {
    async fn open_upload(&self, request: Request<OpenUploadRequest>) -> Result<Response<OpenUploadResponse>, Status> {
        Ok(Response::new(self.open(request.into_inner()).await?))
    }

    async fn store_bytes(&self, request: Request<StoreBytesRequest>) -> Result<Response<StoreBytesResponse>, Status> {
        Ok(Response::new(self.store(request.into_inner()).await?))
    }

    async fn seal_upload(&self, request: Request<SealUploadRequest>) -> Result<Response<SealUploadResponse>, Status> {
        Ok(Response::new(self.seal(request.into_inner()).await?))
    }

    async fn complete_upload(
        &self,
        request: Request<CompleteUploadRequest>,
    ) -> Result<Response<CompleteUploadResponse>, Status> {
        Ok(Response::new(self.complete(request.into_inner()).await?))
    }

    async fn get_upload(&self, request: Request<GetUploadRequest>) -> Result<Response<GetUploadResponse>, Status> {
        let GetUploadRequest { tenant, upload_id } = request.into_inner();
        let found = self.find(&tenant, parse(&upload_id)?).await?;
        Ok(Response::new(GetUploadResponse { upload: Some(found.upload) }))
    }

    async fn delete_upload(
        &self,
        request: Request<DeleteUploadRequest>,
    ) -> Result<Response<DeleteUploadResponse>, Status> {
        let DeleteUploadRequest { tenant, upload_id } = request.into_inner();
        let deleted = store::delete_upload(&self.database, &tenant, parse(&upload_id)?).await;
        if deleted.map_err(QueueError::from)? {
            Ok(Response::new(DeleteUploadResponse {}))
        } else {
            Err(QueueError::UploadNotFound.into())
        }
    }
}
