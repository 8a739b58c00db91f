//! `UploadObject`, `GetUpload`, `DeleteUpload`: objects into the mesh's own store.
//!
//! Bytes go into the store in parts, then the Queue notes that they count, then the client is told. So what a client was told
//! is there, and what it was not told it sends again: from where the Queue says that the upload ends.

mod writing;

use hashmesh::{
    error::{Reason, StatusBuilder, bad_field},
    gateway::v1 as api,
    limits::{
        DEFAULT_MAX_UPLOAD_BYTES, MAX_OPEN_UPLOADS, MAX_UPLOAD_FRAME_BYTES, MAX_UPLOAD_SILENCE, UPLOAD_PART_BYTES,
    },
    queue::v1 as queue,
    tasks::is_upload_id,
    v1::{Upload, UploadLimits},
};
use hashmesh_runtime::telemetry::{self, Repeated};
use hashmesh_uploads::{UploadKey, UploadStore};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use self::writing::Writing;
use crate::{
    admission::StreamKind,
    auth::Caller,
    call::Call,
    deadline::Deadline,
    error,
    outbound::{End, Frames, Outbound, respond},
    service::{Gateway, upload_client},
    upstream::{Repeat, Route, ask_queue},
};

/// Uploads that clients delete, while the store does not work.
static NOT_DELETED: Repeated = Repeated::at_most(10);

type Frame = api::upload_object_response::Frame;
type Request = api::upload_object_request::Frame;

/// Where a Gateway puts uploads.
#[derive(Clone, Debug)]
pub struct UploadConfig {
    /// The store, which Workers and Queues have too.
    pub store: UploadStore,
    /// Bytes of one upload at most.
    pub max_bytes: u64,
}

impl UploadConfig {
    /// A store, for uploads as large as S3's objects.
    #[must_use]
    pub fn new(store: UploadStore) -> Self {
        Self { store, max_bytes: DEFAULT_MAX_UPLOAD_BYTES }
    }

    /// What clients are told.
    pub(crate) fn announced(&self) -> UploadLimits {
        UploadLimits {
            max_upload_bytes: self.max_bytes,
            max_frame_bytes: MAX_UPLOAD_FRAME_BYTES,
            part_bytes: UPLOAD_PART_BYTES,
            max_open_uploads: MAX_OPEN_UPLOADS,
        }
    }
}

/// Asks the Queue about uploads.
macro_rules! ask_uploads {
    ($gateway:expr, $deadline:expr, $method:ident($request:expr)) => {
        ask_queue!($gateway.queue, upload_client, Route::Any, Repeat::Safe, $deadline, $method($request))
    };
}
use ask_uploads;

/// Answers at once, so that the client can send; errors of the protocol end the stream.
pub(crate) fn upload(
    gateway: &Gateway,
    caller: Caller,
    inbound: Streaming<api::UploadObjectRequest>,
) -> Result<Frames<api::UploadObjectResponse>, Status> {
    let config = config(gateway)?.clone();
    let place = gateway.admission.stream(StreamKind::Upload)?;
    let gateway = gateway.clone();
    let tenant = caller.tenant();
    Ok(respond("upload", place, caller, |outbound| run(gateway, config, tenant, inbound, outbound)))
}

/// An upload of the caller's.
pub(crate) async fn get(
    gateway: &Gateway,
    request: api::GetUploadRequest,
    call: Call,
) -> Result<api::GetUploadResponse, Status> {
    config(gateway)?;
    let request =
        queue::GetUploadRequest { tenant: call.tenant(), upload_id: upload_id("upload_id", request.upload_id)? };
    let answer = ask_uploads!(gateway, call.deadline, get_upload(request))?;
    Ok(api::GetUploadResponse { upload: answer.upload })
}

