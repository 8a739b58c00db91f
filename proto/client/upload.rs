//! Uploading an object, across outages.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tonic_types::StatusExt as _;

use super::{connection::Client, error::ClientError, outage::Outage};
use crate::{
    error::{Reason, reason},
    gateway::v1::{
        FinishUpload, OpenUpload, UploadObjectRequest, UploadObjectResponse, upload_object_request::Frame as Request,
        upload_object_response::Frame,
    },
    limits::UPLOAD_PART_BYTES,
    v1::Upload,
};

/// Bytes that are sent and not yet stored, at most; kept, to be sent again. The server stores parts of 8 MiB, so that two are
/// on their way while a third is gathered.
const WINDOW_BYTES: u64 = 3 * UPLOAD_PART_BYTES as u64;
/// Of one frame.
const FRAME_BYTES: usize = 1024 * 1024;
/// Frames that wait for the connection.
const FRAMES_AHEAD: usize = 2;

/// An upload that takes bytes. What is not stored yet is kept (24 MiB at most) and sent again over a new connection when one
/// breaks, so that the object need not be read twice: it may come from a pipe.
#[derive(Debug)]
pub struct Uploader {
    client: Client,
    outage: Outage,
    upload: Upload,
    stream: Option<Stream>,
    /// What is not stored yet, in order.
    unstored: VecDeque<Bytes>,
    unstored_bytes: u64,
    /// How many of these were sent on the present stream.
    sent: usize,
    /// Bytes of the whole, once all are known, and whether the present stream was told.
    finish: Option<(u64, bool)>,
}

#[derive(Debug)]
struct Stream {
    to_server: mpsc::Sender<UploadObjectRequest>,
    from_server: Streaming<UploadObjectResponse>,
}

/// What came of a step.
enum Step {
    Moved,
    Completed(Upload),
    Lost(Status),
}

impl Client {
    /// Opens a new upload, or goes on with one: then what follows must begin at [`Uploader::offset`].
    ///
    /// # Errors
    /// If it is refused, or an outage lasts too long.
    pub async fn upload(&self, upload_id: Option<&str>) -> Result<Uploader, ClientError> {
        let upload = match upload_id {
            Some(id) => self.get_upload(id).await?,
            None => Upload::default(),
        };
        let mut uploader = Uploader {
            client: self.clone(),
            outage: self.outage(),
            upload,
            stream: None,
            unstored: VecDeque::new(),
            unstored_bytes: 0,
            sent: 0,
            finish: None,
        };
        while uploader.stream.is_none() {
            uploader.reopen().await?;
        }
        Ok(uploader)
    }
}

impl Uploader {
    /// The upload, as far as the server has told.
    #[must_use]
    pub fn upload(&self) -> &Upload {
        &self.upload
    }

