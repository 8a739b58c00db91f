//! The promises, looked at from outside: at every commit by the tables alone, and wherever a client or a reader was told
//! something. Nothing here asks the engine.

use std::{collections::BTreeMap, rc::Rc};

use hashmesh::v1::{OutcomeStatus, PackedOutcomes};
use prost::Message as _;
use uuid::Uuid;

use super::{
    content::{Behaviour, Content, digest},
    tables::{Changed, State, SubmissionRow, Tables},
};
use crate::{
    core::Resolved,
    store::model::{NewBatch, NewResults, Totals, Unit, Write},
};

/// The label that says which client made a submission.
pub(super) const CLIENT: &str = "client";

/// Outcomes as a worker sent them.
#[derive(Debug)]
pub(super) struct SentFrame {
    /// Why none of it may be recorded, once an engine has it.
    pub(super) forbidden: Option<&'static str>,
    /// Whose tasks they are of.
    pub(super) submission: Option<Uuid>,
    pub(super) hashed_bytes: u64,
    /// By task: (retryable, uncharged).
    pub(super) failures: BTreeMap<u32, (bool, bool)>,
    /// Its bytes were counted.
    counted: bool,
}

impl SentFrame {
    pub(super) fn new(submission: Uuid, hashed_bytes: u64, failures: BTreeMap<u32, (bool, bool)>) -> Self {
        let forbidden = Some("no engine has had it");
        Self { forbidden, submission: Some(submission), hashed_bytes, failures, counted: false }
    }
}

#[derive(Debug, Default)]
pub(super) struct Checker {
    /// All that clients ever made.
    pub(super) contents: BTreeMap<[u8; 32], Rc<Content>>,
    pub(super) frames: BTreeMap<u64, SentFrame>,
    /// Workers were lost by chance, so that a task may be blamed that is innocent.
    pub(super) chance_losses: bool,
    pub(super) violation: Option<String>,
}

impl Checker {
    /// Notes the first violation.
    pub(super) fn fail(&mut self, promise: &str, what: impl AsRef<str>) {
        self.violation.get_or_insert_with(|| format!("{promise}: {}", what.as_ref()));
    }

    fn require(&mut self, holds: bool, promise: &str, what: impl FnOnce() -> String) {
        if !holds {
            let what = what();
            self.fail(promise, what);
        }
    }

    /// Looks at a transaction that is about to be committed.
    pub(super) fn transaction(&mut self, changed: &mut Changed, units: &[&Unit]) {
        for (id, (before, after)) in &mut changed.submissions {
            let empty = (State::Open, 0, 0);
            let (state, stored, rows) =
                before.as_ref().map_or(empty, |row| (row.state, row.batches.len(), row.results.len()));
            let ended = matches!(state, State::Completed | State::Cancelled);
            for place in stored..after.batches.len() {
                self.require(!ended && state == State::Open, "2 no phantom", || {
                    format!("a batch of {id} is stored behind its {state:?}")
                });
                self.batch(*id, place, after);
            }
            self.require(!ended || rows == after.results.len(), "2 cancel", || {
                format!("an outcome of {id} is recorded, which is {state:?}")
            });
            for place in rows..after.results.len() {
                self.results(*id, place, after);
            }
            self.end(*id, after);
        }
        self.elision(changed, units);
    }

    /// What is stored is a prefix of what its client made.
    fn batch(&mut self, id: Uuid, place: usize, after: &SubmissionRow) {
        let new: &NewBatch = &after.batches[place].new;
        let content = self.contents.get(&new.fingerprint).cloned();
        let client = after.new.labels.get(CLIENT);
        let made = content.is_some_and(|made| {
            Some(&made.client.to_string()) == client
                && made.sequence == new.sequence
                && made.tasks() == new.task_count
                && made.packed == new.tasks
        });
        self.require(made, "2 no phantom", || format!("nobody made what is stored as batch {} of {id}", new.sequence));
        self.require(new.sequence as usize == place, "1 durable", || {
            format!("batch {} of {id} is stored in place {place}", new.sequence)
        });
        let accepted: u64 = after.batches[..=place].iter().map(|batch| u64::from(batch.new.task_count)).sum();
        self.require(new.accepted_through == accepted, "6 conserved counts", || {
            format!("batch {} of {id} says {} tasks, {accepted} are stored", new.sequence, new.accepted_through)
        });
    }

