//! Objects that clients bring to the mesh's own store: whole, interrupted, refused, deleted.

mod deleted;
mod faults;
mod protocol;
mod proxy;
mod whole;

use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use hashmesh::{
    client::KeyedChannel,
    gateway::v1::{
        FinishUpload, OpenUpload, SubmitBatchRequest, UploadObjectRequest,
        gateway_service_client::GatewayServiceClient, submit_batch_request::Tasks,
        upload_object_request::Frame as Request, upload_object_response::Frame,
    },
    v1::{ObjectReference, Outcome, Task, TaskRows, Upload, task::Source},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::support::{Gateway, rundir, wait::soon};

const MIB: usize = 1024 * 1024;

/// Bytes that no shift leaves as they are.
fn content(length: usize) -> Vec<u8> {
    (0..length as u64).map(|place| (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// A file of such bytes, in a directory of the test's own.
fn file(name: &str, length: usize) -> PathBuf {
    let path = rundir::directory(name).join("object");
    fs::write(&path, content(length)).expect("a file");
    path
}

/// All files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// A batch of one task, which refers to an object.
fn naming(uri: &str) -> SubmitBatchRequest {
    let object = ObjectReference { uri: uri.to_owned(), range: None };
    let task = Task { name: "object".to_owned(), source: Some(Source::Object(object)), ..Task::default() };
    let tasks = Some(Tasks::Rows(TaskRows { tasks: vec![task] }));
    SubmitBatchRequest { tasks, wait: true, ..SubmitBatchRequest::default() }
}

/// The outcome of a task that refers to an object.
async fn outcome(gateway: &mut Gateway, uri: &str) -> Result<Outcome, Status> {
    Ok(gateway.submit_batch(naming(uri)).await?.into_inner().outcomes.remove(0))
}

/// The same, with a key.
async fn outcome_of(gateway: &mut GatewayServiceClient<KeyedChannel>, uri: &str) -> Result<Outcome, Status> {
    Ok(gateway.submit_batch(naming(uri)).await?.into_inner().outcomes.remove(0))
}

fn reason(outcome: &Outcome) -> &str {
    outcome.error.as_ref().map_or("", |error| &error.reason)
}

/// A stream of `UploadObject`, frame by frame.
struct Uploading {
    sender: Option<mpsc::Sender<UploadObjectRequest>>,
    receiver: Streaming<hashmesh::gateway::v1::UploadObjectResponse>,
}

impl Uploading {
    async fn start(gateway: &Gateway) -> Result<Self, Status> {
        let (sender, frames) = mpsc::channel(4);
        let receiver = gateway.clone().upload_object(ReceiverStream::new(frames)).await?.into_inner();
        Ok(Self { sender: Some(sender), receiver })
    }

    /// Opens an upload; empty: a new one.
    async fn open(gateway: &Gateway, upload_id: &str, offset: u64) -> Result<(Self, Upload), Status> {
        let mut uploading = Self::start(gateway).await?;
        uploading.send(Request::Open(OpenUpload { upload_id: upload_id.to_owned(), offset })).await;
        match uploading.next().await? {
            Some(Frame::Opened(upload)) => Ok((uploading, upload)),
            other => panic!("wanted `opened`, found {other:?}"),
        }
    }

    /// A stream that was ended by the server takes nothing, which is seen by what comes.
    async fn send(&self, frame: Request) {
        let sender = self.sender.as_ref().expect("not half-closed");
        let _ = sender.send(UploadObjectRequest { frame: Some(frame) }).await;
    }

    async fn data(&self, data: impl Into<Bytes>) {
        self.send(Request::Data(data.into())).await;
    }

    async fn finish(&self, total_bytes: u64) {
        self.send(Request::Finish(FinishUpload { total_bytes })).await;
    }

    fn half_close(&mut self) {
        self.sender = None;
    }

    /// The next frame; none at the end.
    async fn next(&mut self) -> Result<Option<Frame>, Status> {
        Ok(soon("a frame", self.receiver.message()).await?.and_then(|message| message.frame))
    }

    /// The frames to the end, of which only the last counts.
    async fn last(&mut self) -> Result<Option<Upload>, Status> {
        let mut last = None;
        while let Some(frame) = self.next().await? {
            last = match frame {
                Frame::Stored(upload) | Frame::Completed(upload) => Some(upload),
                other => panic!("{other:?}"),
            };
        }
        Ok(last)
    }
}

/// Uploads all at once.
async fn upload(gateway: &Gateway, object: &[u8]) -> Upload {
    let (mut uploading, _) = Uploading::open(gateway, "", 0).await.expect("opened");
    let sending = async {
        for frame in object.chunks(MIB) {
            uploading.sender.as_ref().expect("open").send(data(frame)).await.expect("it takes all");
        }
        uploading.finish(object.len() as u64).await;
    };
    sending.await;
    uploading.last().await.expect("completed").expect("an upload")
}

fn data(bytes: &[u8]) -> UploadObjectRequest {
    UploadObjectRequest { frame: Some(Request::Data(Bytes::copy_from_slice(bytes))) }
}
