//! One writer of one upload: gathers parts, puts them into the store, has the Queue note them.

use std::{future::Future, time::Duration};

use bytes::{Bytes, BytesMut};
use hashmesh::{
    error::{Reason, StatusBuilder, bad_field},
    gateway::v1::OpenUpload,
    limits::{MAX_UPLOAD_FRAME_BYTES, UPLOAD_PART_BYTES},
    queue::v1 as queue,
    v1::Upload,
};
use hashmesh_runtime::{
    metrics::catalogue::gateway::UPLOADED_BYTES,
    telemetry::{self, Repeated},
};
use hashmesh_uploads::{StoreError, UploadKey};
use tokio::time::timeout;
use tonic::Status;
use uuid::Uuid;

use super::{UploadConfig, ask_uploads, upload_id};
use crate::{
    deadline::{self, Deadline},
    error,
    service::{Gateway, upload_client},
    upstream::{Repeat, Route, ask_queue},
};

/// Each part of each upload, while the store does not work.
static NOT_STORED: Repeated = Repeated::at_most(10);

/// What the store may take for a part, its repeats included. Well below the Queue's patience with what was on its way when
/// an upload was deleted.
const PUT_TIMEOUT: Duration = Duration::from_secs(60);
/// After which a store that failed is worth another try.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Frames below this are copied together: each that is kept as it came keeps what it came in.
const SMALL_FRAME_BYTES: usize = 64 * 1024;
const PART_BYTES: usize = UPLOAD_PART_BYTES as usize;

/// A writer of an upload.
#[derive(Debug)]
pub(super) struct Writing<'a> {
    gateway: &'a Gateway,
    config: &'a UploadConfig,
    key: UploadKey,
    /// Its number; 0: the upload takes no bytes.
    writer: u32,
    /// Bytes of the upload that count.
    stored_bytes: u64,
    /// What this writer puts next.
    part_number: u32,
    gathered: Gathered,
}

/// Bytes of the next part.
#[derive(Debug, Default)]
struct Gathered {
    pieces: Vec<Bytes>,
    small: BytesMut,
    bytes: usize,
}

impl Gathered {
    fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        if piece.len() < SMALL_FRAME_BYTES {
            self.small.extend_from_slice(&piece);
            if self.small.len() < SMALL_FRAME_BYTES {
                return;
            }
            self.pieces.push(self.small.split().freeze());
        } else {
            self.flush();
            self.pieces.push(piece);
        }
    }

    fn flush(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(self.small.split().freeze());
        }
    }

    fn take(&mut self) -> Vec<Bytes> {
        self.flush();
        self.bytes = 0;
        std::mem::take(&mut self.pieces)
    }
}

impl<'a> Writing<'a> {
    /// Opens the upload that the client asks for.
    pub(super) async fn open(
        gateway: &'a Gateway,
        config: &'a UploadConfig,
        tenant: String,
        open: OpenUpload,
    ) -> Result<(Self, Upload), Status> {
        let OpenUpload { upload_id: asked, offset } = open;
        let create = asked.is_empty();
        if create && offset > 0 {
            return Err(bad_field("open.offset", "must be 0 for a new upload"));
        }
        // Ours, so that asking again finds the same.
        let id = if create { Uuid::new_v4().simple().to_string() } else { upload_id("open.upload_id", asked)? };
        let key = UploadKey { tenant, upload_id: id };
        let request =
            queue::OpenUploadRequest { tenant: key.tenant.clone(), upload_id: key.upload_id.clone(), create, offset };
        let answer = ask_uploads!(gateway, Deadline::after(deadline::DEFAULT), open_upload(request))?;
        let upload = answer.upload.ok_or_else(error::internal)?;
        let writing = Self {
            gateway,
            config,
            key,
            writer: answer.writer,
            stored_bytes: upload.stored_bytes,
            part_number: 0,
            gathered: Gathered::default(),
        };
        Ok((writing, upload))
    }

