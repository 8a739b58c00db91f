//! Reads the batches that the core asks for, aside: one read at a time, for many submissions together.

use std::collections::{HashSet, VecDeque};

use uuid::Uuid;

use super::run::Engine;
use crate::store::model::{LoadedBatches, WantedBatches};

/// Submissions in one read.
const TOGETHER: usize = 256;
/// Batches in one read, about: 64 for each of 256 small submissions.
const BATCHES: u64 = 16 * 1024;
impl Engine {
    /// Starts the next read if none is under way.
    pub(super) fn load_next(&mut self) {
        if self.loading || self.loads.is_empty() {
            return;
        }
        let wanted = self.take_loads();
        self.loading = true;
        self.tables.load_batches(wanted);
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
