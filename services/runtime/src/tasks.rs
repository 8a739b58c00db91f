//! Spawned tasks with names: what they log carries the name, and who waits for them can say which one is late.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::task::JoinHandle;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::Instrument as _;

/// Spawns a task within a span that carries its name. The caller owns the handle and waits for it.
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future.instrument(tracing::info_span!("task", name)))
}

/// Like [`spawn`], for a task that may not outlive its owner: dropping the handle ends it.
pub fn spawn_owned<F>(name: &'static str, future: F) -> AbortOnDropHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    AbortOnDropHandle::new(spawn(name, future))
}

/// Tasks that are waited for together, by name.
#[derive(Clone, Debug, Default)]
pub struct TaskGroup {
    tracker: TaskTracker,
    running: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

impl TaskGroup {
    /// A group without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns a task of the group. Several may have the same name.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        // Taken off the list by `Drop`, so that a task that panics or is aborted is not reported as late.
        let entry = Entry::new(name, Arc::clone(&self.running));
        spawn(
            name,
            self.tracker.track_future(async move {
                let _entry = entry;
                future.await
            }),
        )
    }

    /// Waits until every task has ended, at most this long.
    ///
    /// # Errors
    /// [`Late`], with the names of those that have not ended. They go on.
    pub async fn wait(&self, at_most: Duration) -> Result<(), Late> {
        self.tracker.close();
        match tokio::time::timeout(at_most, self.tracker.wait()).await {
            Ok(()) => Ok(()),
            Err(_) => Err(Late { after: at_most, names: self.running() }),
        }
    }

    /// The names of the tasks that run, with how many there are of each.
    #[must_use]
    pub fn running(&self) -> BTreeMap<&'static str, usize> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Tasks that had not ended in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late {
    /// How long was waited.
    pub after: Duration,
    /// Which tasks, and how many of each name.
    pub names: BTreeMap<&'static str, usize>,
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tasks still running after {:?}:", self.after)?;
        for (name, count) in &self.names {
            write!(f, " {name} ({count})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Late {}

/// One running task on the list of its group.
#[derive(Debug)]
struct Entry {
    name: &'static str,
    running: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

impl Entry {
    fn new(name: &'static str, running: Arc<Mutex<BTreeMap<&'static str, usize>>>) -> Self {
        *running.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
        Self { name, running }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                running.remove(self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_group_names_the_task_that_is_late() {
        let group = TaskGroup::new();
        let _quick = group.spawn("quick", async {});
        let stuck = group.spawn("stuck", std::future::pending::<()>());
        let late = group.wait(Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(late.names, BTreeMap::from([("stuck", 1)]));
        stuck.abort();
        group.wait(Duration::from_secs(1)).await.unwrap();
    }
}
