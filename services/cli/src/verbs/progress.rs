//! The line that moves on a terminal.

use std::{io::IsTerminal as _, time::Duration};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// When to show progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum When {
    /// If standard error is a terminal and standard output is not: lines of data show progress themselves.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Whether progress is shown, for every verb that submits.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct ProgressArgs {
    /// When to show progress on standard error; without a value: always.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t, num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    progress: When,
}

impl ProgressArgs {
    /// Progress as asked for; one that is `quiet` shows it only if told to.
    pub(super) fn progress(self, quiet: bool) -> Progress {
        Progress::new(self.progress, quiet)
    }
}

/// How far the work is. Clones move the same line.
#[derive(Clone, Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn new(when: When, quiet: bool) -> Self {
        let shown = match when {
            When::Auto => !quiet && std::io::stderr().is_terminal() && !std::io::stdout().is_terminal(),
            When::Always => true,
            When::Never => false,
        };
        let target = if shown { ProgressDrawTarget::stderr_with_hz(5) } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{spinner} {elapsed} {human_pos} done, {msg}, {per_sec}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        if shown {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self(bar)
    }

    /// So many tasks are stored.
    pub(super) fn stored(&self, tasks: u64) {
        if !self.0.is_hidden() {
            self.0.set_message(format!("{tasks} stored"));
        }
    }

    /// So many more tasks are done.
    pub(super) fn done(&self, tasks: u64) {
        self.0.inc(tasks);
    }

    /// How many tasks are done.
    pub(super) fn position(&self) -> u64 {
        self.0.position()
    }

    /// Writes something else meanwhile.
    pub(super) fn aside(&self, write: impl FnOnce()) {
        self.0.suspend(write);
    }

    /// The work is over: the line disappears.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
