//! Which batches of a transaction may leave their inline bytes out: those that the same transaction resolves without a
//! FAILED outcome.
//!
//! Then nothing can need the bytes again. A new owner leases only what has no outcome, `RetryTasks` reads only what
//! FAILED, a batch that is sent again is compared by its fingerprint; and if the transaction fails, the batch is not
//! stored at all, or it is written anew, decided anew from what is in that transaction.

use std::collections::HashMap;

use hashmesh::v1::OutcomeStatus;
use uuid::Uuid;

use super::model::{NewBatch, NewResults, Unit, Write};
use crate::mutant::{self, Mutant};

/// The batches of one transaction, while its units are gone through in order.
#[derive(Debug, Default)]
pub(crate) struct Elision {
    /// Tasks without an outcome so far, of batches that may leave something out.
    missing: HashMap<(Uuid, u32), Candidate>,
    /// Bytes that are left out.
    saved: usize,
}

#[derive(Debug)]
struct Candidate {
    missing: u32,
    saves: usize,
}

impl Elision {
    /// Takes the next unit of the transaction.
    pub(crate) fn add(&mut self, unit: &Unit) {
        for write in &unit.writes {
            match write {
                Write::Batch(batch) => self.add_batch(unit.submission, batch),
                Write::Results(results) => self.add_results(unit.submission, results),
                _ => {}
            }
        }
    }

    /// Bytes that need not be written, by what was taken so far.
    pub(crate) fn saved(&self) -> usize {
        self.saved
    }

    /// True if a batch could leave its inputs out and lacks outcomes to do so.
    pub(crate) fn unresolved(&self, submission: Uuid, sequence: u32) -> bool {
        self.missing.get(&(submission, sequence)).is_some_and(|candidate| candidate.missing > 0)
    }

    /// What is stored of a batch's tasks.
    pub(crate) fn stored<'a>(&self, submission: Uuid, batch: &'a NewBatch) -> &'a [u8] {
        let resolved = self.missing.get(&(submission, batch.sequence)).is_some_and(|candidate| candidate.missing == 0);
        match &batch.without_inputs {
            Some(left) if resolved => left,
            _ => &batch.tasks,
        }
    }

    fn add_batch(&mut self, submission: Uuid, batch: &NewBatch) {
        let Some(left) = &batch.without_inputs else { return };
        let saves = batch.tasks.len().saturating_sub(left.len());
        self.missing.insert((submission, batch.sequence), Candidate { missing: batch.task_count, saves });
    }

    fn add_results(&mut self, submission: Uuid, results: &NewResults) {
        let key = (submission, results.sequence);
        if failed(results) && !mutant::active(Mutant::ElideTooEarly) {
            self.missing.remove(&key);
            return;
        }
        let Some(candidate) = self.missing.get_mut(&key) else { return };
        // No task has two outcomes, so their number tells.
        candidate.missing = candidate.missing.saturating_sub(results.task_count);
        if candidate.missing == 0 {
            self.saved += candidate.saves;
        }
    }
}

/// True if one of the outcomes is FAILED, or is none that is known here.
fn failed(results: &NewResults) -> bool {
    let harmless = [OutcomeStatus::Succeeded as u8, OutcomeStatus::Mismatched as u8];
    results.statuses.as_ref().is_some_and(|all| all.iter().any(|status| !harmless.contains(status)))
}
