//! Connections for streams.
//!
//! A stream whose client does not read fills its HTTP/2 window (4 MiB) and keeps that much of its connection's window
//! (16 MiB). With more streams than fit on one connection, a few such clients would stop everybody else's streams. So
//! no more than [`STREAMS_EACH`] share one: each slows down only itself. Streams that are always read, whatever their client does,
//! take nothing of the others' window, and share one by the hundred.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use hashmesh_runtime::channel::Guarded;

/// Streams on one connection: its window is as large as theirs together.
pub(super) const STREAMS_EACH: usize = 4;
/// Streams on one connection that are always read: half of what a process takes on one.
pub(super) const READ_EACH: usize = 512;

/// The connections for streams to one process. One that nobody uses is closed.
#[derive(Debug)]
pub(super) struct Connections {
    each: usize,
    open: Mutex<Vec<Weak<Guarded>>>,
}

/// One stream's place on a connection, held until this is dropped.
#[derive(Debug)]
pub(crate) struct StreamSlot {
    channel: Arc<Guarded>,
}

impl StreamSlot {
    pub(super) fn channel(&self) -> Guarded {
        Guarded::clone(&self.channel)
    }
}

impl Connections {
    /// Connections with so many streams each.
    pub(super) fn new(each: usize) -> Self {
        Self { each, open: Mutex::default() }
    }

    pub(super) fn slot<E>(&self, connect: impl FnOnce() -> Result<Guarded, E>) -> Result<StreamSlot, E> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|connection| connection.strong_count() > 0);
        let free = open.iter().filter(|connection| connection.strong_count() < self.each).find_map(Weak::upgrade);
        if let Some(channel) = free {
            return Ok(StreamSlot { channel });
        }
        let channel = Arc::new(connect()?);
        open.push(Arc::downgrade(&channel));
        Ok(StreamSlot { channel })
    }
}

#[cfg(test)]
mod tests {
    use hashmesh_runtime::channel::{ChannelError, breaker, guarded, lazy};

    use super::*;
    use hashmesh_runtime::tls::Role;

    #[tokio::test]
    async fn four_streams_share_a_connection_and_an_unused_one_is_closed() {
        let connections = Connections::new(STREAMS_EACH);
        let mut made = 0;
        let mut slot = || {
            connections.slot(|| {
                made += 1;
                let url = "http://127.0.0.1:1";
                Ok::<_, ChannelError>(guarded(Role::Queue, lazy(url).unwrap(), &breaker(url)))
            })
        };
        let first: Vec<_> = (0..4).map(|_| slot().unwrap()).collect();
        let fifth = slot().unwrap();
        assert!(first.iter().all(|slot| Arc::ptr_eq(&slot.channel, &first[0].channel)));
        assert!(!Arc::ptr_eq(&fifth.channel, &first[0].channel));
        drop(first);
        let sixth = slot().unwrap();
        assert!(Arc::ptr_eq(&sixth.channel, &fifth.channel));
        assert_eq!(made, 2);
        assert_eq!(connections.open.lock().unwrap().len(), 1);
    }
}
