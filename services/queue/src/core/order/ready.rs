//! A submission's runs that wait for a worker, apart by class, and those of all submissions that were tried before.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{
    super::{Now, ranges::TaskRun, submission::ReadyRun},
    classes::ClassId,
};

/// (sequence, first task): the oldest is first.
pub(in crate::core) type RunKey = (u32, u32);

/// One submission's ready runs.
#[derive(Debug, Default)]
pub(in crate::core) struct ReadyRuns {
    /// None of them is empty.
    by_class: BTreeMap<ClassId, BTreeMap<RunKey, ReadyRun>>,
    /// How many runs have been ready since when.
    since: BTreeMap<Now, u32>,
}

impl ReadyRuns {
    pub(in crate::core) fn is_empty(&self) -> bool {
        self.by_class.is_empty()
    }

    /// The classes that have runs.
    pub(in crate::core) fn classes(&self) -> impl Iterator<Item = ClassId> + '_ {
        self.by_class.keys().copied()
    }

    /// Every run with its key, by class.
    #[cfg(test)]
    pub(in crate::core) fn iter(&self) -> impl Iterator<Item = (RunKey, ReadyRun)> + '_ {
        self.by_class.values().flat_map(|runs| runs.iter().map(|(key, run)| (*key, *run)))
    }

    /// The oldest run of a class.
    pub(in crate::core) fn first(&self, class: ClassId) -> Option<(RunKey, ReadyRun)> {
        self.by_class.get(&class)?.first_key_value().map(|(key, run)| (*key, *run))
    }

    /// Since when the oldest run has been ready.
    pub(in crate::core) fn oldest(&self) -> Option<Now> {
        self.since.first_key_value().map(|(since, _)| *since)
    }

    fn insert(&mut self, class: ClassId, key: RunKey, run: ReadyRun) {
        let before = self.by_class.entry(class).or_default().insert(key, run);
        debug_assert!(before.is_none(), "two runs begin at {key:?}");
        *self.since.entry(run.since).or_default() += 1;
    }

    fn remove(&mut self, class: ClassId, key: RunKey) -> Option<ReadyRun> {
        let runs = self.by_class.get_mut(&class)?;
        let run = runs.remove(&key)?;
        if runs.is_empty() {
            self.by_class.remove(&class);
        }
        if let Some(count) = self.since.get_mut(&run.since) {
            *count -= 1;
            if *count == 0 {
                self.since.remove(&run.since);
            }
        }
        Some(run)
    }
}

/// What of all that is ready a new owner must be told, kept up to date so that nobody has to look at all of it.
#[derive(Debug, Default)]
pub(in crate::core) struct ReadyIndex {
    /// Runs that have been tried before, or with which workers were lost.
    tried: BTreeMap<(Uuid, RunKey), ReadyRun>,
}

impl ReadyIndex {
    /// Adds a run to its submission's.
    pub(in crate::core) fn insert(
        &mut self,
        id: Uuid,
        runs: &mut ReadyRuns,
        class: ClassId,
        key: RunKey,
        run: ReadyRun,
    ) {
        runs.insert(class, key, run);
        if run.tried() {
            self.tried.insert((id, key), run);
        }
    }

    /// Takes a run out of its submission's.
    pub(in crate::core) fn remove(&mut self, id: Uuid, runs: &mut ReadyRuns, class: ClassId, key: RunKey) {
        if let Some(run) = runs.remove(class, key) {
            self.forget(id, key, run);
        }
    }

    /// Takes every run out of a submission's, and returns them.
    pub(in crate::core) fn drain(&mut self, id: Uuid, runs: &mut ReadyRuns) -> Vec<(RunKey, ReadyRun)> {
        let all: Vec<_> = std::mem::take(runs).by_class.into_values().flatten().collect();
        all.iter().for_each(|(key, run)| self.forget(id, *key, *run));
        all
    }

    fn forget(&mut self, id: Uuid, key: RunKey, run: ReadyRun) {
        if run.tried() {
            self.tried.remove(&(id, key));
        }
    }

    /// Runs that have been tried before, or with which workers were lost: submission, sequence, run.
    pub(in crate::core) fn tried(&self) -> impl Iterator<Item = (Uuid, u32, TaskRun, ReadyRun)> + '_ {
        self.tried.iter().map(|((id, (sequence, first)), run)| (*id, *sequence, TaskRun::new(*first, run.count), *run))
    }
}
