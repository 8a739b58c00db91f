//! Transactions on their way to Postgres and back: of the lanes, and of the writer behind.

use std::{collections::BTreeSet, time::Duration};

use uuid::Uuid;

use super::world::{Event, World};
use crate::{
    behind::{self, Changes, Note},
    clock,
    engine::{
        Command,
        driven::{Driven, Group},
    },
    shard::{SHARDS, Shard},
    store::{
        UnitError,
        model::{LeaseRow, Unit, Write},
    },
};

/// What becomes of a transaction's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Fine,
    /// Lost before Postgres has all of it.
    Lost,
    /// Lost behind the commit.
    ReplyLost,
}

/// A group of units on its way. It goes on its way whatever becomes of its owner.
#[derive(Debug)]
pub(super) struct Transaction {
    generation: usize,
    epochs: [i64; SHARDS as usize],
    group: Group,
    fate: Fate,
    fenced: bool,
    /// The unit that Postgres refuses.
    refused: Option<usize>,
    /// Set once the units are sent one by one.
    next: Option<usize>,
    failed: BTreeSet<Uuid>,
    results: Vec<Result<std::time::SystemTime, UnitError>>,
}

impl World {
    /// Begins the lane's next transaction, if it is idle and something waits for it.
    pub(super) fn start_lane(&mut self, number: usize, lane: usize) {
        let generation = &mut self.generations[number];
        if generation.lanes[lane] {
            return;
        }
        let Some(group) = generation.engine.as_ref().and_then(|engine| engine.take_group(lane)) else { return };
        generation.lanes[lane] = true;
        let epochs = generation.epochs;
        self.begun += 1;
        let id = self.begun;
        let fate = match (self.calm, self.chance.below(1000)) {
            (false, roll) if roll < u64::from(self.plan.lost_commits) => Fate::Lost,
            (false, roll) if roll < u64::from(self.plan.lost_commits + self.plan.lost_replies) => Fate::ReplyLost,
            _ => Fate::Fine,
        };
        let may_be_refused = |unit: &Unit| !unit.writes.iter().all(|write| matches!(write, Write::Controls(_)));
        let refused = (!self.calm && self.chance.per_mille(self.plan.refusals))
            .then(|| self.chance.index(group.units.len()))
            .filter(|index| may_be_refused(&group.units[*index]));
        self.note(format_args!("t{id} g{number}/{lane} {fate:?} refused {refused:?}"));
        for unit in &group.units {
            let writes: Vec<String> = unit.writes.iter().map(describe).collect();
            self.note(format_args!("  {} {}", short(unit.submission), writes.join(" ")));
        }
        match fate {
            Fate::Fine => {}
            Fate::Lost => self.count("transactions lost before the commit"),
            Fate::ReplyLost => self.count("transactions whose reply is lost"),
        }
        let (failed, results) = (BTreeSet::new(), Vec::with_capacity(group.units.len()));
        let transaction = Transaction {
            generation: number,
            epochs,
            group,
            fate,
            fenced: false,
            refused,
            next: None,
            failed,
            results,
        };
        self.transactions.insert(id, transaction);
        let pause = self.commit_time();
        self.after(pause, Event::Apply(id));
    }

    fn commit_time(&mut self) -> Duration {
        let slow = !self.calm && self.chance.per_mille(self.plan.slow_commits);
        self.chance.micros(50, self.plan.commit_us) * if slow { 100 } else { 1 }
    }

    /// A transaction is at Postgres.
    pub(super) fn apply(&mut self, id: u64) {
        let Some(mut transaction) = self.transactions.remove(&id) else { return };
        let generation = transaction.generation;
        if self.generations[generation].live() {
            self.boundary(generation);
        }
        let Transaction { group, epochs, .. } = &transaction;
        if transaction.fate != Fate::Lost && !self.tables.may_write(epochs, group.units.iter().map(shard)) {
            transaction.fenced = true;
            self.count("transactions fenced off");
            self.note(format_args!("t{id} is fenced off"));
        }
        let over = transaction.fenced || transaction.fate == Fate::Lost || self.apply_units(id, &mut transaction);
        self.transactions.insert(id, transaction);
        if self.generations[generation].live() {
            self.boundary(generation);
        }
        let pause = self.commit_time();
        self.after(pause / 2, if over { Event::Reply(id) } else { Event::Apply(id) });
    }

