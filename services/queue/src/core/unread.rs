//! Workers that do not read: what is sent to them waits in our memory, so they are given no more until they have read.
//!
//! Credit does not bound this: it is the worker's word, and leases that were taken back from a worker that stands still
//! wait for it all the same, until its connection is found to be dead. All workers together may let
//! [`CoreConfig::unread_bytes`](super::CoreConfig) wait, in equal shares: whoever reads is never kept from work by who does
//! not. One lease may exceed a share.

use super::{Core, Now, WorkerId, worker::Worker};

impl Core {
    /// So many bytes of all that a worker was given wait for it to read them.
    pub(crate) fn unread(&mut self, now: Now, id: WorkerId, bytes: u64) {
        let share = self.unread_share();
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let was_behind = worker.behind;
        worker.note_unread(bytes, share);
        if was_behind && !worker.behind {
            self.isolate = true;
            self.dispatch(now);
        }
    }

    /// What one worker may let wait.
    pub(super) fn unread_share(&self) -> u64 {
        self.config.unread_bytes / self.workers.len().max(1) as u64
    }
}

impl Worker {
    /// Whoever is behind gets work again once half of its share is read, and not lease by lease.
    pub(super) fn note_unread(&mut self, bytes: u64, share: u64) {
        self.unread_bytes = bytes;
        self.behind = bytes > if self.behind { share / 2 } else { share };
    }
}
