//! From the client to the Queue: frames in turn, batches validated and held to the window.

use std::sync::Arc;

use hashmesh::{
    error::to_message,
    gateway::v1::{Batch, OpenSubmission, SubmitTasksRequest, SubmitTasksResponse, submit_tasks_request::Frame},
    queue::v1::{WriteSubmissionRequest, write_submission_request::Frame as QueueFrame},
    v1::{Rejected, Seal},
};
use hashmesh_runtime::metrics::catalogue::gateway::ENDED_STREAMS;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::window::Window;
use crate::{
    batch::Unchecked,
    error, metering,
    outbound::{End, Outbound},
    pings::Liveness,
    reads::Reads,
    spans, validate,
};

/// What the client's side of a stream needs.
#[derive(Debug)]
pub(super) struct Uplink<'a> {
    pub(super) inbound: Streaming<SubmitTasksRequest>,
    pub(super) to_queue: mpsc::Sender<WriteSubmissionRequest>,
    pub(super) window: &'a Window,
    pub(super) outbound: &'a Outbound<SubmitTasksResponse>,
    /// Set if the client promised to answer pings.
    pub(super) liveness: Option<&'a Liveness>,
    pub(super) algorithms: Option<Vec<i32>>,
    pub(super) submission_id: Arc<str>,
    pub(super) reads: &'a Reads,
}

/// The first frame, which must be `open`.
pub(super) async fn first_frame(
    inbound: &mut Streaming<SubmitTasksRequest>,
    liveness: &Liveness,
) -> Result<OpenSubmission, End> {
    let first = next(inbound, None).await?;
    liveness.heard();
    match first.and_then(|request| request.frame) {
        Some(Frame::Open(open)) => Ok(open),
        Some(other) => {
            let message = format!("the first frame must be `open`, not `{}`", name(&other));
            Err(error::protocol_violation(message).into())
        }
        None => Err(error::protocol_violation("the first frame must be `open`; the stream had none").into()),
    }
}

/// Passes frames on until the client has sent everything; then the Queue is told so too.
pub(super) async fn run(mut uplink: Uplink<'_>) -> Result<(), End> {
    while let Some(request) = next(&mut uplink.inbound, uplink.liveness).await? {
        match request.frame {
            Some(Frame::Batch(batch)) => uplink.batch(batch).await?,
            Some(Frame::Seal(seal)) => uplink.seal(seal).await?,
            // That it came is all that it says.
            Some(Frame::Pong(_)) => {}
            Some(Frame::Open(_)) => {
                return Err(error::protocol_violation("`open` must be the first frame, and the only one").into());
            }
            None => return Err(error::protocol_violation("a frame must be one of `batch`, `seal` and `pong`").into()),
        }
    }
    Ok(())
}

impl Uplink<'_> {
    /// Validates a batch and passes it on once the window has room; meanwhile nothing more is read.
    async fn batch(&mut self, batch: Batch) -> Result<(), End> {
        let sequence = batch.sequence;
        let mut span = spans::received("gateway batch", &batch.traceparent);
        span.set("hashmesh.submission_id", Arc::clone(&self.submission_id));
        span.set("hashmesh.sequence", i64::from(sequence));
        let validated = match Unchecked::of_batch(batch, self.algorithms.clone()) {
            Ok(unchecked) => unchecked.validate(self.reads).await,
            Err(status) => Err(status),
        };
        match validated {
            Ok(mut batch) => {
                let bytes = batch.byte_count;
                span.set("messaging.batch.message_count", i64::from(batch.task_count));
                span.set("hashmesh.batch.bytes", i64::from(bytes));
                batch.traceparent = spans::text(span.context());
                self.window.room(bytes).await;
                self.window.passed_on(sequence, bytes);
                metering::passed(&batch);
                self.pass_on(QueueFrame::Batch(batch)).await;
                Ok(())
            }
            Err(status) => {
                spans::refused(&mut span, &status);
                metering::refused();
                self.reject(sequence, &status).await
            }
        }
    }

    async fn seal(&self, Seal { batch_count }: Seal) -> Result<(), End> {
        let mut span = spans::received("gateway seal", "");
        span.set("hashmesh.submission_id", Arc::clone(&self.submission_id));
        match validate::batch_count("seal.batch_count", batch_count) {
            Ok(batch_count) => {
                self.pass_on(QueueFrame::Seal(Seal { batch_count })).await;
                Ok(())
            }
            Err(status) => {
                spans::refused(&mut span, &status);
                Err(status.into())
            }
        }
    }

    /// The stream lives on; batches behind this one become gaps, which the Queue refuses.
    async fn reject(&self, sequence: u32, status: &Status) -> Result<(), End> {
        let rejected = Rejected { sequence, status: Some(to_message(status)) };
        let frame = hashmesh::gateway::v1::submit_tasks_response::Frame::Rejected(rejected);
        self.outbound.send(super::frame(frame)).await
    }

    async fn pass_on(&self, frame: QueueFrame) {
        let request = WriteSubmissionRequest { frame: Some(frame) };
        if self.to_queue.send(request).await.is_err() {
            // The Queue has closed; the other direction learns why, and ends this one.
            std::future::pending::<()>().await;
        }
    }
}

/// The client's next frame; none once it has sent everything.
async fn next(
    inbound: &mut Streaming<SubmitTasksRequest>,
    liveness: Option<&Liveness>,
) -> Result<Option<SubmitTasksRequest>, End> {
    let silent = async {
        match liveness {
            Some(liveness) => liveness.silent().await,
            None => std::future::pending().await,
        }
    };
    let message = tokio::select! {
        // A frame that is here already counts, however late we come to read it.
        biased;
        message = inbound.message() => message,
        silent = silent => {
            ENDED_STREAMS.add(1, &["silent_peer"]);
            return Err(silent.into());
        }
    };
    if let Some(liveness) = liveness {
        liveness.heard();
    }
    message.map_err(|status| error::from_client(&status).map_or(End::Gone, End::Status))
}

fn name(frame: &Frame) -> &'static str {
    match frame {
        Frame::Open(_) => "open",
        Frame::Batch(_) => "batch",
        Frame::Seal(_) => "seal",
        Frame::Pong(_) => "pong",
    }
}
