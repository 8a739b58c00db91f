//! Progress of a submission, whenever it changes and not too often.

use std::{sync::Arc, time::Duration};

use hashmesh::{
    limits,
    queue::v1::{WatchSubmissionRequest, WatchSubmissionResponse, watch_submission_response::Frame},
    v1::{Draining, Submission},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{
    Frames, OUTGOING, Shared,
    resolve::{Found, final_state},
};
use crate::error::QueueError;

/// Whether a submission waits for a worker shows in no counter; it is looked at this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

type Out = mpsc::Sender<Result<WatchSubmissionResponse, Status>>;

/// Serves `WatchSubmission`.
pub(super) async fn serve(
    shared: Arc<Shared>,
    request: WatchSubmissionRequest,
) -> Result<Frames<WatchSubmissionResponse>, QueueError> {
    let found = shared.resolve(&request.tenant, &request.submission_id).await?;
    let (out, frames) = mpsc::channel(OUTGOING);
    tokio::spawn(async move {
        let closed = out.clone();
        tokio::select! {
            result = watch(&shared, &found, &out) => if let Err(error) = result {
                let _ = out.send(Err(error.into())).await;
            },
            () = closed.closed() => {}
        }
    });
    Ok(Box::pin(ReceiverStream::new(frames)))
}

async fn watch(shared: &Shared, found: &Found, out: &Out) -> Result<(), QueueError> {
    let mut shown: Option<Submission> = None;
    let mut tail = match found {
        Found::Live(handle) => Some(handle.tail()),
        Found::Finished(..) => None,
    };
    loop {
        if let Some(tail) = &mut tail {
            tail.mark_unchanged();
        }
        let submission = shared.submission(found.id()).await?;
        let ended = final_state(&submission);
        if shown.as_ref() != Some(&submission) {
            shown = Some(submission.clone());
            if send(out, Frame::Submission(submission)).await.is_err() {
                return Ok(());
            }
        }
        let (Found::Live(handle), Some(tail), false) = (found, &mut tail, ended) else { return Ok(()) };
        let change = async {
            tokio::time::sleep(limits::WATCH_INTERVAL).await;
            tail.changed().await
        };
        tokio::select! {
            changed = tokio::time::timeout(LOOK_INTERVAL, change) => {
                // A tail that is gone has either ended, which the tables show by now, or failed.
                if matches!(changed, Ok(Err(_))) && !handle.tail().borrow().ended {
                    return Err(handle.failure());
                }
            }
            () = shared.shutdown.wait() => {
                let _ = send(out, Frame::Draining(Draining { reason: "the queue is stopping".to_owned() })).await;
                return Ok(());
            }
        }
    }
}

async fn send(out: &Out, frame: Frame) -> Result<(), mpsc::error::SendError<Result<WatchSubmissionResponse, Status>>> {
    out.send(Ok(WatchSubmissionResponse { frame: Some(frame) })).await
}
