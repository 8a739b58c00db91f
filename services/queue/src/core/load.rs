//! Batches that are in Postgres only come into memory when there is room for them.

use std::sync::Arc;

use uuid::Uuid;

use super::{Core, Effect, Now, submission::Batch, window::LEAST_WINDOW};
use crate::store::model::{LoadedBatches, RecoveredBatch, WantedBatches};

impl Core {
    /// How many batches of one submission may be in memory now.
    pub(super) fn window_limit(&self) -> usize {
        let least = LEAST_WINDOW.min(self.config.window_batches);
        if self.kept_batches < self.config.index_batches { self.config.window_batches } else { least }
    }

    /// Asks for more of a submission's batches if some wait in Postgres and there is room.
    pub(super) fn load_more(&mut self, id: Uuid) {
        let limit = self.window_limit();
        let Some(submission) = self.submissions.get_mut(&id).filter(|submission| submission.active()) else { return };
        if let Some((from, stored, count)) = submission.window.wants(limit) {
            let (after_position, to_position) = submission.unread_outcomes;
            let wanted = WantedBatches { submission: id, from, stored, count, after_position, to_position };
            self.effects.push(Effect::Load(wanted));
        }
    }

    /// The first `stored` batches of a submission are committed.
    pub(crate) fn stored(&mut self, id: Uuid, stored: u32) {
        let Some(submission) = self.submissions.get_mut(&id) else { return };
        submission.window.store(stored);
        self.load_more(id);
    }

    /// Batches were loaded as asked for by [`Effect::Load`].
    pub(crate) fn loaded(&mut self, now: Now, id: Uuid, loaded: &LoadedBatches) {
        self.take_loaded(now, id, loaded);
        self.dispatch(now);
    }

    /// Takes loaded batches into memory.
    pub(super) fn take_loaded(&mut self, now: Now, id: Uuid, loaded: &LoadedBatches) {
        let Some(submission) = self.submissions.get_mut(&id).filter(|submission| submission.active()) else { return };
        // Outcomes that were there before this owner may belong to them, or only those that are still to come.
        let (after, to) = submission.unread_outcomes;
        let outcomes_after = if after < to { after } else { submission.totals.recorded() };
        let before = submission.window.resolved_through();
        let batches = loaded.batches.iter().map(|found| (found.sequence, batch(found, outcomes_after)));
        if !submission.window.load(loaded.from, loaded.through, batches) {
            return;
        }
        if !loaded.outcomes_behind {
            submission.unread_outcomes = (0, 0);
        }
        if submission.window.resolved_through() > before {
            // What was read turned out to be resolved.
            self.resolved.insert(id);
        }
        self.kept_batches += loaded.batches.len();
        for found in &loaded.batches {
            self.recover_runs(now, id, found);
        }
        self.load_more(id);
    }
}

fn batch(found: &RecoveredBatch, outcomes_after: u64) -> Batch {
    let recorded: u32 = found.recorded.iter().map(|(_, count)| count).sum();
    Batch {
        task_count: found.task_count,
        byte_count: found.byte_count,
        fingerprint: found.fingerprint,
        reference_prefix: found.reference_prefix.as_deref().map(Arc::from),
        unresolved: found.task_count.saturating_sub(recorded),
        outcomes_after,
        times: None,
    }
}
