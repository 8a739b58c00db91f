//! A set of task numbers as disjoint runs: what of a lease or a batch is still unresolved.

/// A run of neighbouring tasks of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskRun {
    pub(crate) first: u32,
    pub(crate) count: u32,
}

impl TaskRun {
    /// The run of `count` tasks from `first`.
    pub(crate) fn new(first: u32, count: u32) -> Self {
        Self { first, count }
    }

    /// The task behind the last one.
    pub(crate) fn end(self) -> u32 {
        self.first + self.count
    }

    /// True if a task is in both.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.first < other.end() && other.first < self.end()
    }
}

/// Disjoint runs in ascending order. Small: leases hold one run, and a few while their outcomes come in parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RunSet {
    runs: Vec<TaskRun>,
}

impl RunSet {
    /// The set of one run.
    pub(crate) fn of(run: TaskRun) -> Self {
        Self { runs: if run.count == 0 { Vec::new() } else { vec![run] } }
    }

    /// The runs, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = TaskRun> + '_ {
        self.runs.iter().copied()
    }

    /// True if no task is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The number of tasks.
    pub(crate) fn tasks(&self) -> u32 {
        self.runs.iter().map(|run| run.count).sum()
    }

    /// True if every task of `run` is in the set.
    pub(crate) fn contains(&self, run: TaskRun) -> bool {
        self.runs.iter().any(|held| held.first <= run.first && run.end() <= held.end())
    }

    /// The parts of `run` that are in the set, ascending.
    pub(crate) fn overlap(&self, run: TaskRun) -> Vec<TaskRun> {
        let part = |held: &TaskRun| {
            let (first, end) = (held.first.max(run.first), held.end().min(run.end()));
            (first < end).then(|| TaskRun::new(first, end - first))
        };
        self.runs.iter().filter_map(part).collect()
    }

    /// Takes `run` out. All of it must be in the set (see [`Self::contains`]).
    pub(crate) fn remove(&mut self, run: TaskRun) {
        let Some(at) = self.runs.iter().position(|held| held.first <= run.first && run.end() <= held.end()) else {
            debug_assert!(false, "{run:?} is not in {self:?}");
            return;
        };
        let held = self.runs[at];
        let before = TaskRun::new(held.first, run.first - held.first);
        let behind = TaskRun::new(run.end(), held.end() - run.end());
        self.runs.splice(at..=at, [before, behind].into_iter().filter(|rest| rest.count > 0));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn members(set: &RunSet) -> BTreeSet<u32> {
        set.iter().flat_map(|run| run.first..run.end()).collect()
    }

    proptest! {
        #[test]
        fn taking_runs_out_leaves_exactly_the_other_tasks(count in 1u32..200, cuts in prop::collection::vec((0u32..200, 1u32..50), 0..20)) {
            let mut set = RunSet::of(TaskRun::new(0, count));
            let mut model: BTreeSet<u32> = (0..count).collect();
            for (first, length) in cuts {
                let run = TaskRun::new(first, length);
                let all_there = (run.first..run.end()).all(|task| model.contains(&task));
                prop_assert_eq!(set.contains(run), all_there);
                let overlap: Vec<u32> = set.overlap(run).into_iter().flat_map(|part| part.first..part.end()).collect();
                prop_assert_eq!(overlap, model.range(run.first..run.end()).copied().collect::<Vec<_>>());
                if all_there {
                    set.remove(run);
                    model.retain(|task| !(run.first..run.end()).contains(task));
                }
                prop_assert_eq!(members(&set), model.clone());
                prop_assert_eq!(set.tasks() as usize, model.len());
            }
        }
    }
}