    /// True once each unit has its answer.
    fn apply_units(&mut self, id: u64, transaction: &mut Transaction) -> bool {
        let Transaction { group, refused, next, failed, results, .. } = transaction;
        let units = &group.units;
        let Some(index) = *next else {
            let all: Vec<&Unit> = units.iter().collect();
            let answer = if refused.is_some() { Err(refusal()) } else { self.commit(id, &all) };
            return match answer {
                Ok(()) => {
                    results.extend(units.iter().map(|_| Ok(clock::system())));
                    true
                }
                Err(_) if units.len() > 1 => {
                    *next = Some(0);
                    false
                }
                Err(error) => {
                    results.push(Err(error));
                    true
                }
            };
        };
        let unit = &units[index];
        let answer = if failed.contains(&unit.submission) {
            Err(UnitError::Behind)
        } else if *refused == Some(index) {
            Err(refusal())
        } else {
            self.commit(id, &[unit])
        };
        if answer.is_err() {
            failed.insert(unit.submission);
        }
        results.push(answer.map(|()| clock::system()));
        *next = Some(index + 1);
        index + 1 == units.len()
    }

    /// Commits units together, unless Postgres refuses them.
    fn commit(&mut self, id: u64, units: &[&Unit]) -> Result<(), UnitError> {
        let mut changed = match self.tables.prepare(units) {
            Ok(changed) => changed,
            Err(UnitError::DuplicateKey) => {
                self.count("keys taken meanwhile");
                return Err(UnitError::DuplicateKey);
            }
            Err(error) => {
                self.check.fail("what is written fits what is stored", format!("t{id}: {error}"));
                return Err(error);
            }
        };
        self.check.transaction(&mut changed, units);
        self.tables.commit(changed);
        self.note(format_args!("t{id} commits {}", units.len()));
        Ok(())
    }

    /// A transaction's answer arrives, or its connection ends.
    pub(super) fn reply(&mut self, id: u64) {
        let Some(number) = self.transactions.get(&id).map(|transaction| transaction.generation) else { return };
        if self.generations[number].live()
            && let Some(later) = self.stalled(number)
        {
            return self.at(later, Event::Reply(id));
        }
        let Some(transaction) = self.transactions.remove(&id) else { return };
        if !self.generations[number].live() {
            return;
        }
        if transaction.fenced || transaction.fate != Fate::Fine {
            return self.end(number, "a lane failed");
        }
        if transaction.refused.is_some() {
            self.count("units refused");
        }
        let Some(engine) = &self.generations[number].engine else { return };
        let lane = transaction.group.lane;
        let committed = engine.answered(transaction.group, transaction.results);
        self.generations[number].lanes[lane] = false;
        self.post(number, committed);
        self.start_lane(number, lane);
    }

    /// Lets the writer behind take its next note.
    pub(super) fn start_writer(&mut self, number: usize) {
        let generation = &mut self.generations[number];
        if generation.writing {
            return;
        }
        let Some(note) = generation.engine.as_mut().and_then(Driven::note) else { return };
        generation.writing = true;
        let pause = self.commit_time();
        self.after(pause, Event::Write(number, Box::new(note)));
    }

