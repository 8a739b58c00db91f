//! What operators say, and what the clock says: pause, resume, limits, deadlines.

use hashmesh::v1::{EndReason, TenantSources};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    lane::After,
    quota::{Quota, Usage},
    run::Engine,
};
use crate::{
    core::TenantControls,
    error::QueueError,
    store::model::{ControlsChange, Write},
    wall::WallTime,
};

/// Stands for "no submission" where a unit names one: every change of controls goes through one lane, in order.
const NO_SUBMISSION: Uuid = Uuid::nil();

/// What holds for a tenant, and what it has.
#[derive(Clone, Debug)]
pub(crate) struct TenantStanding {
    pub(crate) controls: TenantControls,
    pub(crate) quota: Quota,
    pub(crate) used: Usage,
    /// What it may name. `None`: nothing was said.
    pub(crate) sources: Option<TenantSources>,
}

impl Engine {
    /// What holds for a tenant.
    pub(super) fn tenant_standing(&mut self, tenant: &str) -> TenantStanding {
        let (quota, used) = self.quotas.of(WallTime::now(), tenant);
        TenantStanding { controls: self.core.controls(tenant), quota, used, sources: self.sources.get(tenant).cloned() }
    }

    /// What a submission's tasks may name. `None`: nothing was said.
    pub(super) fn sources_of(&self, id: Uuid) -> Option<TenantSources> {
        // Most meshes say nothing of any tenant.
        if self.sources.is_empty() {
            return None;
        }
        self.sources.get(&self.live.get(&id)?.handle.tenant).cloned()
    }

    /// Stores a change; it holds, and the caller is answered, once it is committed.
    pub(super) fn control(&mut self, change: ControlsChange, reply: oneshot::Sender<Result<(), QueueError>>) {
        let after = After { controls: Some(change.clone()), reply: Some(reply), ..After::default() };
        self.push(NO_SUBMISSION, vec![Write::Controls(change)], after);
    }

    /// What is committed holds.
    pub(super) fn apply_controls(&mut self, change: &ControlsChange) {
        let now = self.now();
        if change.tenant.is_empty() {
            if let Some(paused) = change.paused {
                self.core.pause_everyone(now, paused);
            }
            return;
        }
        let (quota, _) = self.quotas.of(WallTime::now(), &change.tenant);
        let changed =
            |before: Option<u64>, change: Option<u64>| change.map_or(before, |new| Some(new).filter(|new| *new > 0));
        let quota = Quota {
            tasks: changed(quota.tasks, change.tasks_per_day),
            bytes: changed(quota.bytes, change.bytes_per_day),
        };
        self.quotas.set(&change.tenant, quota);
        if let Some(uri_prefixes) = change.sources.clone() {
            self.sources.insert(change.tenant.clone(), TenantSources { uri_prefixes });
        }
        self.expansions.release_held(now);
        let before = self.core.controls(&change.tenant);
        let paused = change.paused.unwrap_or(before.paused);
        let max_leased = match change.max_leased_tasks {
            None => before.max_leased,
            Some(0) => None,
            max => max,
        };
        self.core.control_tenant(now, &change.tenant, paused, max_leased);
    }

    /// The core has cancelled a submission whose deadline passed: stores that.
    pub(super) fn end_at_deadline(&mut self, id: Uuid) {
        let after = After { ended: true, ..After::default() };
        self.push(id, vec![Write::Cancel { reason: EndReason::Deadline, error: None }], after);
    }
}
