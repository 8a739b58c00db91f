//! Reads the payload of stored batches for the leases that wait for it, aside: several batches of a submission at once.

use uuid::Uuid;

use super::{payload::Payload, run::Engine};
use crate::core::Grant;

/// Reads under way at once.
const READS: usize = 4;
/// Batches in one read.
const TOGETHER: usize = 64;
/// Payload in one read, about. How much is read in all is bounded by what workers may let wait.
const READ_BYTES: u64 = 8 * 1024 * 1024;

impl Engine {
    /// Lets a lease wait for the payload of its batch.
    pub(super) fn wait_for_payload(&mut self, grant: Grant) {
        let key = (grant.submission, grant.sequence);
        if let Some(worker) = self.workers.get_mut(&grant.worker) {
            worker.awaited_bytes += grant.payload_bytes;
        }
        let waiting = self.unread.entry(key).or_default();
        if waiting.is_empty() {
            self.to_read.push_back(key);
        }
        waiting.push(grant);
    }

    /// Starts as many reads as may be under way.
    pub(super) fn read_next(&mut self) {
        while self.reading < READS
            && let Some((submission, sequences)) = self.take_reads()
        {
            self.reading += 1;
            self.tables.read_payloads(submission, sequences);
        }
    }

    /// The batches of the next read: the one that has waited longest, and those right behind it of the same submission.
    fn take_reads(&mut self) -> Option<(Uuid, Vec<u32>)> {
        let (submission, _) = *self.to_read.front()?;
        let mut sequences = Vec::new();
        let mut bytes = 0;
        while let Some((next, sequence)) = self.to_read.front().copied()
            && next == submission
            && sequences.len() < TOGETHER
        {
            bytes += self.core.byte_count(submission, sequence).map_or(0, u64::from);
            if bytes > READ_BYTES && !sequences.is_empty() {
                break;
            }
            self.to_read.pop_front();
            sequences.push(sequence);
        }
        Some((submission, sequences))
    }

    /// Payload was read: sends the leases that wait for it. What was not found is given back.
    pub(super) fn payloads_read(&mut self, submission: Uuid, sequences: &[u32], payloads: Vec<(u32, Payload)>) {
        self.reading -= 1;
        for (sequence, payload) in payloads {
            let key = (submission, sequence);
            // Gone, if the batch was resolved or its submission cancelled meanwhile.
            if self.core.byte_count(submission, sequence).is_some()
                && let Some(grants) = self.take_waiting(key)
            {
                self.payloads.insert(key, payload);
                for grant in &grants {
                    // One that was taken back meanwhile would never be taken back again: a worker may hold it for ever.
                    if self.core.lease_submission(grant.lease).is_some() {
                        self.send_lease(grant);
                    } else {
                        self.undo(grant);
                    }
                }
                self.payloads.commit(key);
            }
        }
        for sequence in sequences {
            let grants = self.take_waiting((submission, *sequence)).unwrap_or_default();
            grants.iter().for_each(|grant| self.undo(grant));
        }
    }

    /// The leases that wait for a payload; they do so no more.
    fn take_waiting(&mut self, key: (Uuid, u32)) -> Option<Vec<Grant>> {
        let grants = self.unread.remove(&key)?;
        for grant in &grants {
            if let Some(worker) = self.workers.get_mut(&grant.worker) {
                worker.awaited_bytes = worker.awaited_bytes.saturating_sub(grant.payload_bytes);
            }
        }
        Some(grants)
    }
}
