//! Whether a verb's digests may come from the cache.

use clap::{Args, ValueEnum};
use hashmesh::v1::{CacheMode, PackedOutcomes};

/// The option of every verb that submits.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct CachingArgs {
    /// Whether digests of what has not changed may come from the cache (use), are computed anew and kept there (refresh), or
    /// computed and not kept (bypass) [default: use; where digests are verified: bypass].
    #[arg(long, value_enum, value_name = "MODE")]
    cache: Option<Mode>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    Use,
    Refresh,
    Bypass,
}

impl CachingArgs {
    /// As it was said, else as the mesh decides: for each task by whether digests are expected.
    pub(super) fn mode(self) -> CacheMode {
        self.mode_or(CacheMode::Unspecified)
    }

    /// For what verifies: bytes are read unless it was said otherwise.
    pub(super) fn verifying(self) -> CacheMode {
        self.mode_or(CacheMode::Bypass)
    }

    fn mode_or(self, default: CacheMode) -> CacheMode {
        match self.cache {
            None => default,
            Some(Mode::Use) => CacheMode::Use,
            Some(Mode::Refresh) => CacheMode::Refresh,
            Some(Mode::Bypass) => CacheMode::Bypass,
        }
    }
}

/// As people write it.
pub(super) fn mode_name(mode: CacheMode) -> &'static str {
    match mode {
        CacheMode::Unspecified => "default",
        CacheMode::Use => "use",
        CacheMode::Refresh => "refresh",
        CacheMode::Bypass => "bypass",
    }
}

/// How many of these digests came from the cache.
pub(super) fn cached_tasks(outcomes: &PackedOutcomes) -> u64 {
    outcomes.identities.as_ref().map_or(0, |identities| identities.cached_tasks() as u64)
}

/// What a summary says of it: nothing, if there were none.
pub(super) fn of_which_cached(cached: u64) -> String {
    if cached == 0 { String::new() } else { format!("; {cached} digests from the cache") }
}
