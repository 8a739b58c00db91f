//! A submission as its client, its reader and the tables see it: the model that the core is checked against.

use std::collections::BTreeMap;

use super::{
    world::{Table, UNREAD},
    *,
};
use crate::store::model::{LoadedBatches, Totals, WantedBatches};

/// Batches of a submission in memory, at most: few, so that they come and go.
pub(super) const WINDOW: usize = 3;

pub(super) const TENANTS: [&str; 3] = ["a", "b", "c"];

/// How the core under test is set up.
pub(super) fn config(honours_expired: bool, after_crash: bool) -> CoreConfig {
    CoreConfig {
        lease_duration: LEASE,
        seed: 7,
        honours_expired,
        after_crash,
        window_batches: WINDOW,
        unread_bytes: UNREAD,
        ..CoreConfig::default()
    }
}

/// What is known of a submission without asking the core.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) tenant: usize,
    pub(super) order: WorkOrder,
    /// The time of its `not_before` has been.
    pub(super) begun: bool,
    /// Its deadline had passed when the owner heard of it: it is not leased, and cancelled when the clock is there again.
    pub(super) doomed: bool,
    pub(super) batches: Vec<NewBatchMeta>,
    pub(super) sealed: bool,
    pub(super) cancelled: bool,
    pub(super) completed: bool,
    /// (sequence, task) → status, exactly once.
    pub(super) recorded: BTreeMap<(u32, u32), OutcomeStatus>,
    pub(super) totals: Totals,
    rows: Vec<(Recorded, Vec<u8>)>,
    /// What of batches and rows is committed: a new owner finds no more.
    stored: usize,
    stored_rows: usize,
    /// The newest of what was written behind.
    resolved: (u32, u64),
}

impl Known {
    pub(super) fn new(tenant: usize, order: WorkOrder, wall: WallTime) -> Self {
        let mut known = Self { tenant, order, ..Self::default() };
        known.meets(wall);
        known
    }

    /// An owner hears of it. It knows the clock only: one that was set back makes what had begun wait again.
    pub(super) fn meets(&mut self, wall: WallTime) {
        self.begun = self.order.not_before.is_none_or(|at| at <= wall);
        self.doomed = self.order.deadline.is_some_and(|at| at <= wall);
    }

    /// Promises 2, 5 and 6: once per task, positions without gap, totals that add up.
    pub(super) fn note(&mut self, row: &Recorded, statuses: &[u8]) -> Result<(), TestCaseError> {
        prop_assert!(!self.completed && !self.cancelled, "recorded after the end");
        self.add(row, statuses)?;
        prop_assert_eq!(row.totals, self.totals);
        self.rows.push((row.clone(), statuses.to_vec()));
        Ok(())
    }

    fn add(&mut self, row: &Recorded, statuses: &[u8]) -> Result<(), TestCaseError> {
        prop_assert_eq!(row.position, self.totals.recorded() + 1, "a gap or repeat among positions");
        for (task, status) in (row.run.first..row.run.end()).zip(statuses) {
            let status = OutcomeStatus::try_from(i32::from(*status)).unwrap();
            match status {
                OutcomeStatus::Succeeded => self.totals.succeeded += 1,
                OutcomeStatus::Mismatched => self.totals.mismatched += 1,
                _ => self.totals.failed += 1,
            }
            let before = self.recorded.insert((row.sequence, task), status);
            prop_assert!(before.is_none(), "task {} of batch {} was recorded twice", task, row.sequence);
        }
        self.totals.hashed_bytes = row.totals.hashed_bytes;
        Ok(())
    }

    /// All that was handed to the lane is committed. Returns the number of batches and the last position.
    pub(super) fn commit(&mut self) -> (u32, u64) {
        self.stored = self.batches.len();
        self.stored_rows = self.rows.len();
        self.committed()
    }

    pub(super) fn committed(&self) -> (u32, u64) {
        let position = self.rows[..self.stored_rows].last();
        let position = position.map_or(0, |(row, _)| row.position + u64::from(row.run.count) - 1);
        (u32::try_from(self.stored).unwrap(), position)
    }