    /// Takes the next bytes, and stores what makes a part of them.
    pub(super) async fn take(&mut self, mut data: Bytes) -> Result<Option<Upload>, Status> {
        if data.len() > MAX_UPLOAD_FRAME_BYTES as usize {
            let wanted = format!("may have {MAX_UPLOAD_FRAME_BYTES} bytes, has {}; send smaller frames", data.len());
            return Err(bad_field("data", wanted));
        }
        if data.is_empty() {
            return Ok(None);
        }
        if self.writer == 0 {
            let message = "the upload has all its bytes and takes no more; open a new one";
            return Err(StatusBuilder::new(Reason::UploadComplete, message).build());
        }
        let end = self.stored_bytes + (self.gathered.bytes + data.len()) as u64;
        if end > self.config.max_bytes {
            let message = format!("an upload may have {} bytes here (--upload-max-bytes)", self.config.max_bytes);
            return Err(StatusBuilder::new(Reason::UploadTooLarge, message).build());
        }
        let room = PART_BYTES - self.gathered.bytes;
        if data.len() < room {
            self.gathered.push(data);
            return Ok(None);
        }
        // A frame is smaller than a part, so there is one to store and no second.
        self.gathered.push(data.split_to(room));
        let stored = self.store().await?;
        if !data.is_empty() {
            self.gathered.push(data);
        }
        Ok(stored)
    }

    /// Stores what was gathered, if anything was.
    pub(super) async fn store(&mut self) -> Result<Option<Upload>, Status> {
        let bytes = self.gathered.bytes as u64;
        if bytes == 0 {
            return Ok(None);
        }
        let pieces = self.gathered.take();
        let put = self.config.store.put_part(&self.key, self.writer, self.part_number, pieces);
        self.in_time(put).await?;
        let request = queue::StoreBytesRequest {
            tenant: self.key.tenant.clone(),
            upload_id: self.key.upload_id.clone(),
            writer: self.writer,
            offset: self.stored_bytes,
            bytes,
        };
        let answer = ask_uploads!(self.gateway, Deadline::after(deadline::DEFAULT), store_bytes(request))?;
        self.stored_bytes += bytes;
        UPLOADED_BYTES.add(bytes, &[]);
        self.part_number += 1;
        Ok(answer.upload)
    }

    /// Completes the upload. All must be stored.
    pub(super) async fn finish(&mut self, total_bytes: u64) -> Result<Upload, Status> {
        let UploadKey { tenant, upload_id } = self.key.clone();
        let request = queue::SealUploadRequest {
            tenant: tenant.clone(),
            upload_id: upload_id.clone(),
            writer: self.writer,
            total_bytes,
        };
        let sealed = ask_uploads!(self.gateway, Deadline::after(deadline::DEFAULT), seal_upload(request))?;
        let layout = sealed.layout.ok_or_else(error::internal)?;
        self.in_time(self.config.store.put_layout(&self.key, &layout)).await?;
        let request = queue::CompleteUploadRequest { tenant, upload_id };
        let completed = ask_uploads!(self.gateway, Deadline::after(deadline::DEFAULT), complete_upload(request))?;
        completed.upload.ok_or_else(error::internal)
    }

    async fn in_time(&self, put: impl Future<Output = Result<(), StoreError>>) -> Result<(), Status> {
        let put = timeout(PUT_TIMEOUT, put).await.unwrap_or(Err(StoreError::Silent));
        put.map_err(|error| {
            if let Some(left_out) = NOT_STORED.failed() {
                tracing::warn!(error = telemetry::chain(&error), left_out, "an upload cannot be stored");
            }
            let message = format!(
                "the store of uploads failed: {}. What was stored is kept: go on with upload {} once the store works",
                error.in_short(),
                self.key.upload_id
            );
            StatusBuilder::new(Reason::UploadStoreFailed, message)
                .metadata("upload_id", &self.key.upload_id)
                .metadata("stored_bytes", self.stored_bytes)
                .retry_after(RETRY_AFTER)
                .build()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_frames_are_copied_together_and_large_ones_are_kept_in_order() {
        let mut gathered = Gathered::default();
        let large = Bytes::from(vec![1; SMALL_FRAME_BYTES]);
        for piece in [Bytes::from_static(b"a"), Bytes::from_static(b"b"), large.clone(), Bytes::from_static(b"c")] {
            gathered.push(piece);
        }
        assert_eq!(gathered.bytes, SMALL_FRAME_BYTES + 3);
        let pieces = gathered.take();
        assert_eq!(pieces, [Bytes::from_static(b"ab"), large.clone(), Bytes::from_static(b"c")]);
        assert_eq!(pieces[1].as_ptr(), large.as_ptr());
        assert_eq!(gathered.bytes, 0);
    }

    #[test]
    fn a_million_frames_of_a_byte_take_no_more_memory_than_their_bytes() {
        let mut gathered = Gathered::default();
        for _ in 0..1_000_000 {
            gathered.push(Bytes::from_static(b"x"));
        }
        assert!(gathered.pieces.len() <= 1_000_000 / SMALL_FRAME_BYTES);
        assert_eq!(gathered.take().iter().map(Bytes::len).sum::<usize>(), 1_000_000);
    }
}