    fn results(&mut self, id: Uuid, place: usize, after: &mut SubmissionRow) {
        let row = Rc::clone(&after.results[place]);
        let before = if place == 0 { (0, Totals::default()) } else { told(&after.results[place - 1]) };
        self.require(row.position == before.0 + 1, "5 ordered positions", || {
            format!("position {} of {id} follows {}", row.position, before.0)
        });
        let Some(content) =
            after.batch(row.sequence).and_then(|batch| self.contents.get(&batch.new.fingerprint)).cloned()
        else {
            return self
                .fail("2 no phantom", format!("an outcome of batch {} of {id}, which is not stored", row.sequence));
        };
        let last = row.first_task + row.task_count;
        if last > content.tasks() || row.task_count == 0 {
            return self.fail("2 no phantom", format!("outcomes {}..{last} of {id}/{}", row.first_task, row.sequence));
        }
        let body = PackedOutcomes::decode(row.outcomes.clone()).unwrap_or_default();
        let token = row.kernel.strip_prefix('f').and_then(|number| number.parse::<u64>().ok());
        if let Some(why) = token.and_then(|token| self.frames.get(&token)).and_then(|frame| frame.forbidden) {
            self.fail("3 fenced", format!("outcomes of {id}/{} are recorded: {why}", row.sequence));
        }
        let mut totals = before.1;
        for (offset, task) in (0..row.task_count as usize).zip(row.first_task..) {
            let status = row.statuses.as_ref().map_or(OutcomeStatus::Succeeded as u8, |all| all[offset]);
            let twice = Rc::make_mut(&mut after.recorded[row.sequence as usize]);
            if std::mem::replace(&mut twice[task as usize], true) {
                self.fail("2 single outcome", format!("task {task} of {id}/{} has two", row.sequence));
            }
            let status = OutcomeStatus::try_from(i32::from(status)).unwrap_or_default();
            let found = body.digests.get(offset * 8..offset * 8 + 8).unwrap_or_default();
            self.outcome(after, &row, &content.inputs[task as usize], task, (status, found, token));
            match status {
                OutcomeStatus::Succeeded => totals.succeeded += 1,
                OutcomeStatus::Mismatched => totals.mismatched += 1,
                _ => totals.failed += 1,
            }
        }
        if let Some(frame) = token.and_then(|token| self.frames.get_mut(&token))
            && !std::mem::replace(&mut frame.counted, true)
        {
            totals.hashed_bytes += frame.hashed_bytes;
        }
        self.require(row.totals == totals, "6 conserved counts", || {
            format!("the newest row of {id} says {:?}, its rows come to {totals:?}", row.totals)
        });
    }

    /// One outcome is what its task, an honest worker and the rules of attempts make of it.
    fn outcome(
        &mut self,
        after: &SubmissionRow,
        row: &NewResults,
        input: &[u8; 10],
        task: u32,
        (status, found, token): (OutcomeStatus, &[u8], Option<u64>),
    ) {
        let behaviour = Behaviour::of(input);
        let whose = || format!("task {task} of batch {} ({behaviour:?}, attempt {})", row.sequence, row.attempt);
        let max = after.new.max_attempts;
        self.require(row.attempt >= 1 && row.attempt <= max, "9 attempts", || format!("{} of {max}", whose()));
        match (status, token) {
            (OutcomeStatus::Succeeded, Some(_)) => {
                let right = found == digest(input) && behaviour != Behaviour::Mismatched;
                self.require(right, "7 right digest", whose);
            }
            (OutcomeStatus::Mismatched, Some(_)) => {
                let right = found == digest(input) && behaviour == Behaviour::Mismatched;
                self.require(right, "7 right digest", whose);
            }
            (OutcomeStatus::Failed, Some(token)) => {
                let failure = self.frames.get(&token).and_then(|frame| frame.failures.get(&task)).copied();
                let final_failure =
                    failure.is_some_and(|(retryable, uncharged)| !uncharged && (!retryable || row.attempt >= max));
                self.require(final_failure, "9 attempts", || format!("{} failed too early: {failure:?}", whose()));
            }
            (OutcomeStatus::Failed, None) => {
                let guilty = matches!(behaviour, Behaviour::Poison | Behaviour::Hangs);
                let blamed = guilty || self.chance_losses;
                self.require(blamed, "9 poison", || format!("{} is blamed for what it did not do", whose()));
            }
            _ => self.fail("7 right digest", format!("{} has an outcome of nobody: {status:?}", whose())),
        }
    }

