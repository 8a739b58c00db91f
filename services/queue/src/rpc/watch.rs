//! Progress of a submission, whenever it changes and not too often.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use hashmesh::{
    limits,
    queue::v1::{WatchSubmissionRequest, WatchSubmissionResponse, watch_submission_response::Frame},
    v1::Draining,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{
    Frames, MOVES, OUTGOING, STOPS, Shared,
    resolve::{Found, final_state},
};
use crate::{error::QueueError, measures::StreamKind};

/// Whether a submission waits for a worker shows in no counter; it is looked at this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// The same of all watchers together: with very many, each looks less often.
const LOOKS_APART: Duration = Duration::from_millis(2);

/// How many watch.
#[derive(Debug, Default)]
pub(crate) struct Watchers(AtomicU32);

/// One that watches, until this is dropped.
struct Watcher<'a>(&'a Watchers);

impl Watchers {
    fn enter(&self) -> Watcher<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Watcher(self)
    }

    fn look_interval(&self) -> Duration {
        LOOK_INTERVAL.max(LOOKS_APART * self.0.load(Ordering::Relaxed))
    }
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

type Out = mpsc::Sender<Result<WatchSubmissionResponse, Status>>;

/// Serves `WatchSubmission`.
pub(super) async fn serve(
    shared: Arc<Shared>,
    request: WatchSubmissionRequest,
) -> Result<Frames<WatchSubmissionResponse>, QueueError> {
    let found = shared.resolve(&request.tenant, &request.submission_id).await?;
    let (out, frames) = mpsc::channel(OUTGOING);
    let open = shared.measures.open_stream(StreamKind::Watch);
    tokio::spawn(async move {
        let (_open, closed) = (open, out.clone());
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
    let _watcher = shared.watchers.enter();
    let mut tail = match found {
        Found::Live(handle) => Some(handle.tail()),
        Found::Finished(..) => None,
    };
    if let Some(tail) = &mut tail {
        tail.mark_unchanged();
    }
    let (mut submission, mut news) = (shared.submission(found.id()).await?, true);
    loop {
        if news && send(out, Frame::Submission(submission.clone())).await.is_err() {
            return Ok(());
        }
        let ended = final_state(&submission);
        let (Found::Live(handle), Some(tail), false) = (found, &mut tail, ended) else { return Ok(()) };
        let change = async {
            tokio::time::sleep(limits::WATCH_INTERVAL).await;
            tail.changed().await
        };
        let changed = tokio::select! {
            changed = tokio::time::timeout(shared.watchers.look_interval(), change) => changed,
            () = shared.shutdown.wait() => return drain(out, STOPS).await,
        };
        let now = match changed {
            // A tail that is gone has either ended, which the tables show by now, or failed.
            Ok(Err(_)) if !handle.tail().borrow().ended => match handle.failure() {
                QueueError::NotOwner { .. } => return drain(out, MOVES).await,
                error => return Err(error),
            },
            Ok(_) => shared.submission(found.id()).await?,
            // What is stored is as it was.
            Err(_) => {
                let mut now = submission.clone();
                shared.look(found.id(), &mut now).await?;
                now
            }
        };
        news = now != submission;
        submission = now;
    }
}

/// Announces the end of the stream; a reader that is gone needs none.
async fn drain(out: &Out, reason: &str) -> Result<(), QueueError> {
    let _ = send(out, Frame::Draining(Draining { reason: reason.to_owned() })).await;
    Ok(())
}

async fn send(out: &Out, frame: Frame) -> Result<(), mpsc::error::SendError<Result<WatchSubmissionResponse, Status>>> {
    out.send(Ok(WatchSubmissionResponse { frame: Some(frame) })).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn very_many_watchers_look_less_often() {
        let watchers = Watchers::default();
        assert_eq!(watchers.look_interval(), LOOK_INTERVAL);
        let watching: Vec<_> = (0..50_000).map(|_| watchers.enter()).collect();
        assert_eq!(watchers.look_interval(), Duration::from_secs(100));
        drop(watching);
        assert_eq!(watchers.look_interval(), LOOK_INTERVAL);
    }
}