    /// What is written behind must be true of what is committed (promise 2: a new owner skips what is resolved).
    pub(super) fn note_resolved(&mut self, resolved: Resolved) -> Result<(), TestCaseError> {
        let rows = &self.rows[..self.stored_rows];
        for batch in &self.batches[..resolved.through as usize] {
            let of_batch = rows.iter().filter(|(row, _)| row.sequence == batch.sequence);
            let done: u32 = of_batch.map(|(row, _)| row.run.count).sum();
            prop_assert_eq!(done, batch.task_count, "batch {} is not resolved yet", batch.sequence);
        }
        for (row, _) in rows.iter().filter(|(row, _)| row.sequence >= resolved.through) {
            prop_assert!(row.position > resolved.outcomes_after, "outcomes would be overlooked");
        }
        prop_assert!(resolved.through >= self.resolved.0);
        self.resolved = (resolved.through, resolved.outcomes_after);
        Ok(())
    }

    /// The owner dies: what was not committed is gone.
    pub(super) fn roll_back(&mut self) -> Result<(), TestCaseError> {
        self.batches.truncate(self.stored);
        self.rows.truncate(self.stored_rows);
        self.recorded.clear();
        self.totals = Totals::default();
        for (row, statuses) in self.rows.clone() {
            self.add(&row, &statuses)?;
        }
        Ok(())
    }

    /// What a new owner reads; `eager`: with the first batches. `table`: what it finds in `leases`.
    pub(super) fn recovered(&self, id: Uuid, eager: bool, table: &Table) -> Recovered {
        let mut recovered = Recovered {
            cache: hashmesh::v1::CacheMode::Unspecified,
            expansion_uri: None,
            listed_to: None,
            id,
            tenant: TENANTS[self.tenant].to_owned(),
            order: self.order,
            algorithms: vec![Algorithm::Sha256],
            part_bytes: 0,
            max_attempts: 3,
            keep_inputs: false,
            batch_count: self.sealed.then(|| u32::try_from(self.batches.len()).unwrap()),
            resolved_through: self.resolved.0,
            outcomes_after: self.resolved.1,
            next_sequence: u32::try_from(self.stored).unwrap(),
            accepted_tasks: self.batches.iter().map(|batch| u64::from(batch.task_count)).sum(),
            totals: self.totals,
            loaded: None,
        };
        if eager {
            recovered.loaded = Some(self.load(&recovered.wants(2), table));
        }
        recovered
    }

    /// What the tables answer to a request for batches.
    pub(super) fn load(&self, wanted: &WantedBatches, table: &Table) -> LoadedBatches {
        let positions = wanted.after_position + 1..=wanted.to_position;
        let rows = self.rows[..self.stored_rows].iter().map(|(row, _)| row);
        let rows: Vec<&Recorded> = rows.filter(|row| positions.contains(&row.position)).collect();
        let mut loaded = LoadedBatches { from: wanted.from, through: wanted.stored, ..LoadedBatches::default() };
        for batch in &self.batches[wanted.from as usize..wanted.stored as usize] {
            if loaded.batches.len() == wanted.count as usize {
                loaded.through = loaded.batches.last().unwrap().sequence + 1;
                break;
            }
            let of_batch = rows.iter().filter(|row| row.sequence == batch.sequence);
            let mut recorded: Vec<(u32, u32)> = of_batch.map(|row| (row.run.first, row.run.count)).collect();
            recorded.sort_unstable();
            if recorded.iter().map(|(_, count)| count).sum::<u32>() < batch.task_count {
                loaded.batches.push(RecoveredBatch {
                    sequence: batch.sequence,
                    task_count: batch.task_count,
                    byte_count: batch.byte_count,
                    fingerprint: batch.fingerprint,
                    reference_prefix: batch.reference_prefix.as_deref().map(str::to_owned),
                    trace_context: None,
                    leases: found_leases(table, wanted.submission, batch, &recorded),
                    recorded,
                });
            }
        }
        loaded.outcomes_behind = rows.iter().any(|row| row.sequence >= loaded.through);
        loaded
    }
}

/// What `leases` says of the tasks of a batch that have no outcome, as the store reads it.
pub(super) fn found_leases(
    table: &Table,
    id: Uuid,
    batch: &NewBatchMeta,
    recorded: &[(u32, u32)],
) -> Vec<RecoveredLease> {
    let mut open = ranges::RunSet::of(TaskRun::new(0, batch.task_count));
    recorded.iter().for_each(|(first, count)| open.remove(TaskRun::new(*first, *count)));
    let rows = table.range((id, batch.sequence, 0)..=(id, batch.sequence, u32::MAX));
    let found = rows.flat_map(|(_, row)| {
        let parts = open.overlap(TaskRun::new(row.first_task, row.task_count));
        parts.into_iter().map(|part| RecoveredLease {
            first_task: part.first,
            task_count: part.count,
            attempt: row.attempt,
            strikes: row.strikes,
            worker: row.worker.clone(),
        })
    });
    found.collect()
}
