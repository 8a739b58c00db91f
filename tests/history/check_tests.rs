//! The checker must pass what is right, and find each thing that is wrong. Histories made by hand.

use std::time::Duration;

use hashmesh::v1::{OutcomeStatus, Submission, SubmissionState};

use super::{
    History, Observed, Opening, Reader, Session,
    check::{Violation, check},
};

/// Three batches of two tasks, read by two readers: one at once, one in two sessions.
fn good() -> History {
    let wanted: Vec<_> = (0..6).map(|task| [task; 32]).collect();
    // Committed in this order.
    let order = [(1, 0), (1, 1), (0, 0), (0, 1), (2, 0), (2, 1)];
    let outcomes: Vec<Observed> = order
        .iter()
        .zip(1..)
        .map(|(&(sequence, task), position)| Observed {
            position,
            sequence,
            task,
            status: OutcomeStatus::Succeeded,
            digest: wanted[(sequence * 2 + task) as usize],
        })
        .collect();
    let session = |after_position: u64, until: usize| Session {
        after_position,
        outcomes: outcomes[usize::try_from(after_position).expect("small")..until].to_vec(),
    };
    History {
        wanted,
        submitted: [(0, 0..2), (1, 2..4), (2, 4..6)].into(),
        acknowledged: (0..3).map(|sequence| (sequence, Duration::from_millis(sequence.into()))).collect(),
        opened: vec![
            Opening { next_sequence: 0, acknowledged_batches: 0 },
            // Stored, but the acknowledgement was lost.
            Opening { next_sequence: 2, acknowledged_batches: 1 },
        ],
        readers: vec![
            Reader { name: "at once".to_owned(), sessions: vec![session(0, 6)] },
            Reader { name: "resumed".to_owned(), sessions: vec![session(0, 3), session(3, 6)] },
        ],
        end: Some(Submission {
            state: SubmissionState::Completed as i32,
            accepted_tasks: 6,
            recorded_tasks: 6,
            succeeded_tasks: 6,
            ..Submission::default()
        }),
        counter_faults: Vec::new(),
    }
}

#[track_caller]
fn finds(violation: Violation, spoil: impl FnOnce(&mut History)) {
    let mut history = good();
    spoil(&mut history);
    let verdict = check(&history);
    assert!(verdict.has(violation), "wanted {violation:?}, got:\n{verdict}");
}

#[test]
fn a_history_that_keeps_every_promise_is_clean() {
    check(&good()).assert_clean();
}

#[test]
fn a_batch_that_was_sent_and_never_acknowledged_may_have_outcomes_or_none() {
    let mut history = good();
    history.acknowledged.remove(&2);
    check(&history).assert_clean();
}

#[test]
fn an_acknowledged_batch_that_is_gone_after_a_restart_is_found() {
    finds(Violation::Forgotten, |history| history.opened[1].acknowledged_batches = 3);
}

#[test]
fn an_acknowledged_task_without_outcome_is_found() {
    finds(Violation::NoOutcome, |history| {
        for reader in &mut history.readers {
            reader.sessions.last_mut().unwrap().outcomes.pop();
        }
    });
}

#[test]
fn outcomes_of_tasks_that_nobody_submitted_are_found() {
    finds(Violation::Phantom, |history| history.readers[0].sessions[0].outcomes[5].sequence = 3);
    finds(Violation::Phantom, |history| history.readers[0].sessions[0].outcomes[5].task = 2);
}

#[test]
fn a_task_with_two_outcomes_is_found_even_if_they_are_equal() {
    finds(Violation::SecondOutcome, |history| {
        let mut again = history.readers[0].sessions[0].outcomes[0];
        again.position = 7;
        history.readers[0].sessions[0].outcomes.push(again);
    });
}

#[test]
fn gaps_and_repeats_at_the_seam_of_two_sessions_are_found() {
    finds(Violation::PositionGap, |history| {
        history.readers[1].sessions[1].outcomes.remove(0);
    });
    finds(Violation::PositionRepeat, |history| {
        let again = *history.readers[1].sessions[0].outcomes.last().unwrap();
        history.readers[1].sessions[1].outcomes.insert(0, again);
    });
    finds(Violation::PositionGap, |history| {
        history.readers[0].sessions[0].outcomes.remove(0);
    });
}

#[test]
fn a_repeat_is_not_taken_for_a_second_outcome() {
    let mut history = good();
    let again = history.readers[0].sessions[0].outcomes[2];
    history.readers[0].sessions[0].outcomes.insert(2, again);
    assert!(!check(&history).has(Violation::SecondOutcome));
}

#[test]
fn readers_that_saw_different_things_are_found() {
    finds(Violation::ReadersDisagree, |history| history.readers[1].sessions[0].outcomes[0].task = 1);
    finds(Violation::ReadersDisagree, |history| history.readers[1].sessions[0].outcomes[0].digest = [9; 32]);
}

#[test]
fn a_reader_that_stopped_early_is_found() {
    finds(Violation::ReadTooLittle, |history| drop(history.readers[1].sessions.pop()));
}

#[test]
fn wrong_digests_and_failures_are_found() {
    finds(Violation::WrongDigest, |history| history.readers[0].sessions[0].outcomes[0].digest[31] ^= 1);
    finds(Violation::NotSucceeded, |history| {
        history.readers[0].sessions[0].outcomes[0].status = OutcomeStatus::Failed;
    });
}

#[test]
fn counters_that_do_not_add_up_are_found() {
    finds(Violation::WrongCounter, |history| history.end.as_mut().unwrap().accepted_tasks = 5);
    finds(Violation::WrongCounter, |history| history.end.as_mut().unwrap().succeeded_tasks = 7);
    finds(Violation::WrongCounter, |history| history.counter_faults.push("row 3".to_owned()));
}

#[test]
fn a_submission_that_did_not_complete_is_found() {
    finds(Violation::NotCompleted, |history| history.end = None);
    finds(Violation::NotCompleted, |history| {
        history.end.as_mut().unwrap().set_state(SubmissionState::Sealed);
    });
}
