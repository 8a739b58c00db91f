//! The part of the model that knows `leases`, and processes that come back.

use super::*;

/// The table `leases` by its key.
pub(in crate::core::tests) type Table = BTreeMap<(Uuid, u32, u32), LeaseRow>;

/// What is written ahead and behind, and who runs workers.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// On their way to the table.
    unwritten: Vec<LeaseRow>,
    pub(super) table: Table,
    /// Worker processes so far.
    processes: u128,
}

impl Rows {
    pub(super) fn push(&mut self, row: LeaseRow) {
        self.unwritten.push(row);
    }
}

fn by_key(row: LeaseRow) -> ((Uuid, u32, u32), LeaseRow) {
    ((row.submission, row.sequence, row.first_task), row)
}

impl World {
    /// A worker connects: of a new process, or one of those that were there before.
    pub(super) fn connect(&mut self, again: Option<usize>) -> Result<WorkerId, TestCaseError> {
        let session = match again {
            Some(index) if self.rows.processes > 0 => 1 + index as u128 % self.rows.processes,
            _ => {
                self.rows.processes += 1;
                self.rows.processes
            }
        };
        let worker = self.core.worker_connected(self.now, process(session));
        self.claim(worker)?;
        Ok(worker)
    }

    /// Rows that the core waits for are in the table.
    pub(super) fn write_ahead(&mut self) {
        for row in std::mem::take(&mut self.rows.unwritten) {
            let (key, row) = by_key(row);
            self.rows.table.insert(key, row.clone());
            self.core.written_ahead(self.now, &row);
        }
    }

    /// The table is brought in line with what the core says, behind what is written ahead. What the table says of batches
    /// that are not in memory yet stands.
    pub(super) fn snapshot(&mut self) {
        let rows = self.core.lease_rows(self.now, Duration::from_secs(1));
        let not_loaded: BTreeMap<Uuid, u32> = self.core.not_loaded().collect();
        let stands = |id: &Uuid, sequence: u32| not_loaded.get(id).is_some_and(|from| sequence >= *from);
        self.rows.table.retain(|(id, sequence, _), _| stands(id, *sequence));
        self.rows.table.extend(rows.into_iter().map(by_key));
    }

    /// The owner dies, and what was on its way with it.
    pub(super) fn lose_rows(&mut self) {
        self.rows.unwritten.clear();
    }

    /// The tasks of a submission that stand outside of the order of work.
    pub(super) fn apart(&self, id: Uuid) -> Vec<(u32, TaskRun)> {
        let suspects = self.core.suspects.iter().filter(|(place, _)| place.0 == id);
        let suspects = suspects.map(|((_, sequence, first), suspect)| (*sequence, TaskRun::new(*first, suspect.count)));
        let held_off = self.core.held_off.iter().filter(|(place, _)| place.0 == id);
        let held_off = held_off.map(|((_, sequence, first), held)| (*sequence, TaskRun::new(*first, held.ready.count)));
        suspects.chain(held_off).chain(self.core.unannounced_runs(id)).collect()
    }
}
