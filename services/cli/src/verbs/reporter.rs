//! What is said on standard error while a verb runs, and whether something went wrong.

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{name, progress::Progress};

/// Says what happens to single inputs. Clones speak for the same verb.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    quiet: bool,
    progress: Progress,
    troubles: Arc<AtomicU64>,
}

impl Reporter {
    pub(super) fn new(quiet: bool, progress: Progress) -> Self {
        Self { quiet, progress, troubles: Arc::default() }
    }

    /// Something that makes the exit code 1.
    pub(super) fn trouble(&self, name: &[u8], what: &str) {
        self.troubles.fetch_add(1, Ordering::Relaxed);
        self.say(&format!("hashmesh: {}: {what}", name::display(name)));
    }

    /// Something worth knowing that is no failure.
    pub(super) fn note(&self, name: &[u8], what: &str) {
        self.inform(&format!("hashmesh: {}: {what}", name::display(name)));
    }

    /// A line about the whole.
    pub(super) fn inform(&self, line: &str) {
        if !self.quiet {
            self.say(line);
        }
    }

    /// A line about the whole that must not be missed.
    pub(super) fn warn(&self, line: &str) {
        self.say(line);
    }

    /// How much went wrong.
    pub(super) fn troubles(&self) -> u64 {
        self.troubles.load(Ordering::Relaxed)
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    fn say(&self, line: &str) {
        self.progress.aside(|| {
            // Nobody to tell if standard error is closed.
            let _ = writeln!(std::io::stderr(), "{line}");
        });
    }
}
