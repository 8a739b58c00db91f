//! What goes out on a stream, in order of urgency: `hello`, claims, the newest heartbeat, credit, `draining`, then outcomes
//! and nacks in the order in which they were put in.
//!
//! Heartbeats and credit are values and not a queue: a newer heartbeat replaces one that is still waiting, credit adds
//! up; of claims one is under way at a time. So they need no room, never wait behind outcomes, and whoever puts them in is
//! never blocked: the session goes on reading while the queue does not read, and neither can hold the other up for ever.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use futures::{Stream, task::AtomicWaker};
use hashmesh::queue::v1::{
    Claims, Credit, Heartbeat, Hello, LeaseTasksRequest, WorkerDraining, lease_tasks_request::Frame,
};
use tokio::sync::mpsc;

use crate::config::CreditLimit;

/// Frames of outcomes that wait to be sent. Executions beyond it wait, and with them the credit they hold.
const WAITING_FRAMES: usize = 64;

/// Where frames are put in. Clones share it; when all are dropped, the stream ends after what was put in.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    frames: mpsc::Sender<Frame>,
    urgent: UrgentFrames,
}

/// Where claims, heartbeats, credit and `draining` are put in. Does not keep the stream open.
#[derive(Clone, Debug)]
pub(crate) struct UrgentFrames {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    urgent: Mutex<Urgent>,
    waker: AtomicWaker,
}

#[derive(Debug, Default)]
struct Urgent {
    hello: Option<Hello>,
    claims: Option<Claims>,
    heartbeat: Option<Heartbeat>,
    credit_tasks: u32,
    credit_bytes: u64,
    draining: bool,
}

/// The frames as the stream sends them.
#[derive(Debug)]
pub(crate) struct OutgoingFrames {
    frames: mpsc::Receiver<Frame>,
    shared: Arc<Shared>,
}

/// The stream is over; its session knows why.
#[derive(Debug)]
pub(crate) struct StreamOver;

/// An outbox whose first frame is `hello`.
pub(crate) fn outbox(hello: Hello) -> (Outbox, OutgoingFrames) {
    let (sender, frames) = mpsc::channel(WAITING_FRAMES);
    let urgent = Urgent { hello: Some(hello), ..Urgent::default() };
    let shared = Arc::new(Shared { urgent: Mutex::new(urgent), waker: AtomicWaker::new() });
    let urgent = UrgentFrames { shared: Arc::clone(&shared) };
    (Outbox { frames: sender, urgent }, OutgoingFrames { frames, shared })
}

impl Outbox {
    /// Sends outcomes or a nack, when there is room.
    pub(crate) async fn send(&self, frame: Frame) -> Result<(), StreamOver> {
        self.frames.send(frame).await.map_err(|_| StreamOver)
    }

    /// The way for urgent frames.
    pub(crate) fn urgent(&self) -> &UrgentFrames {
        &self.urgent
    }
}

impl UrgentFrames {
    /// Claims leases. Those before must have been answered.
    pub(crate) fn claim(&self, claims: Claims) {
        self.put(|urgent| urgent.claims = Some(claims));
    }

    /// Sends a heartbeat, instead of any that still waits.
    pub(crate) fn beat(&self, heartbeat: Heartbeat) {
        self.put(|urgent| urgent.heartbeat = Some(heartbeat));
    }

    /// Grants more work.
    pub(crate) fn grant(&self, credit: CreditLimit) {
        self.put(|urgent| {
            urgent.credit_tasks = urgent.credit_tasks.saturating_add(credit.tasks);
            urgent.credit_bytes = urgent.credit_bytes.saturating_add(credit.bytes);
        });
    }

    /// Says that the worker takes no more leases.
    pub(crate) fn drain(&self) {
        self.put(|urgent| urgent.draining = true);
    }

