//! The checker.

use std::{collections::BTreeMap, fmt};

use hashmesh::v1::{OutcomeStatus, SubmissionState};

use super::{History, Observed, Reader};

/// What can be wrong, by the promise (DESIGN §12) that it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Violation {
    /// 1: a batch that was acknowledged was not there any more when the submission was opened again.
    Forgotten,
    /// 1, 2: a task of an acknowledged batch has no outcome in the end.
    NoOutcome,
    /// 2: an outcome for a task that nobody submitted.
    Phantom,
    /// 2, 3: a task has two outcomes.
    SecondOutcome,
    /// 5: a position was left out.
    PositionGap,
    /// 5: a position came again.
    PositionRepeat,
    /// 5: two readers saw different outcomes at one position.
    ReadersDisagree,
    /// 5: a reader that was told that this is the end has not seen all.
    ReadTooLittle,
    /// 6: a counter is not the sum of what it counts.
    WrongCounter,
    /// 7: a digest is not that of the task's bytes.
    WrongDigest,
    /// 7: a task whose bytes were at hand failed.
    NotSucceeded,
    /// 1: the submission did not end as COMPLETED.
    NotCompleted,
}

/// What the checker found: for each kind of violation how often, and the first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict(BTreeMap<Violation, (usize, String)>);

impl Verdict {
    fn report(&mut self, violation: Violation, what: impl FnOnce() -> String) {
        self.0.entry(violation).and_modify(|(count, _)| *count += 1).or_insert_with(|| (1, what()));
    }

    pub(crate) fn clean(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn has(&self, violation: Violation) -> bool {
        self.0.contains_key(&violation)
    }

    /// Fails the test that reports it, unless it is clean.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        assert!(self.clean(), "the history breaks promises:\n{self}");
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (violation, (count, first)) in &self.0 {
            writeln!(f, "{violation:?}, {count} times, first: {first}")?;
        }
        Ok(())
    }
}

/// Judges a history of a submission that was sealed and has ended. Its readers have read to the end.
pub(crate) fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    openings(history, &mut verdict);
    for reader in &history.readers {
        positions(reader, &mut verdict);
    }
    agreement(history, &mut verdict);
    // They agree, or it is reported: one speaks for all.
    if let Some(reader) = history.readers.first() {
        outcomes(history, reader, &mut verdict);
    }
    end(history, &mut verdict);
    for fault in &history.counter_faults {
        verdict.report(Violation::WrongCounter, || fault.clone());
    }
    verdict
}

fn openings(history: &History, verdict: &mut Verdict) {
    for opening in &history.opened {
        if opening.next_sequence < opening.acknowledged_batches {
            verdict.report(Violation::Forgotten, || format!("{opening:?}"));
        }
    }
}

/// Every position once, in order, from the first on, across resumed streams.
fn positions(reader: &Reader, verdict: &mut Verdict) {
    let mut last = 0;
    for session in &reader.sessions {
        for outcome in &session.outcomes {
            let position = outcome.position;
            let told =
                || format!("{} saw {position} after {last}, asked for after {}", reader.name, session.after_position);
            if position <= last {
                verdict.report(Violation::PositionRepeat, told);
            } else if position > last + 1 {
                verdict.report(Violation::PositionGap, told);
            }
            last = last.max(position);
        }
    }
}

fn agreement(history: &History, verdict: &mut Verdict) {
    let mut at: BTreeMap<u64, &Observed> = BTreeMap::new();
    for reader in &history.readers {
        for outcome in reader.outcomes() {
            let first = at.entry(outcome.position).or_insert(outcome);
            if *first != outcome {
                verdict.report(Violation::ReadersDisagree, || format!("{first:?} and {outcome:?} ({})", reader.name));
            }
        }
    }
}

/// One outcome per task that was acknowledged, none for others, each with the right digest.
fn outcomes(history: &History, reader: &Reader, verdict: &mut Verdict) {
    let mut positions: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    for outcome in reader.outcomes() {
        let tasks = history.submitted.get(&outcome.sequence);
        let index = tasks.and_then(|tasks| tasks.clone().nth(outcome.task as usize));
        let Some(index) = index else {
            verdict.report(Violation::Phantom, || format!("{outcome:?}"));
            continue;
        };
        // The same position again is a repeat, not another outcome.
        let position = *positions.entry((outcome.sequence, outcome.task)).or_insert(outcome.position);
        if position != outcome.position {
            verdict.report(Violation::SecondOutcome, || format!("{outcome:?}, the first is at {position}"));
        }
        if outcome.status != OutcomeStatus::Succeeded {
            verdict.report(Violation::NotSucceeded, || format!("{outcome:?}"));
        } else if outcome.digest != history.wanted[index] {
            verdict.report(Violation::WrongDigest, || format!("{outcome:?}"));
        }
    }
    for sequence in history.acknowledged.keys() {
        let count = history.submitted.get(sequence).map_or(0, ExactSizeIterator::len);
        for task in 0..u32::try_from(count).expect("a batch is small") {
            if !positions.contains_key(&(*sequence, task)) {
                verdict.report(Violation::NoOutcome, || format!("task {task} of batch {sequence}"));
            }
        }
    }
}

/// The submission's own account of itself.
fn end(history: &History, verdict: &mut Verdict) {
    let Some(end) = &history.end else {
        return verdict.report(Violation::NotCompleted, || "it was not seen to end".to_owned());
    };
    if end.state() != SubmissionState::Completed {
        verdict.report(Violation::NotCompleted, || format!("{end:?}"));
    }
    for reader in &history.readers {
        let last = reader.outcomes().map(|outcome| outcome.position).max().unwrap_or(0);
        if last < end.recorded_tasks {
            verdict.report(Violation::ReadTooLittle, || format!("{} ended at {last}: {end:?}", reader.name));
        }
    }
    let submitted: u64 = history.submitted.values().map(|tasks| tasks.len() as u64).sum();
    let count = |status: OutcomeStatus| {
        let outcomes = history.readers.first().into_iter().flat_map(Reader::outcomes);
        outcomes.filter(|outcome| outcome.status == status).count() as u64
    };
    for (what, counter, counted) in [
        ("accepted", end.accepted_tasks, submitted),
        ("recorded", end.recorded_tasks, end.succeeded_tasks + end.mismatched_tasks + end.failed_tasks),
        ("succeeded", end.succeeded_tasks, count(OutcomeStatus::Succeeded)),
        ("mismatched", end.mismatched_tasks, count(OutcomeStatus::Mismatched)),
        ("failed", end.failed_tasks, count(OutcomeStatus::Failed)),
    ] {
        if counter != counted {
            verdict.report(Violation::WrongCounter, || format!("{what} is {counter}, counted {counted}"));
        }
    }
}
