//! What the model of the tables answers: to a new owner, to an engine that wants batches or payload, to readers.

use bytes::Bytes;
use hashmesh::v1::{Algorithm, PackedNames, PackedOutcomes};
use prost::Message as _;
use uuid::Uuid;

use super::tables::{State, SubmissionRow, Tables, holds};
use crate::store::model::{
    ControlsChange, LoadedBatches, NewResults, Recovered, RecoveredBatch, RecoveredLease, Totals, WantedBatches,
};

impl Tables {
    /// The unfinished submissions of these shards. Of the first `eager` ones so many batches are read at once.
    pub(super) fn unfinished(&self, shards: u64, eager: usize, count: u32) -> Vec<Recovered> {
        let ours = self.submissions.iter().filter(|(id, row)| !row.ended() && holds(shards, **id));
        let mut found: Vec<Recovered> = ours.map(|(id, row)| recovered(*id, row)).collect();
        for one in found.iter_mut().take(eager) {
            one.loaded = Some(self.load(&one.wants(count)));
        }
        found
    }

    /// One submission; `None` if it is finished or unknown.
    pub(super) fn unfinished_one(&self, id: Uuid, count: u32) -> Option<Recovered> {
        let row = self.submissions.get(&id).filter(|row| !row.ended())?;
        let mut one = recovered(id, row);
        one.loaded = Some(self.load(&one.wants(count)));
        Some(one)
    }

    /// The first unresolved batches of a request.
    pub(super) fn load(&self, wanted: &WantedBatches) -> LoadedBatches {
        let mut loaded = LoadedBatches { from: wanted.from, through: wanted.stored, ..LoadedBatches::default() };
        let Some(row) = self.submissions.get(&wanted.submission) else { return loaded };
        let of_interest = wanted.after_position + 1..=wanted.to_position;
        let results: Vec<&NewResults> =
            row.results.iter().map(AsRef::as_ref).filter(|results| of_interest.contains(&results.position)).collect();
        let stored = row.batches.iter().take(wanted.stored as usize).skip(wanted.from as usize);
        for batch in stored.map(|batch| &batch.new) {
            if loaded.batches.len() == wanted.count as usize {
                loaded.through = loaded.batches.last().map_or(wanted.from, |last| last.sequence + 1);
                break;
            }
            let mut recorded: Vec<(u32, u32)> = results
                .iter()
                .filter(|results| results.sequence == batch.sequence)
                .map(|results| (results.first_task, results.task_count))
                .collect();
            recorded.sort_unstable();
            if recorded.iter().map(|(_, count)| count).sum::<u32>() >= batch.task_count {
                continue;
            }
            let leases = self.found_leases(wanted.submission, batch.sequence, &recorded);
            loaded.batches.push(RecoveredBatch {
                sequence: batch.sequence,
                task_count: batch.task_count,
                byte_count: batch.byte_count,
                fingerprint: batch.fingerprint,
                reference_prefix: batch.reference_prefix.clone(),
                trace_context: None,
                recorded,
                leases,
            });
        }
        loaded.outcomes_behind = results.iter().any(|results| results.sequence >= loaded.through);
        loaded
    }

    /// What `leases` says of the tasks of a batch that have no outcome.
    fn found_leases(&self, id: Uuid, sequence: u32, recorded: &[(u32, u32)]) -> Vec<RecoveredLease> {
        let open = |task: u32| !recorded.iter().any(|(first, count)| (*first..first + count).contains(&task));
        let mut found = Vec::new();
        for row in self.leases.range((id, sequence, 0)..=(id, sequence, u32::MAX)).map(|(_, row)| row) {
            let mut begun = None;
            for task in row.first_task..=row.first_task + row.task_count {
                let inside = task < row.first_task + row.task_count && open(task);
                if inside {
                    begun.get_or_insert(task);
                } else if let Some(first_task) = begun.take() {
                    let RowState { attempt, strikes, worker } = RowState::of(row);
                    found.push(RecoveredLease { first_task, task_count: task - first_task, attempt, strikes, worker });
                }
            }
        }
        found
    }

    /// The payload of stored batches.
    pub(super) fn payloads(&self, id: Uuid, sequences: &[u32]) -> Vec<(u32, Bytes, Option<PackedNames>)> {
        let Some(row) = self.submissions.get(&id) else { return Vec::new() };
        let found = sequences.iter().filter_map(|sequence| Some((*sequence, row.batch(*sequence)?)));
        found.map(|(sequence, batch)| (sequence, batch.tasks.clone(), batch.new.names.clone())).collect()
    }

    /// What operators have said.
    pub(super) fn controls(&self) -> Vec<ControlsChange> {
        self.controls.values().cloned().collect()
    }

    /// The fingerprint of a stored batch.
    pub(super) fn fingerprint(&self, id: Uuid, sequence: u32) -> Option<[u8; 32]> {
        Some(self.submissions.get(&id)?.batch(sequence)?.new.fingerprint)
    }
}

struct RowState {
    attempt: u32,
    strikes: u32,
    worker: Option<String>,
}

impl RowState {
    fn of(row: &crate::store::model::LeaseRow) -> Self {
        Self { attempt: row.attempt, strikes: row.strikes, worker: row.worker.clone() }
    }
}

fn recovered(id: Uuid, row: &SubmissionRow) -> Recovered {
    let new = &row.new;
    Recovered {
        id,
        tenant: new.tenant.clone(),
        algorithms: new.algorithms.clone(),
        part_bytes: new.part_bytes,
        max_attempts: new.max_attempts,
        keep_inputs: new.keep_inputs,
        order: new.order,
        cache: new.cache,
        expansion_uri: None,
        listed_to: None,
        batch_count: row.batch_count.filter(|_| row.state == State::Sealed),
        resolved_through: row.resolved_through,
        outcomes_after: row.resolved_position,
        next_sequence: row.next_sequence(),
        accepted_tasks: row.accepted(),
        totals: row.results.last().map_or_else(Totals::default, |newest| newest.totals),
        loaded: None,
    }
}

/// A row of results as its readers get it.
pub(super) fn outcomes(row: &NewResults) -> PackedOutcomes {
    let body = PackedOutcomes::decode(row.outcomes.clone()).unwrap_or_default();
    PackedOutcomes {
        first_position: row.position,
        sequence: row.sequence,
        first_task: row.first_task,
        task_count: row.task_count,
        statuses: row.statuses.clone().unwrap_or_default(),
        algorithms: vec![Algorithm::Crc64nvme.into()],
        attempt: row.attempt,
        kernel: row.kernel.clone(),
        ..body
    }
}
