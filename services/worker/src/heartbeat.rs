//! The proof of life, from a thread of its own: a busy pool, or an async runtime that is held up, must not make a worker
//! look dead and cost it its leases.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{leases::HeldLeases, outbox::UrgentFrames};

/// Beats until dropped.
#[derive(Debug)]
pub(crate) struct HeartbeatThread {
    /// Its end stops the thread.
    stop: Option<mpsc::SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl HeartbeatThread {
    /// Beats every `interval`, the first time after one.
    pub(crate) fn start(interval: Duration, held: Arc<HeldLeases>, urgent: UrgentFrames) -> io::Result<Self> {
        let (stop, stopped) = mpsc::sync_channel(0);
        let thread = thread::Builder::new().name("heartbeat".to_owned()).spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(interval) {
                urgent.beat(held.heartbeat());
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for HeartbeatThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Microseconds: the thread waits for nothing else. It does not panic; if it did, it was logged.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, StreamExt as _};
    use hashmesh::queue::v1::{Hello, lease_tasks_request::Frame};

    use super::*;
    use crate::outbox::outbox;

    #[tokio::test]
    async fn it_beats_while_every_async_thread_is_held_up_and_stops_when_dropped() {
        let (outbox, mut frames) = outbox(Hello::default());
        let held = Arc::new(HeldLeases::default());
        let beating =
            HeartbeatThread::start(Duration::from_millis(1), Arc::clone(&held), outbox.urgent().clone()).unwrap();
        frames.next().await.unwrap();
        // This runtime has one thread, and it does not leave this loop.
        let frame = loop {
            if let Some(request) = frames.next().now_or_never() {
                break request.unwrap().frame;
            }
        };
        assert!(matches!(frame, Some(Frame::Heartbeat(_))));
        drop(beating);
        assert_eq!(Arc::strong_count(&held), 1, "the thread is gone");
    }
}