    /// What is to be written behind or ahead is at Postgres.
    pub(super) fn write_behind(&mut self, number: usize, note: Note) {
        // The writer goes with its owner; what it has sent may have been committed before.
        if !self.generations[number].live() {
            return;
        }
        if let Some(later) = self.stalled(number) {
            return self.at(later, Event::Write(number, Box::new(note)));
        }
        let fails = !self.calm && self.chance.one_in(20);
        match note {
            Note::Ahead(rows) => {
                let shards = rows.iter().map(|row| Shard::of(row.submission));
                if fails || !self.tables.may_write(&self.generations[number].epochs, shards) {
                    return self.after(Duration::from_millis(100), Event::Write(number, Box::new(Note::Ahead(rows))));
                }
                self.note(format_args!("g{number} writes {} rows ahead", rows.len()));
                self.tables.leases.extend(rows.iter().cloned().map(keyed));
                if let Some(written) = &mut self.generations[number].written {
                    behind::replace(written, &rows);
                }
                let pause = self.chance.micros(0, 5_000);
                self.after(pause, Event::Deliver(number, Box::new(Command::WrittenAhead { rows })));
            }
            Note::Snapshot(snapshot) => self.write_snapshot(number, snapshot, fails),
            Note::Last(all) => {
                all.into_iter().for_each(|last| self.stopped(number, last.snapshot, fails));
                return;
            }
        }
        self.generations[number].writing = false;
        self.start_writer(number);
    }

    pub(super) fn write_snapshot(&mut self, number: usize, snapshot: behind::Snapshot, fails: bool) {
        let generation = &mut self.generations[number];
        generation.unwritten.extend(snapshot.resolved);
        let known = generation.written.take().unwrap_or_else(|| self.tables.lease_rows(generation.shards));
        let Changes { upserts, deletes, holds } = Changes::of(known, snapshot.leases, &snapshot.not_loaded);
        let submissions = upserts.iter().map(|row| row.submission).chain(deletes.iter().map(|key| key.0));
        let submissions = submissions.chain(generation.unwritten.iter().map(|(id, _)| *id));
        if fails || !self.tables.may_write(&generation.epochs, submissions.map(Shard::of)) {
            return self.count("write-behinds that fail");
        }
        let resolved = std::mem::take(&mut generation.unwritten);
        generation.written = Some(holds);
        self.note(format_args!("g{number} writes {} rows behind, deletes {}", upserts.len(), deletes.len()));
        for key in deletes {
            self.tables.leases.remove(&key);
        }
        self.tables.leases.extend(upserts.into_iter().map(keyed));
        for (id, resolved) in resolved {
            self.check.resolved(&self.tables, id, &resolved);
            // A row that a lane writes at this moment is left out.
            let left_out = self.chance.one_in(10);
            if let Some(row) = self.tables.submissions.get_mut(&id)
                && row.resolved_through < resolved.through
                && !left_out
            {
                (row.resolved_through, row.resolved_position) = (resolved.through, resolved.outcomes_after);
            }
        }
    }
}

fn shard(unit: &Unit) -> Shard {
    unit.shard
}

fn refusal() -> UnitError {
    UnitError::Refused("by the simulation".to_owned())
}

fn keyed(row: LeaseRow) -> ((Uuid, u32, u32), LeaseRow) {
    (behind::key(&row), row)
}

/// A submission's name in traces.
pub(super) fn short(id: Uuid) -> String {
    let bytes = id.as_bytes();
    format!("{:02x}{:02x}{:02x}{:02x}", bytes[12], bytes[13], bytes[14], bytes[15])
}

fn describe(write: &Write) -> String {
    match write {
        Write::Create(new) => format!("create[{}]", new.tenant),
        Write::Batch(batch) => format!("batch{}[{}]", batch.sequence, batch.task_count),
        Write::Results(row) => format!(
            "results@{}[{}:{}+{} a{} {}]",
            row.position, row.sequence, row.first_task, row.task_count, row.attempt, row.kernel
        ),
        Write::Seal { batch_count } => format!("seal{batch_count}"),
        Write::Complete => "complete".to_owned(),
        Write::Cancel { reason, .. } => format!("cancel[{reason:?}]"),
        Write::Controls(change) => {
            format!("controls[{} {:?} {:?}]", change.tenant, change.paused, change.max_leased_tasks)
        }
    }
}
