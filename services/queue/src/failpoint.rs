//! Deliberate failures around the commit, where a crash or a lost answer leaves the most open.
//!
//! Compiled into nothing without the feature `mutants`; with it, `HASHMESH_FAILPOINT` says where and when:
//! `before-commit:N`, `after-commit:N` or `reply-lost:N` strikes once, at the N-th transaction of the process's lanes.

/// Where a transaction is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failpoint {
    /// The process dies when every statement but COMMIT has been answered.
    BeforeCommit,
    /// The process dies when COMMIT has been answered, and nobody has been told.
    AfterCommit,
    /// The answer to COMMIT never comes.
    ReplyLost,
}

#[cfg(feature = "mutants")]
mod chosen {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    };

    use super::Failpoint;

    static CHOSEN: LazyLock<Option<(Failpoint, u64)>> = LazyLock::new(|| {
        let text = std::env::var("HASHMESH_FAILPOINT").ok()?;
        let known = [
            ("before-commit", Failpoint::BeforeCommit),
            ("after-commit", Failpoint::AfterCommit),
            ("reply-lost", Failpoint::ReplyLost),
        ];
        let chosen = text.split_once(':').and_then(|(name, number)| {
            let (_, failpoint) = known.into_iter().find(|(known, _)| *known == name)?;
            Some((failpoint, number.parse().ok()?))
        });
        tracing::warn!(text, ?chosen, "a failpoint is set");
        chosen
    });
    static TRANSACTIONS: AtomicU64 = AtomicU64::new(0);

    /// True if a transaction that has come this far is the one to be struck. Each asks once for each failpoint.
    pub(crate) fn strikes(failpoint: Failpoint) -> bool {
        let Some((_, number)) = CHOSEN.filter(|(chosen, _)| *chosen == failpoint) else { return false };
        let struck = TRANSACTIONS.fetch_add(1, Ordering::Relaxed) + 1 == number;
        if struck {
            tracing::warn!(?failpoint, number, "a failpoint strikes");
        }
        struck
    }
}

#[cfg(feature = "mutants")]
pub(crate) use chosen::strikes;

/// Without the feature nothing strikes.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn strikes(_failpoint: Failpoint) -> bool {
    false
}
