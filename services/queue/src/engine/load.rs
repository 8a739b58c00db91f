//! Reads the batches that the core asks for, aside: one read at a time, for many submissions together.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use hashmesh_runtime::telemetry::Repeated;
use uuid::Uuid;

use super::{Command, run::Engine};
use crate::store::{
    self,
    model::{LoadedBatches, WantedBatches},
};

/// Submissions in one read.
const TOGETHER: usize = 256;
/// Batches in one read, about: 64 for each of 256 small submissions.
const BATCHES: u64 = 16 * 1024;
/// Pause after a read that failed; doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

static UNREAD: Repeated = Repeated::new();

impl Engine {
    /// Starts the next read if none is under way.
    pub(super) fn load_next(&mut self) {
        if self.loading || self.loads.is_empty() {
            return;
        }
        let wanted = self.take_loads();
        self.loading = true;
        let (database, commands) = (self.database.clone(), self.commands.clone());
        tokio::spawn(async move {
            let mut pause = PAUSE;
            loop {
                match store::load_batches(&database, &wanted).await {
                    Ok(loaded) => {
                        let ids = wanted.iter().map(|wanted| wanted.submission);
                        let batches = ids.zip(loaded).collect();
                        // If the engine is gone, nobody waits for them.
                        let _ = commands.send(Command::Loaded { batches }).await;
                        return;
                    }
                    Err(error) => {
                        if let Some(left_out) = UNREAD.failed() {
                            let error = &error as &dyn std::error::Error;
                            tracing::warn!(error, left_out, "stored batches cannot be read; trying again");
                        }
                        tokio::select! {
                            () = commands.closed() => return,
                            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                        }
                    }
                }
            }
        });
    }

    /// The oldest requests that fit one read, one for each submission: of one that was read again after a failed write
    /// there may be two.
    fn take_loads(&mut self) -> Vec<WantedBatches> {
        let mut taken: Vec<WantedBatches> = Vec::new();
        let mut submissions = HashSet::new();
        let mut later = VecDeque::new();
        let mut batches = 0;
        while let Some(wanted) = self.loads.pop_front() {
            let full = taken.len() >= TOGETHER || (batches + u64::from(wanted.count) > BATCHES && batches > 0);
            if full {
                later.push_back(wanted);
                break;
            }
            if submissions.insert(wanted.submission) {
                batches += u64::from(wanted.count);
                taken.push(wanted);
            } else {
                later.push_back(wanted);
            }
        }
        while let Some(wanted) = later.pop_back() {
            self.loads.push_front(wanted);
        }
        taken
    }

    /// Batches were read.
    pub(super) fn loaded(&mut self, batches: &[(Uuid, LoadedBatches)]) {
        self.loading = false;
        let now = self.now();
        for (id, loaded) in batches {
            self.core.loaded(now, *id, loaded);
            self.keep_contexts(*id, loaded);
        }
    }
}
