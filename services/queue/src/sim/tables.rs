//! The tables as a model: what Postgres would hold, what it would refuse, and what it answers.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    rc::Rc,
};

use bytes::Bytes;
use uuid::Uuid;

use crate::{
    shard::{SHARDS, Shard},
    store::{
        Elision, UnitError,
        model::{ControlsChange, LeaseRow, NewBatch, NewResults, NewSubmission, Unit, Write},
    },
};

/// A row of `submissions` with its batches and results.
#[derive(Clone, Debug)]
pub(super) struct SubmissionRow {
    pub(super) new: Rc<NewSubmission>,
    pub(super) state: State,
    pub(super) batch_count: Option<u32>,
    pub(super) resolved_through: u32,
    pub(super) resolved_position: u64,
    pub(super) batches: Vec<Rc<BatchRow>>,
    pub(super) results: Vec<Rc<NewResults>>,
    /// By task: true if it has its outcome. Each batch has its own.
    pub(super) recorded: Vec<Rc<Vec<bool>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    Sealed,
    Completed,
    Cancelled,
}

#[derive(Debug)]
pub(super) struct BatchRow {
    pub(super) new: NewBatch,
    /// What is stored of its tasks.
    pub(super) tasks: Bytes,
}

impl SubmissionRow {
    pub(super) fn ended(&self) -> bool {
        matches!(self.state, State::Completed | State::Cancelled)
    }

    pub(super) fn accepted(&self) -> u64 {
        self.batches.last().map_or(0, |batch| batch.new.accepted_through)
    }

    /// The last position.
    pub(super) fn position(&self) -> u64 {
        self.results.last().map_or(0, |row| row.position + u64::from(row.task_count) - 1)
    }

    pub(super) fn next_sequence(&self) -> u32 {
        u32::try_from(self.batches.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn batch(&self, sequence: u32) -> Option<&BatchRow> {
        self.batches.get(sequence as usize).map(Rc::as_ref)
    }

    pub(super) fn resolved(&self, sequence: u32) -> bool {
        self.recorded.get(sequence as usize).is_some_and(|tasks| tasks.iter().all(|recorded| *recorded))
    }
}

/// What Postgres holds.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) submissions: BTreeMap<Uuid, SubmissionRow>,
    pub(super) keys: BTreeMap<(String, String), (Uuid, [u8; 32])>,
    pub(super) leases: BTreeMap<(Uuid, u32, u32), LeaseRow>,
    pub(super) epochs: [i64; SHARDS as usize],
    pub(super) controls: BTreeMap<String, ControlsChange>,
    pub(super) transactions: u64,
}

/// What a transaction would change.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// As they are after it, with how they were before.
    pub(super) submissions: BTreeMap<Uuid, (Option<SubmissionRow>, SubmissionRow)>,
    keys: BTreeMap<(String, String), (Uuid, [u8; 32])>,
    controls: Vec<ControlsChange>,
}

impl Tables {
    pub(super) fn new() -> Self {
        Self {
            submissions: BTreeMap::new(),
            keys: BTreeMap::new(),
            leases: BTreeMap::new(),
            epochs: [0; SHARDS as usize],
            controls: BTreeMap::new(),
            transactions: 0,
        }
    }

    /// The fence: true if each of these shards still has the epoch under which it is written.
    pub(super) fn may_write(&self, epochs: &[i64; SHARDS as usize], shards: impl IntoIterator<Item = Shard>) -> bool {
        let same = |shard: Shard| {
            let number = usize::from(shard.number());
            self.epochs[number] == epochs[number]
        };
        shards.into_iter().all(same)
    }

    /// What a transaction with these units would change, or why Postgres refuses it. Statements run kind by kind, as the
    /// lane sends them.
    pub(super) fn prepare(&self, units: &[&Unit]) -> Result<Changed, UnitError> {
        let mut changed = Changed::default();
        let mut elision = Elision::default();
        units.iter().for_each(|unit| elision.add(unit));
        for kind in 0..8 {
            for unit in units {
                for write in unit.writes.iter().filter(|write| order(write) == kind) {
                    self.write(&mut changed, &elision, unit.submission, write)?;
                }
            }
        }
        Ok(changed)
    }

