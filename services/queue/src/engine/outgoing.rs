//! The way to a worker: a bounded channel that knows how many bytes of leases wait in it for the worker to read them.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use futures::Stream;
use hashmesh::queue::v1::{LeaseTasksResponse, lease_tasks_response::Frame};
use tokio::sync::mpsc;

/// Where frames for a worker are put in. When it is dropped, the stream ends after what was put in.
#[derive(Debug)]
pub(crate) struct ToWorker {
    frames: mpsc::Sender<LeaseTasksResponse>,
    unread_bytes: Arc<AtomicU64>,
}

/// The frames as the stream sends them.
#[derive(Debug)]
pub(crate) struct WorkerFrames {
    frames: mpsc::Receiver<LeaseTasksResponse>,
    unread_bytes: Arc<AtomicU64>,
}

/// There is no room: the worker does not read, or is gone.
#[derive(Debug)]
pub(crate) struct NotRead;

/// The way to a worker, with room for `capacity` frames.
pub(crate) fn to_worker(capacity: usize) -> (ToWorker, WorkerFrames) {
    let (sender, receiver) = mpsc::channel(capacity);
    let unread_bytes = Arc::new(AtomicU64::new(0));
    let to_worker = ToWorker { frames: sender, unread_bytes: Arc::clone(&unread_bytes) };
    (to_worker, WorkerFrames { frames: receiver, unread_bytes })
}

impl ToWorker {
    /// Puts a frame in, if there is room.
    pub(crate) fn send(&self, frame: Frame) -> Result<(), NotRead> {
        let frame = LeaseTasksResponse { frame: Some(frame) };
        // Before it can be taken out.
        let bytes = payload_bytes(&frame);
        self.unread_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.frames.try_send(frame).map_err(|_| {
            self.unread_bytes.fetch_sub(bytes, Ordering::Relaxed);
            NotRead
        })
    }

    /// Bytes of leases that the transport has not taken yet.
    pub(crate) fn unread_bytes(&self) -> u64 {
        self.unread_bytes.load(Ordering::Relaxed)
    }

    /// A way for frames without payload that does not keep the stream open.
    pub(crate) fn downgrade(&self) -> mpsc::WeakSender<LeaseTasksResponse> {
        self.frames.downgrade()
    }
}

impl Stream for WorkerFrames {
    type Item = LeaseTasksResponse;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.frames.poll_recv(context);
        if let Poll::Ready(Some(frame)) = &polled {
            self.unread_bytes.fetch_sub(payload_bytes(frame), Ordering::Relaxed);
        }
        polled
    }
}

fn payload_bytes(frame: &LeaseTasksResponse) -> u64 {
    match &frame.frame {
        Some(Frame::Lease(lease)) => lease.tasks.len() as u64,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, StreamExt as _};
    use hashmesh::queue::v1::{Drain, Lease};

    use super::*;

    #[test]
    fn leases_are_counted_until_the_stream_takes_them_and_what_finds_no_room_is_not() {
        let (to_worker, mut frames) = to_worker(3);
        let lease = || Frame::Lease(Lease { tasks: vec![0; 100].into(), ..Lease::default() });
        to_worker.send(lease()).unwrap();
        to_worker.send(Frame::Drain(Drain::default())).unwrap();
        to_worker.send(lease()).unwrap();
        assert!(to_worker.send(lease()).is_err());
        for left in [100, 100, 0] {
            frames.next().now_or_never().unwrap().unwrap();
            assert_eq!(to_worker.unread_bytes(), left);
        }
    }
}