/// Deletes an upload: from then on nobody finds it, and no worker begins to read it.
pub(crate) async fn delete(
    gateway: &Gateway,
    request: api::DeleteUploadRequest,
    call: Call,
) -> Result<api::DeleteUploadResponse, Status> {
    let config = config(gateway)?;
    let key = UploadKey { tenant: call.tenant(), upload_id: upload_id("upload_id", request.upload_id)? };
    let request = queue::DeleteUploadRequest { tenant: key.tenant.clone(), upload_id: key.upload_id.clone() };
    ask_uploads!(gateway, call.deadline, delete_upload(request))?;
    // Once noted it will go in any case: the Queue empties the store.
    if let Err(error) = call.deadline.limit(async { Ok(config.store.delete_layout(&key).await) }).await?
        && let Some(left_out) = NOT_DELETED.failed()
    {
        let error = telemetry::chain(&error);
        tracing::warn!(error, left_out, "the layout of a deleted upload is still there");
    }
    Ok(api::DeleteUploadResponse {})
}

fn config(gateway: &Gateway) -> Result<&UploadConfig, Status> {
    gateway.uploads.as_ref().ok_or_else(|| {
        let message = "this mesh takes no uploads: start its Gateways, Queues and Workers with --upload-store, a directory \
                       that all of them have or s3://BUCKET/PREFIX/";
        StatusBuilder::new(Reason::UploadsDisabled, message).build()
    })
}

fn upload_id(field: &str, id: String) -> Result<String, Status> {
    if is_upload_id(&id) { Ok(id) } else { Err(bad_field(field, "must be an upload's id: 32 of 0-9 a-f")) }
}

fn frame(frame: Frame) -> api::UploadObjectResponse {
    api::UploadObjectResponse { frame: Some(frame) }
}

async fn run(
    gateway: Gateway,
    config: UploadConfig,
    tenant: String,
    mut inbound: Streaming<api::UploadObjectRequest>,
    outbound: Outbound<api::UploadObjectResponse>,
) -> Result<(), End> {
    let open = match next(&mut inbound).await? {
        Some(Request::Open(open)) => open,
        Some(Request::Data(_) | Request::Finish(_)) => {
            return Err(error::protocol_violation("the first frame must be `open`").into());
        }
        None => return Err(error::protocol_violation("the stream ended before its first frame, `open`").into()),
    };
    let (mut writing, opened) = Writing::open(&gateway, &config, tenant, open).await?;
    outbound.send(frame(Frame::Opened(opened))).await?;
    let mut ending = gateway.ending();
    loop {
        let received = tokio::select! {
            // What is here already counts, however late we come to read it.
            biased;
            received = next(&mut inbound) => received,
            draining = ending.begun() => {
                told(&outbound, writing.store().await?).await?;
                return outbound.send(frame(Frame::Draining(draining))).await;
            }
        };
        match received {
            Ok(Some(Request::Data(data))) => told(&outbound, writing.take(data).await?).await?,
            Ok(Some(Request::Finish(finish))) => {
                told(&outbound, writing.store().await?).await?;
                let completed = writing.finish(finish.total_bytes).await?;
                return outbound.send(frame(Frame::Completed(completed))).await;
            }
            Ok(Some(Request::Open(_))) => {
                return Err(error::protocol_violation("`open` must be the first frame, and the only one").into());
            }
            Ok(None) => return told(&outbound, writing.store().await?).await,
            Err(end) => {
                // What came before the client fell silent.
                told(&outbound, writing.store().await?).await?;
                return Err(end);
            }
        }
    }
}

/// Tells the client of what was stored, if anything was.
async fn told(outbound: &Outbound<api::UploadObjectResponse>, stored: Option<Upload>) -> Result<(), End> {
    let Some(stored) = stored else { return Ok(()) };
    // Who does not read keeps no place here.
    let sent = timeout(MAX_UPLOAD_SILENCE, outbound.send(frame(Frame::Stored(stored)))).await;
    sent.unwrap_or_else(|_| Err(error::deadline_exceeded().into()))
}

/// The client's next frame; none once it has sent everything.
async fn next(inbound: &mut Streaming<api::UploadObjectRequest>) -> Result<Option<Request>, End> {
    let message = Deadline::after(MAX_UPLOAD_SILENCE).limit(inbound.message()).await;
    let message = message.map_err(|status| error::from_client(&status).map_or(End::Gone, End::Status))?;
    let Some(message) = message else { return Ok(None) };
    let frame = message.frame;
    let frame = frame.ok_or_else(|| error::protocol_violation("a frame must be one of `open`, `data` and `finish`"))?;
    Ok(Some(frame))
}