    fn write(&self, changed: &mut Changed, elision: &Elision, id: Uuid, write: &Write) -> Result<(), UnitError> {
        let refused = |why: &str| Err(UnitError::Refused(why.to_owned()));
        if let Write::Create(new) = write {
            return self.create(changed, id, new);
        }
        if let Write::Controls(change) = write {
            changed.controls.push(change.clone());
            return Ok(());
        }
        let (_, row) = match changed.submissions.entry(id) {
            Entry::Occupied(changed) => changed.into_mut(),
            Entry::Vacant(unchanged) => {
                let Some(row) = self.submissions.get(&id) else { return refused("no such submission") };
                unchanged.insert((Some(row.clone()), row.clone()))
            }
        };
        match write {
            Write::Batch(batch) => {
                if (batch.sequence as usize) < row.batches.len() {
                    return refused("a batch of this number is stored");
                }
                let tasks = Bytes::copy_from_slice(elision.stored(id, batch));
                row.batches.push(Rc::new(BatchRow { new: batch.clone(), tasks }));
                row.recorded.push(Rc::new(vec![false; batch.task_count as usize]));
            }
            Write::Results(results) => {
                if row.results.iter().any(|before| before.position == results.position) {
                    return refused("a result of this position is stored");
                }
                row.results.push(Rc::new(results.clone()));
            }
            Write::Seal { batch_count } => {
                if row.state != State::Open {
                    return refused("the submission is not open");
                }
                (row.state, row.batch_count) = (State::Sealed, Some(*batch_count));
            }
            Write::Complete => {
                if row.state != State::Sealed {
                    return refused("the submission is not sealed");
                }
                row.state = State::Completed;
                row.resolved_through = row.batch_count.unwrap_or_default();
            }
            Write::Cancel { .. } => {
                if row.ended() {
                    return refused("the submission has ended");
                }
                row.state = State::Cancelled;
            }
            Write::Create(_) | Write::Controls(_) => {}
        }
        Ok(())
    }

    fn create(&self, changed: &mut Changed, id: Uuid, new: &NewSubmission) -> Result<(), UnitError> {
        if self.submissions.contains_key(&id) || changed.submissions.contains_key(&id) {
            return Err(UnitError::Refused("a submission of this id is stored".to_owned()));
        }
        if let Some(idempotency) = &new.idempotency {
            let key = (new.tenant.clone(), idempotency.key.clone());
            if self.keys.contains_key(&key) || changed.keys.contains_key(&key) {
                return Err(UnitError::DuplicateKey);
            }
            changed.keys.insert(key, (id, idempotency.options_fingerprint));
        }
        let row = SubmissionRow {
            new: Rc::new(new.clone()),
            state: State::Open,
            batch_count: None,
            resolved_through: 0,
            resolved_position: 0,
            batches: Vec::new(),
            results: Vec::new(),
            recorded: Vec::new(),
        };
        changed.submissions.insert(id, (None, row));
        Ok(())
    }

    /// Commits what was prepared.
    pub(super) fn commit(&mut self, changed: Changed) {
        self.transactions += 1;
        self.submissions.extend(changed.submissions.into_iter().map(|(id, (_, after))| (id, after)));
        self.keys.extend(changed.keys);
        for change in changed.controls {
            let row = self.controls.entry(change.tenant.clone()).or_insert_with(|| ControlsChange {
                tenant: change.tenant.clone(),
                paused: None,
                max_leased_tasks: None,
                tasks_per_day: None,
                bytes_per_day: None,
                sources: None,
            });
            row.paused = change.paused.or(row.paused);
            row.max_leased_tasks = change.max_leased_tasks.or(row.max_leased_tasks);
        }
    }

    /// The rows of `leases` in these shards.
    pub(super) fn lease_rows(&self, shards: u64) -> BTreeSet<LeaseRow> {
        let ours = |row: &&LeaseRow| holds(shards, row.submission);
        self.leases.values().filter(ours).cloned().collect()
    }
}

/// True if the submission is in these shards.
pub(super) fn holds(shards: u64, submission: Uuid) -> bool {
    shards >> Shard::of(submission).number() & 1 == 1
}

/// The lane's order of statements.
fn order(write: &Write) -> u8 {
    match write {
        Write::Create(_) => 0,
        Write::Batch(_) => 2,
        Write::Seal { .. } => 3,
        Write::Results(_) => 4,
        Write::Complete => 5,
        Write::Cancel { .. } => 6,
        Write::Controls(_) => 7,
    }
}
