//! Workers that do not read what is sent to them.

use super::*;

/// What all workers together may let wait in the model: a few leases.
pub(in crate::core::tests) const UNREAD: u64 = 600;
/// The largest lease of the model.
const LEASE_BYTES: u64 = 400;

impl World {
    /// A worker reads no more, or all that waits for it.
    pub(super) fn read(&mut self, worker: usize, reads: bool) {
        let Some(worker) = self.worker(worker) else { return };
        if reads {
            self.unread.remove(&worker);
        } else {
            self.unread.entry(worker).or_default();
        }
    }

    /// Promise 8: more is granted to a worker only while what waits for it is within its share.
    pub(super) fn sent(&mut self, grant: &Grant) -> Result<(), TestCaseError> {
        if let Some(unread) = self.unread.get_mut(&grant.worker) {
            *unread += grant.payload_bytes;
            prop_assert!(*unread <= UNREAD + LEASE_BYTES, "{} bytes wait for a worker that does not read", unread);
        }
        Ok(())
    }

    /// What the engine tells the core after each turn.
    pub(super) fn note_unread(&mut self) -> Result<(), TestCaseError> {
        for worker in self.workers.clone() {
            let unread = self.unread.get(&worker).copied().unwrap_or_default();
            self.core.unread(self.now, worker, unread);
        }
        self.effects()
    }
}
