//! The frames of one response stream: a bounded channel that a task fills, which ends when the client is gone.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures::Stream;
use hashmesh_runtime::{tasks, trace};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use crate::{admission::Place, auth::Caller};

/// Frames that wait for the client. Few: each may have 1 MiB, and the transport has a window of its own.
const CAPACITY: usize = 2;

/// A response stream. Dropping it, as the server does when the client is gone, ends the task behind it.
#[derive(Debug)]
pub(crate) struct Frames<T> {
    frames: mpsc::Receiver<Result<T, Status>>,
    _task: AbortOnDropHandle<()>,
}

impl<T> Stream for Frames<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.frames.poll_recv(context)
    }
}

/// Why a stream's task ends before its work is done.
#[derive(Debug)]
pub(crate) enum End {
    /// The client is told why.
    Status(Status),
    /// The client is gone.
    Gone,
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// Where a stream's task puts its frames.
#[derive(Debug)]
pub(crate) struct Outbound<T> {
    frames: mpsc::Sender<Result<T, Status>>,
}

impl<T> Clone for Outbound<T> {
    fn clone(&self) -> Self {
        Self { frames: self.frames.clone() }
    }
}

impl<T> Outbound<T> {
    /// Sends a frame, waiting for the client to read.
    pub(crate) async fn send(&self, frame: T) -> Result<(), End> {
        self.frames.send(Ok(frame)).await.map_err(|_| End::Gone)
    }

    /// Waits until a frame need not wait.
    pub(crate) async fn room(&self) -> Result<mpsc::Permit<'_, Result<T, Status>>, End> {
        self.frames.reserve().await.map_err(|_| End::Gone)
    }
}

/// Starts the task behind a response stream. It holds the stream's place until it ends; it ends when the caller's key is
/// accepted no more.
pub(crate) fn respond<T, F>(
    name: &'static str,
    place: Place,
    caller: Caller,
    work: impl FnOnce(Outbound<T>) -> F,
) -> Frames<T>
where
    T: Send + 'static,
    F: Future<Output = Result<(), End>> + Send + 'static,
{
    let (sender, frames) = mpsc::channel(CAPACITY);
    let work = work(Outbound { frames: sender.clone() });
    // The task makes calls of its own, and makes spans of frames.
    let task = tasks::spawn_owned(
        name,
        trace::within(trace::current(), async move {
            let _place = place;
            let ended = tokio::select! {
                ended = work => ended,
                status = caller.turned_away() => Err(End::Status(status)),
            };
            if let Err(End::Status(status)) = ended {
                // If this fails the client is gone, and nobody is left to be told.
                let _gone = sender.send(Err(status)).await;
            }
        }),
    );
    Frames { frames, _task: task }
}