    /// Where the next byte that is written stands in the object.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.upload.stored_bytes + self.unstored_bytes
    }

    /// Sends the next bytes. Returns once they are on their way and little enough is not stored yet.
    ///
    /// # Errors
    /// If it is refused, or an outage lasts too long. What [`Uploader::upload`] says is stored is kept.
    pub async fn write(&mut self, mut data: Bytes) -> Result<(), ClientError> {
        self.unstored_bytes += data.len() as u64;
        while !data.is_empty() {
            self.unstored.push_back(data.split_to(data.len().min(FRAME_BYTES)));
        }
        while self.stream.is_none() || self.sent < self.unstored.len() || self.unstored_bytes > WINDOW_BYTES {
            if self.step().await?.is_some() {
                return Err(ClientError::Protocol("an upload was completed before its end".to_owned()));
            }
        }
        Ok(())
    }

    /// Completes the upload.
    ///
    /// # Errors
    /// If it is refused, or an outage lasts too long.
    pub async fn finish(mut self) -> Result<Upload, ClientError> {
        self.finish = Some((self.offset(), false));
        loop {
            if let Some(completed) = self.step().await? {
                return Ok(completed);
            }
        }
    }

    /// Sends or receives one frame, or makes a new connection.
    async fn step(&mut self) -> Result<Option<Upload>, ClientError> {
        let Some(stream) = &mut self.stream else {
            self.reopen().await?;
            return Ok(None);
        };
        let next = match (self.unstored.get(self.sent), self.finish) {
            (Some(piece), _) => Some(Request::Data(piece.clone())),
            (None, Some((total_bytes, false))) => Some(Request::Finish(FinishUpload { total_bytes })),
            _ => None,
        };
        let finishing = matches!(next, Some(Request::Finish(_)));
        let received = tokio::select! {
            received = stream.from_server.message() => Some(received),
            place = stream.to_server.reserve(), if next.is_some() => match place {
                Ok(place) => {
                    place.send(UploadObjectRequest { frame: next });
                    None
                }
                // What the server says about that has come, or will.
                Err(_closed) => Some(stream.from_server.message().await),
            },
        };
        let step = match received {
            None if finishing => {
                self.finish = self.finish.map(|(total, _)| (total, true));
                Step::Moved
            }
            None => {
                self.sent += 1;
                Step::Moved
            }
            Some(Ok(Some(frame))) => self.received(frame)?,
            Some(Ok(None)) => Step::Lost(Status::unavailable("the server ended the stream before the upload's end")),
            Some(Err(status)) => Step::Lost(status),
        };
        match step {
            Step::Moved => Ok(None),
            Step::Completed(upload) => Ok(Some(upload)),
            Step::Lost(status) => {
                self.close();
                self.outage.wait(&self.client.config().server, status).await?;
                Ok(None)
            }
        }
    }

    fn received(&mut self, response: UploadObjectResponse) -> Result<Step, ClientError> {
        match response.frame {
            Some(Frame::Stored(upload)) => {
                self.advance(upload)?;
                self.outage.over();
                Ok(Step::Moved)
            }
            Some(Frame::Completed(upload)) => Ok(Step::Completed(upload)),
            Some(Frame::Draining(draining)) => {
                self.close();
                tracing::debug!(reason = draining.reason, "the server is stopping; connecting again");
                Ok(Step::Moved)
            }
            Some(Frame::Opened(_)) => Err(ClientError::Protocol("an upload was opened twice".to_owned())),
            // A newer server's.
            None => Ok(Step::Moved),
        }
    }

    fn close(&mut self) {
        self.stream = None;
        self.sent = 0;
        self.finish = self.finish.map(|(total, _)| (total, false));
    }

    /// One attempt at a new stream, from what is stored.
    async fn reopen(&mut self) -> Result<(), ClientError> {
        let open = OpenUpload { upload_id: self.upload.upload_id.clone(), offset: self.upload.stored_bytes };
        match self.try_open(open).await {
            Ok((stream, upload)) => {
                self.advance(upload)?;
                self.stream = Some(stream);
                Ok(())
            }
            Err(status) if reason(&status) == Some(Reason::UploadOffset) => {
                // More is stored than we were told.
                let details = status.get_details_error_info();
                let stored = details.and_then(|info| info.metadata.get("stored_bytes")?.parse().ok());
                let stored = stored.filter(|stored| *stored > self.upload.stored_bytes);
                let stored_bytes = stored.ok_or(ClientError::Refused(status))?;
                self.advance(Upload { stored_bytes, ..self.upload.clone() })
            }
            Err(status) => self.outage.wait(&self.client.config().server, status).await,
        }
    }

    async fn try_open(&self, open: OpenUpload) -> Result<(Stream, Upload), Status> {
        let (to_server, frames) = mpsc::channel(FRAMES_AHEAD);
        let first = UploadObjectRequest { frame: Some(Request::Open(open)) };
        to_server.send(first).await.map_err(|_| Status::internal("a new channel is closed"))?;
        let opening = async {
            let mut gateway = self.client.fresh_gateway();
            let mut from_server = gateway.upload_object(ReceiverStream::new(frames)).await?.into_inner();
            match from_server.message().await?.and_then(|response| response.frame) {
                Some(Frame::Opened(upload)) => Ok((Stream { to_server, from_server }, upload)),
                _ => Err(Status::unavailable("the server did not open the upload")),
            }
        };
        let opened = tokio::time::timeout(self.client.config().attempt_timeout, opening).await;
        opened.unwrap_or_else(|_| Err(Status::unavailable("the server did not open the upload in time")))
    }

    /// Lets go of what is stored now.
    fn advance(&mut self, upload: Upload) -> Result<(), ClientError> {
        let mut newly = upload.stored_bytes.saturating_sub(self.upload.stored_bytes);
        let nothing_written = self.unstored.is_empty() && self.finish.is_none();
        self.upload = upload;
        if nothing_written {
            return Ok(());
        }
        if newly > self.unstored_bytes {
            let found = "more of the upload is stored than was sent: somebody else writes to it".to_owned();
            return Err(ClientError::Protocol(found));
        }
        self.unstored_bytes -= newly;
        while newly > 0 {
            let Some(front) = self.unstored.front_mut() else { break };
            let length = front.len() as u64;
            if length > newly {
                // Below the piece's length, hence a usize.
                front.advance(newly as usize);
                break;
            }
            newly -= length;
            self.unstored.pop_front();
            self.sent = self.sent.saturating_sub(1);
        }
        Ok(())
    }
}