    fn put(&self, change: impl FnOnce(&mut Urgent)) {
        change(&mut self.shared.lock());
        self.shared.waker.wake();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Urgent> {
        // Its fields are independent of one another: nothing can be half done.
        self.urgent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Urgent {
    fn take(&mut self) -> Option<Frame> {
        if let Some(hello) = self.hello.take() {
            return Some(Frame::Hello(hello));
        }
        if let Some(claims) = self.claims.take() {
            return Some(Frame::Claims(claims));
        }
        if let Some(heartbeat) = self.heartbeat.take() {
            return Some(Frame::Heartbeat(heartbeat));
        }
        if self.credit_tasks > 0 || self.credit_bytes > 0 {
            let credit = Credit { tasks: self.credit_tasks, bytes: self.credit_bytes };
            (self.credit_tasks, self.credit_bytes) = (0, 0);
            return Some(Frame::Credit(credit));
        }
        std::mem::take(&mut self.draining).then_some(Frame::Draining(WorkerDraining {}))
    }
}

impl Stream for OutgoingFrames {
    type Item = LeaseTasksRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // Before looking: what is put in after the look wakes us.
        self.shared.waker.register(context.waker());
        let urgent = self.shared.lock().take();
        if let Some(frame) = urgent {
            return Poll::Ready(Some(LeaseTasksRequest { frame: Some(frame) }));
        }
        self.frames.poll_recv(context).map(|frame| frame.map(|frame| LeaseTasksRequest { frame: Some(frame) }))
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, StreamExt as _};
    use hashmesh::queue::v1::{LeaseProgress, Nack};

    use super::*;

    fn next(frames: &mut OutgoingFrames) -> Option<Frame> {
        frames.next().now_or_never()?.and_then(|request| request.frame)
    }

    #[tokio::test]
    async fn hello_is_first_and_heartbeats_pass_waiting_outcomes() {
        let (outbox, mut frames) = outbox(Hello::default());
        outbox.send(Frame::Nack(Nack::default())).await.unwrap();
        let newest = Heartbeat { leases: vec![LeaseProgress::default()] };
        outbox.urgent().beat(Heartbeat::default());
        outbox.urgent().beat(newest.clone());
        assert_eq!(next(&mut frames), Some(Frame::Hello(Hello::default())));
        assert_eq!(next(&mut frames), Some(Frame::Heartbeat(newest)), "the newest only");
        assert_eq!(next(&mut frames), Some(Frame::Nack(Nack::default())));
        assert!(frames.next().now_or_never().is_none());
    }

    #[tokio::test]
    async fn credit_adds_up_while_it_waits() {
        let (outbox, mut frames) = outbox(Hello::default());
        next(&mut frames);
        outbox.urgent().grant(CreditLimit { tasks: 2, bytes: 10 });
        outbox.urgent().grant(CreditLimit { tasks: 3, bytes: 5 });
        assert_eq!(next(&mut frames), Some(Frame::Credit(Credit { tasks: 5, bytes: 15 })));
        assert!(next(&mut frames).is_none());
    }

    #[tokio::test]
    async fn an_urgent_frame_wakes_a_stream_that_waits() {
        let (outbox, mut frames) = outbox(Hello::default());
        next(&mut frames);
        let waiting = tokio::spawn(async move { frames.next().await });
        tokio::task::yield_now().await;
        outbox.urgent().drain();
        let frame = waiting.await.unwrap().unwrap().frame;
        assert_eq!(frame, Some(Frame::Draining(WorkerDraining {})));
    }

    #[tokio::test]
    async fn the_stream_ends_after_what_was_put_in_when_every_outbox_is_gone() {
        let (outbox, mut frames) = outbox(Hello::default());
        let urgent = outbox.urgent().clone();
        outbox.send(Frame::Nack(Nack::default())).await.unwrap();
        drop(outbox);
        let rest: Vec<_> = frames.by_ref().collect().await;
        assert_eq!(rest.len(), 2);
        urgent.beat(Heartbeat::default());
        assert!(next(&mut frames).is_some(), "but nothing panics");
    }
}
