//! The way to a worker: bounded channels that know how many bytes of leases wait in them for the worker to read them.
//!
//! Small leases pass large ones: whoever came with one task would wait behind all that a worker was given before.

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

/// Leases of more payload are large.
const SMALL_BYTES: usize = 16 * 1024;
/// So many small leases may pass a large one.
const PASSING: u32 = 16;

/// Where frames for a worker are put in. When it is dropped, the stream ends after what was put in.
#[derive(Debug)]
pub(crate) struct ToWorker {
    frames: mpsc::Sender<LeaseTasksResponse>,
    small: mpsc::Sender<LeaseTasksResponse>,
    unread_bytes: Arc<AtomicU64>,
}

/// The frames as the stream sends them.
#[derive(Debug)]
pub(crate) struct WorkerFrames {
    frames: mpsc::Receiver<LeaseTasksResponse>,
    small: mpsc::Receiver<LeaseTasksResponse>,
    /// Small leases that may go before the next of the other frames. Nothing goes before the first.
    passing: u32,
    /// A revocation, and how many small leases were put in before it at most: it must not come before its lease.
    revoked: Option<(LeaseTasksResponse, usize)>,
    unread_bytes: Arc<AtomicU64>,
}

/// There is no room: the worker does not read, or is gone.
#[derive(Debug)]
pub(crate) struct NotRead;

/// The way to a worker, with room for `capacity` frames of either size.
pub(crate) fn to_worker(capacity: usize) -> (ToWorker, WorkerFrames) {
    let (frames, other_frames) = mpsc::channel(capacity);
    let (small, small_frames) = mpsc::channel(capacity);
    let unread_bytes = Arc::new(AtomicU64::new(0));
    let to_worker = ToWorker { frames, small, unread_bytes: Arc::clone(&unread_bytes) };
    (to_worker, WorkerFrames { frames: other_frames, small: small_frames, passing: 0, revoked: None, unread_bytes })
}

impl ToWorker {
    /// Puts a frame in, if there is room.
    pub(crate) fn send(&self, frame: Frame) -> Result<(), NotRead> {
        let frame = LeaseTasksResponse { frame: Some(frame) };
        // Before it can be taken out.
        let bytes = payload_bytes(&frame);
        self.unread_bytes.fetch_add(bytes, Ordering::Relaxed);
        let way = if is_small_lease(&frame) { &self.small } else { &self.frames };
        way.try_send(frame).map_err(|_| {
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

impl WorkerFrames {
    fn poll_small(&mut self, context: &mut Context<'_>) -> Poll<Option<LeaseTasksResponse>> {
        let polled = self.small.poll_recv(context);
        if let Poll::Ready(Some(_)) = polled {
            self.passing = self.passing.saturating_sub(1);
        }
        polled
    }

    fn poll_other(&mut self, context: &mut Context<'_>) -> Poll<Option<LeaseTasksResponse>> {
        if self.revoked.is_none() {
            let polled = self.frames.poll_recv(context);
            let Poll::Ready(Some(frame)) = polled else { return polled };
            self.passing = PASSING;
            if !matches!(frame.frame, Some(Frame::Revoke(_))) {
                return Poll::Ready(Some(frame));
            }
            self.revoked = Some((frame, self.small.len()));
        }
        if let Some((_, before @ 1..)) = &mut self.revoked {
            *before -= 1;
            if let polled @ Poll::Ready(Some(_)) = self.small.poll_recv(context) {
                return polled;
            }
        }
        Poll::Ready(self.revoked.take().map(|(frame, _)| frame))
    }
}

impl Stream for WorkerFrames {
    type Item = LeaseTasksResponse;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let small_first = self.passing > 0;
        let first = if small_first { self.poll_small(context) } else { self.poll_other(context) };
        let polled = match first {
            Poll::Ready(Some(_)) => first,
            _ => match if small_first { self.poll_other(context) } else { self.poll_small(context) } {
                // Both are over, or neither has anything now.
                Poll::Ready(None) => first,
                second => second,
            },
        };
        if let Poll::Ready(Some(frame)) = &polled {
            self.unread_bytes.fetch_sub(payload_bytes(frame), Ordering::Relaxed);
        }
        polled
    }
}

fn is_small_lease(frame: &LeaseTasksResponse) -> bool {
    matches!(&frame.frame, Some(Frame::Lease(lease)) if lease.tasks.len() <= SMALL_BYTES)
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
    use hashmesh::queue::v1::{Drain, Lease, Revoke};

    use super::*;

    #[test]
    fn leases_are_counted_until_the_stream_takes_them_and_what_finds_no_room_is_not() {
        let (to_worker, mut frames) = to_worker(3);
        let lease = |bytes| Frame::Lease(Lease { tasks: vec![0; bytes].into(), ..Lease::default() });
        let large = SMALL_BYTES + 1;
        for frame in [lease(large), Frame::Drain(Drain::default()), lease(large), lease(1), lease(1), lease(1)] {
            to_worker.send(frame).unwrap();
        }
        assert!(to_worker.send(lease(large)).is_err());
        assert!(to_worker.send(lease(1)).is_err());
        let mut unread = 2 * large as u64 + 3;
        for taken in [large, 1, 1, 1, 0, large] {
            unread -= taken as u64;
            frames.next().now_or_never().unwrap().unwrap();
            assert_eq!(to_worker.unread_bytes(), unread);
        }
    }

    #[test]
    fn a_revocation_does_not_pass_the_lease_that_it_revokes() {
        let (to_worker, mut frames) = to_worker(100);
        let lease =
            |lease_id, bytes| Frame::Lease(Lease { lease_id, tasks: vec![0; bytes].into(), ..Lease::default() });
        let revoke = |lease_id| Frame::Revoke(Revoke { lease_id, reason: String::new() });
        let sent = [lease(1, 1), lease(2, 1), revoke(2), lease(3, SMALL_BYTES + 1), revoke(3), lease(4, 1), revoke(4)];
        for frame in sent {
            to_worker.send(frame).unwrap();
        }
        drop(to_worker);
        let mut leased = Vec::new();
        while let Some(frame) = frames.next().now_or_never().unwrap() {
            match frame.frame.unwrap() {
                Frame::Lease(lease) => leased.push(lease.lease_id),
                Frame::Revoke(revoke) => {
                    assert!(leased.contains(&revoke.lease_id), "{} after {leased:?}", revoke.lease_id);
                }
                other => panic!("nobody sent {other:?}"),
            }
        }
        assert_eq!(leased.len(), 4);
    }

    #[test]
    fn small_leases_pass_large_ones_for_a_while_and_nothing_passes_the_first_frame() {
        let (to_worker, mut frames) = to_worker(100);
        let lease = |bytes| Frame::Lease(Lease { tasks: vec![0; bytes].into(), ..Lease::default() });
        to_worker.send(Frame::Drain(Drain::default())).unwrap();
        (0..2).for_each(|_| to_worker.send(lease(SMALL_BYTES + 1)).unwrap());
        (0..20).for_each(|_| to_worker.send(lease(SMALL_BYTES)).unwrap());
        drop(to_worker);
        let sizes: Vec<u64> =
            std::iter::from_fn(|| frames.next().now_or_never().unwrap()).map(|frame| payload_bytes(&frame)).collect();
        let (small, large) = (SMALL_BYTES as u64, SMALL_BYTES as u64 + 1);
        let expected = [vec![0], vec![small; 16], vec![large], vec![small; 4], vec![large]].concat();
        assert_eq!(sizes, expected);
    }
}
