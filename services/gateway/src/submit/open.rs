//! The first frame: validated, and the stream to the Queue opened with it.

use hashmesh::{
    error::bad_field,
    gateway::v1::OpenSubmission,
    queue::v1::{
        self as queue, WriteSubmissionRequest, WriteSubmissionResponse, write_submission_request::Frame,
        write_submission_response::Frame as QueueFrame,
    },
    v1::{Opened, ResultShape},
};
use hashmesh_runtime::channel::Guarded;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::{
    error,
    reads::Reads,
    service::{Gateway, queue_client},
    upstream::{Pace, QueueSlot, Repeat, Routed as _},
    validate,
};

/// Batches on their way to the Queue. Few: each may have 4 MiB, and the transport has a window of its own.
const CAPACITY: usize = 1;

/// A validated first frame.
#[derive(Debug)]
pub(super) struct Opening {
    open: queue::OpenSubmission,
    shape: ResultShape,
}

/// An open stream to the Queue.
#[derive(Debug)]
pub(super) struct Bridge {
    pub(super) opened: Opened,
    pub(super) shape: ResultShape,
    pub(super) to_queue: mpsc::Sender<WriteSubmissionRequest>,
    pub(super) from_queue: FromQueue,
}

/// The Queue's side of the stream, with the connection's slot that it occupies.
#[derive(Debug)]
pub(super) struct FromQueue {
    pub(super) frames: Streaming<WriteSubmissionResponse>,
    pub(super) slot: QueueSlot,
}

impl Bridge {
    /// The submission's algorithms, if the Queue said them.
    pub(super) fn algorithms(&self) -> Option<Vec<i32>> {
        self.opened.options.as_ref().map(|options| options.algorithms.clone())
    }
}

impl Opening {
    pub(super) fn validate(reads: &Reads, open: OpenSubmission) -> Result<Self, Status> {
        let after_position = validate::after_position("open.after_position", open.after_position)?;
        let shape = validate::result_shape("open.result_shape", open.result_shape)?;
        let mut inner = queue::OpenSubmission {
            tenant: reads.tenant(),
            results: open.results,
            after_position,
            ..Default::default()
        };
        if open.submission_id.is_empty() {
            let options = validate::options("open.options", open.options)?;
            reads.check_expansion(&options)?;
            inner.options = Some(options);
            inner.idempotency_key = validate::idempotency_key("open.idempotency_key", open.idempotency_key)?;
        } else {
            inner.submission_id = validate::submission_id("open.submission_id", &open.submission_id)?;
            if open.options.is_some() {
                return Err(bad_field("open.options", "must not be set beside `submission_id`: they are fixed"));
            }
            if !open.idempotency_key.is_empty() {
                return Err(bad_field("open.idempotency_key", "must not be set beside `submission_id`"));
            }
        }
        Ok(Self { open: inner, shape })
    }

    /// Opens the stream to the Queue and waits for its first answer, at the owner.
    pub(super) async fn send(self, gateway: &Gateway) -> Result<Bridge, Status> {
        // To open an existing submission, or one with a key, again changes nothing.
        let existing = !self.open.submission_id.is_empty() || !self.open.idempotency_key.is_empty();
        let repeat = if existing { Repeat::Safe } else { Repeat::Unsafe };
        let open = |channel| open_at(channel, self.open.clone());
        let opening = gateway.queue.open(self.open.route(), repeat, Pace::Client, open);
        let ((to_queue, frames, opened), slot) = opening.await?;
        Ok(Bridge { opened, shape: self.shape, to_queue, from_queue: FromQueue { frames, slot } })
    }
}

async fn open_at(
    channel: Guarded,
    open: queue::OpenSubmission,
) -> Result<(mpsc::Sender<WriteSubmissionRequest>, Streaming<WriteSubmissionResponse>, Opened), Status> {
    let (to_queue, requests) = mpsc::channel(CAPACITY);
    let first = WriteSubmissionRequest { frame: Some(Frame::Open(open)) };
    // Cannot fail: the channel is new and has room for one.
    to_queue.send(first).await.map_err(|_| error::internal())?;
    let mut frames = queue_client(channel).write_submission(ReceiverStream::new(requests)).await?.into_inner();
    match frames.message().await?.and_then(|message| message.frame) {
        Some(QueueFrame::Opened(opened)) => Ok((to_queue, frames, opened)),
        // It stops before it has begun.
        Some(QueueFrame::Draining(_)) => Err(error::draining()),
        other => {
            tracing::error!(?other, "the queue's first frame was not `opened`");
            Err(error::internal())
        }
    }
}

#[cfg(test)]
mod tests {
    use hashmesh::{
        error::{Reason, reason},
        v1::SubmissionOptions,
    };

    use super::*;

    fn reads() -> Reads {
        Reads::new("tenant".into(), None)
    }

    const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    #[test]
    fn a_new_submission_gets_its_defaults_and_the_tenant() {
        let opening = Opening::validate(&reads(), OpenSubmission::default()).unwrap();
        assert_eq!(opening.open.tenant, "tenant");
        assert_eq!(opening.open.options.unwrap().max_attempts, 5);
        assert_eq!(opening.shape, ResultShape::Rows);
    }

    #[test]
    fn an_existing_submission_is_opened_without_options() {
        let existing = || OpenSubmission { submission_id: ID.to_owned(), ..Default::default() };
        assert_eq!(Opening::validate(&reads(), existing()).unwrap().open.options, None);
        for open in [
            OpenSubmission { options: Some(SubmissionOptions::default()), ..existing() },
            OpenSubmission { idempotency_key: "key".to_owned(), ..existing() },
            OpenSubmission { submission_id: "no id".to_owned(), ..Default::default() },
            OpenSubmission { result_shape: 9, ..existing() },
            OpenSubmission { after_position: u64::MAX, ..existing() },
        ] {
            assert_eq!(reason(&Opening::validate(&reads(), open).unwrap_err()), Some(Reason::InvalidArgument));
        }
    }
}
