//! The one signal by which a process, or a part of it, is asked to stop.

use std::process;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::tasks;

/// What a shell reports for a process that ended by SIGINT; used for "stopped by force" whichever signal it was.
const FORCED_EXIT_CODE: i32 = 130;

/// A signal that is given once, stays given, and is seen by every clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// A signal that is not given yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A signal that follows this one, but can also be given alone: a part of a process that may stop earlier.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token() }
    }

    /// Gives the signal. Giving it again does nothing.
    pub fn begin(&self) {
        self.token.cancel();
    }

    /// Whether the signal was given.
    #[must_use]
    pub fn begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until the signal is given; returns at once if it was. May be dropped and called again at any time.
    pub async fn wait(&self) {
        self.token.cancelled().await;
    }

    /// Gives the signal on SIGTERM or SIGINT. The second of them ends the process at once, with exit code 130, for the
    /// person whose patience is over before the drain is.
    ///
    /// Must be called within a tokio runtime. The handlers stay installed until the process ends.
    pub fn on_signals(&self) {
        let (mut terminate, mut interrupt) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
            (Err(error), _) | (_, Err(error)) => {
                // The default action of both signals remains: the process ends, without a drain.
                tracing::error!(%error, "cannot handle SIGTERM and SIGINT, they will end the process without a drain");
                return;
            }
        };
        let shutdown = self.clone();
        // Its owner is the process: it runs as long as signals may come.
        drop(tasks::spawn("signals", async move {
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                if shutdown.begun() {
                    tracing::warn!(signal = name, "second signal, ending at once");
                    process::exit(FORCED_EXIT_CODE);
                }
                tracing::info!(signal = name, "stopping");
                shutdown.begin();
            }
        }));
    }
}