    /// What has ended has ended rightly.
    fn end(&mut self, id: Uuid, after: &SubmissionRow) {
        if let Some(count) = after.batch_count {
            self.require(count as usize == after.batches.len(), "2 no phantom", || {
                format!("{id} is sealed with {count} batches and has {}", after.batches.len())
            });
        }
        if after.state == State::Completed {
            let (accepted, recorded) = (after.accepted(), after.position());
            self.require(accepted == recorded, "2 single outcome", || {
                format!("{id} is completed with {recorded} outcomes of {accepted} tasks")
            });
        }
    }

    /// Inputs are left out only where nothing can need them again.
    fn elision(&mut self, changed: &Changed, units: &[&Unit]) {
        for unit in units {
            let Some((_, after)) = changed.submissions.get(&unit.submission) else { continue };
            for batch in unit.writes.iter().filter_map(|write| match write {
                Write::Batch(batch) => after.batch(batch.sequence),
                _ => None,
            }) {
                let sequence = batch.new.sequence;
                let failed = |row: &&Rc<NewResults>| {
                    let failed = OutcomeStatus::Failed as u8;
                    row.sequence == sequence && row.statuses.as_ref().is_some_and(|all| all.contains(&failed))
                };
                let good = after.resolved(sequence) && !after.results.iter().any(|row| failed(&row));
                self.require(batch.tasks == batch.new.tasks || good, "1 durable", || {
                    format!("inputs of batch {sequence} of {} are left out that are needed", unit.submission)
                });
            }
        }
    }

    /// What is written behind is true: a new owner skips it.
    pub(super) fn resolved(&mut self, tables: &Tables, id: Uuid, resolved: &Resolved) {
        let Some(row) = tables.submissions.get(&id) else { return };
        for sequence in 0..resolved.through.min(row.next_sequence()) {
            self.require(row.resolved(sequence), "2 single outcome", || {
                format!("batch {sequence} of {id} counts as resolved and is not")
            });
        }
        self.require(resolved.through <= row.next_sequence(), "2 single outcome", || {
            format!("{id} counts as resolved through {}, which is not stored", resolved.through)
        });
        let behind = row.results.iter().filter(|results| results.sequence >= resolved.through);
        let overlooked = behind.clone().any(|results| results.position <= resolved.outcomes_after);
        self.require(!overlooked, "2 single outcome", || format!("outcomes of {id} would be overlooked"));
    }

    /// A client was told that its batches below `stored` are stored.
    pub(super) fn acknowledged(&mut self, tables: &Tables, id: Uuid, stored: u32) {
        let found = tables.submissions.get(&id).map_or(0, SubmissionRow::next_sequence);
        self.require(found >= stored, "1 durable", || {
            format!("{stored} batches of {id} were accepted, {found} are stored")
        });
    }

    /// A reader got a row of outcomes behind `position`.
    pub(super) fn read(&mut self, tables: &Tables, id: Uuid, position: u64, rows: &[PackedOutcomes]) -> u64 {
        let mut next = position + 1;
        let Some(row) = tables.submissions.get(&id) else { return position };
        for found in rows {
            self.require(found.first_position == next, "5 ordered positions", || {
                format!("a reader of {id} got {} and should get {next}", found.first_position)
            });
            let stored = row.results.iter().rfind(|results| results.position <= found.first_position);
            let stored =
                stored.and_then(|results| super::reads::outcomes(results).after_position(found.first_position - 1));
            let same = stored.is_some_and(|stored| {
                let digests = stored.digests.starts_with(&found.digests);
                (stored.sequence, stored.first_task) == (found.sequence, found.first_task) && digests
            });
            self.require(same, "5 ordered positions", || format!("position {next} of {id} is not what was stored"));
            next = found.through_position() + 1;
        }
        next - 1
    }
}

/// What a row says comes to: the last position and the counters.
fn told(row: &NewResults) -> (u64, Totals) {
    (row.position + u64::from(row.task_count) - 1, row.totals)
}
