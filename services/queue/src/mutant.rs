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
}

#[cfg(feature = "mutants")]
static ACTIVE: std::sync::LazyLock<Option<Mutant>> = std::sync::LazyLock::new(|| {
    let name = std::env::var("HASHMESH_MUTANT").ok()?;
    let known = [
        ("acknowledge-before-commit", Mutant::AcknowledgeBeforeCommit),
        ("drop-lease-check", Mutant::DropLeaseCheck),
        ("resume-off-by-one", Mutant::ResumeOffByOne),
    ];
    let found = known.into_iter().find(|(known, _)| *known == name).map(|(_, mutant)| mutant);
    tracing::warn!(name, ?found, "a deliberate defect is switched on");
    found
});

/// True if the process was told to have this defect.
#[cfg(feature = "mutants")]
pub(crate) fn active(mutant: Mutant) -> bool {
    *ACTIVE == Some(mutant)
}

/// Without the feature there are no mutants.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn active(_mutant: Mutant) -> bool {
    false
}
