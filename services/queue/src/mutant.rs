//! Deliberate defects, each of which the tests must find: the proof that they would find a real one.
//!
//! Compiled into nothing without the feature `mutants`; with it, `HASHMESH_MUTANT` names the one to switch on.

/// A deliberate defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Batches are acknowledged when they are taken, not when they are committed.
    AcknowledgeBeforeCommit,
    /// Leases that expired are given to others, but their outcomes are still recorded.
    DropLeaseCheck,
    /// A reader that resumes misses the first outcome behind its position.
    ResumeOffByOne,
    /// Outcomes are recorded whatever epoch they name.
    SkipEpochCheck,
    /// A failed task counts as succeeded too.
    CountFailedTwice,
    /// What was hashed counts once for each run that a part is divided into.
    CountBytesTwice,
    /// A new owner counts the bytes that were hashed from zero.
    CountersStartAnew,
    /// What a worker goes on with is leased to another too.
    AdoptTwice,
    /// How far a submission is resolved is noted before that is committed.
    ResolvedRunsAhead,
    /// What a lost worker held is forgotten.
    RequeueLost,
    /// A range is leased again before its strikes are in the table.
    StrikeNotAwaited,
    /// Outcomes are taken while a cancellation is on its way.
    CancelKeepsLeases,
    /// What is sent again under a number that is not in memory is not compared.
    RepeatNotCompared,
    /// A task that failed is never tried again.
    RetryTimerLost,
    /// Inputs of tasks that failed are left out.
    ElideTooEarly,
    /// What stands behind a failed unit is written all the same.
    LaneGoesOn,
    /// A sealed submission completes with whatever comes first.
    CompleteTooEarly,
    /// Tasks are tried once more than they may be.
    OneAttemptTooMany,
    /// A follower misses a row that begins where it is.
    FollowerSkips,
    /// What was kept for the worker that held it is kept for ever.
    HeldOffForever,
    /// A worker may go on with tasks that were replaced by others.
    FingerprintNotCompared,
}

/// As `HASHMESH_MUTANT` names them.
#[cfg(feature = "mutants")]
const KNOWN: [(&str, Mutant); 21] = [
    ("acknowledge-before-commit", Mutant::AcknowledgeBeforeCommit),
    ("drop-lease-check", Mutant::DropLeaseCheck),
    ("resume-off-by-one", Mutant::ResumeOffByOne),
    ("skip-epoch-check", Mutant::SkipEpochCheck),
    ("count-failed-twice", Mutant::CountFailedTwice),
    ("count-bytes-twice", Mutant::CountBytesTwice),
    ("counters-start-anew", Mutant::CountersStartAnew),
    ("adopt-twice", Mutant::AdoptTwice),
    ("resolved-runs-ahead", Mutant::ResolvedRunsAhead),
    ("requeue-lost", Mutant::RequeueLost),
    ("strike-not-awaited", Mutant::StrikeNotAwaited),
    ("cancel-keeps-leases", Mutant::CancelKeepsLeases),
    ("repeat-not-compared", Mutant::RepeatNotCompared),
    ("retry-timer-lost", Mutant::RetryTimerLost),
    ("elide-too-early", Mutant::ElideTooEarly),
    ("lane-goes-on", Mutant::LaneGoesOn),
    ("complete-too-early", Mutant::CompleteTooEarly),
    ("one-attempt-too-many", Mutant::OneAttemptTooMany),
    ("follower-skips", Mutant::FollowerSkips),
    ("held-off-forever", Mutant::HeldOffForever),
    ("fingerprint-not-compared", Mutant::FingerprintNotCompared),
];

#[cfg(feature = "mutants")]
static ACTIVE: std::sync::LazyLock<Option<Mutant>> = std::sync::LazyLock::new(|| {
    let name = std::env::var("HASHMESH_MUTANT").ok()?;
    let found = KNOWN.into_iter().find(|(known, _)| *known == name).map(|(_, mutant)| mutant);
    tracing::warn!(name, ?found, "a deliberate defect is switched on");
    found
});

/// True if the process was told to have this defect, or the test that runs on this thread.
#[cfg(feature = "mutants")]
pub(crate) fn active(mutant: Mutant) -> bool {
    #[cfg(test)]
    if HERE.get() == Some(mutant) {
        return true;
    }
    *ACTIVE == Some(mutant)
}

#[cfg(all(test, feature = "mutants"))]
thread_local! {
    /// The defect of what runs on this thread.
    pub(crate) static HERE: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Without the feature there are no mutants.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn active(_mutant: Mutant) -> bool {
    false
}
