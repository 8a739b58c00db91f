//! A CPU that computes wrongly, for the tests of what is done about it.
//!
//! Compiled into nothing without the feature `mutants`; with it, `HASHMESH_WRONG_DIGEST=N` spoils one digest: the one that is
//! computed again for the N-th time in this process, counted from 0 (that one is of the check at start).

#[cfg(feature = "mutants")]
pub(crate) fn spoil(digest: &mut [u8]) {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    };

    static CHOSEN: LazyLock<Option<u64>> = LazyLock::new(|| std::env::var("HASHMESH_WRONG_DIGEST").ok()?.parse().ok());
    static CHECKED: AtomicU64 = AtomicU64::new(0);

    if let Some(chosen) = *CHOSEN
        && CHECKED.fetch_add(1, Ordering::Relaxed) == chosen
    {
        digest[0] ^= 1;
    }
}

/// Without the feature nothing is spoiled.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn spoil(_digest: &mut [u8]) {}
