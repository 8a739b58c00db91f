//! Workers that an administrator wants to stop: they get no more leases, and finish what they hold.

use hashmesh::v1::WorkerStats;

use super::run::Engine;
use crate::{core::WorkerId, error::QueueError};

impl Engine {
    /// Gives the workers of this name no more leases, or gives them leases again.
    pub(super) fn set_draining(&mut self, name: &str, draining: bool) -> Result<Vec<WorkerStats>, QueueError> {
        let named: Vec<(WorkerId, bool)> = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.name == name)
            .map(|(id, worker)| (*id, worker.leaves))
            .collect();
        if named.is_empty() {
            return Err(QueueError::WorkerNotFound);
        }
        if draining {
            self.drained.insert(name.to_owned());
        } else {
            self.drained.remove(name);
        }
        let now = self.now();
        for (id, leaves) in &named {
            if draining {
                self.core.worker_draining(*id);
            } else if !leaves {
                self.core.worker_resumes(now, *id);
            }
        }
        Ok(named.iter().filter_map(|(id, _)| self.worker_stats(*id)).collect())
    }

    /// A worker has connected: perhaps it was said to drain before.
    pub(super) fn drain_again(&mut self, id: WorkerId, name: &str) {
        if self.drained.contains(name) {
            self.core.worker_draining(id);
        }
    }

    /// What a connected worker does.
    pub(super) fn worker_stats(&self, id: WorkerId) -> Option<WorkerStats> {
        let worker = self.workers.get(&id)?;
        let (leases, leased_tasks, recorded_tasks) = self.core.worker_stats(id).unwrap_or_default();
        let connected = self.now().saturating_sub(worker.connected_at);
        Some(WorkerStats {
            worker_id: worker.name.clone(),
            slots: worker.slots,
            leases,
            leased_tasks,
            recorded_tasks,
            sources: worker.sources.clone(),
            draining: self.core.worker_drains(id),
            recorded_tasks_per_second: worker.recorded.per_second(),
            connected_ms: u64::try_from(connected.as_millis()).unwrap_or(u64::MAX),
        })
    }
}
