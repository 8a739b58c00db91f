//! What operators say, and what the clock says: pause, resume, limits, deadlines.

use std::collections::BTreeMap;

use hashmesh::v1::{EndReason, TenantSources};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    lane::After,
    quota::{Quota, Usage, UsageRow},
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

/// What holds for a tenant, and what it has here.
#[derive(Clone, Debug)]
pub(crate) struct TenantStanding {
    pub(crate) controls: TenantControls,
    pub(crate) quota: Quota,
    pub(crate) used: Usage,
    /// What it may name. `None`: nothing was said.
    pub(crate) sources: Option<TenantSources>,
}

/// What is heard about once a second: what operators have said, to whichever owner, and how the others are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refreshed {
    pub(crate) controls: Vec<ControlsChange>,
    /// What tenants have brought to others.
    pub(crate) usage: Vec<UsageRow>,
    /// The processes that share the shards.
    pub(crate) processes: usize,
}

/// What operators have said about tenants, as it was heard last; under the empty name about everyone.
#[derive(Debug, Default)]
pub(super) struct Heard {
    said: BTreeMap<String, ControlsChange>,
    processes: usize,
}

impl Heard {
    /// How many of a tenant's tasks workers may hold at once, of all owners.
    fn max_leased(&self, tenant: &str) -> Option<u32> {
        self.said.get(tenant)?.max_leased_tasks.filter(|max| *max > 0)
    }

    /// Our part of such a limit: each owner has as much, so that together they keep it, but at least one.
    fn part(&self, max_leased: u32) -> u32 {
        let processes = u32::try_from(self.processes).unwrap_or(u32::MAX).max(1);
        (max_leased / processes).max(1)
    }
}

impl Engine {
    /// What holds for a tenant.
    pub(super) fn tenant_standing(&mut self, tenant: &str) -> TenantStanding {
        let (quota, used) = self.quotas.of(WallTime::now(), tenant);
        let controls = TenantControls { max_leased: self.heard.max_leased(tenant), ..self.core.controls(tenant) };
        TenantStanding { controls, quota, used, sources: self.sources.get(tenant).cloned() }
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
        let before = self.heard.said.get(&change.tenant);
        let said = ControlsChange {
            tenant: change.tenant.clone(),
            paused: change.paused.or(before.and_then(|before| before.paused)),
            max_leased_tasks: change.max_leased_tasks.or(before.and_then(|before| before.max_leased_tasks)),
            tasks_per_day: change.tasks_per_day.or(before.and_then(|before| before.tasks_per_day)),
            bytes_per_day: change.bytes_per_day.or(before.and_then(|before| before.bytes_per_day)),
            sources: change.sources.clone().or_else(|| before.and_then(|before| before.sources.clone())),
        };
        self.hold(said);
    }

    /// What was heard holds, as far as it is news. The owner of shard 0, which stores what operators say, knows it first.
    pub(super) fn refresh(&mut self, refreshed: Refreshed) {
        let Refreshed { controls, usage, processes } = refreshed;
        self.quotas.learn(WallTime::now(), usage);
        let others_count = self.heard.processes != processes;
        self.heard.processes = processes;
        if !self.works_on(NO_SUBMISSION) {
            for said in controls {
                if self.heard.said.get(&said.tenant) != Some(&said) {
                    self.hold(said);
                }
            }
        }
        if others_count {
            let limited: Vec<ControlsChange> =
                self.heard.said.values().filter(|said| said.max_leased_tasks > Some(0)).cloned().collect();
            limited.into_iter().for_each(|said| self.hold(said));
        }
    }

    /// From now on this is what is said about a tenant or everyone.
    fn hold(&mut self, said: ControlsChange) {
        let now = self.now();
        let paused = said.paused.unwrap_or_default();
        if said.tenant.is_empty() {
            self.core.pause_everyone(now, paused);
        } else {
            let limit = |per_day: Option<u64>| per_day.filter(|limit| *limit > 0);
            self.quotas.set(&said.tenant, Quota { tasks: limit(said.tasks_per_day), bytes: limit(said.bytes_per_day) });
            if let Some(uri_prefixes) = said.sources.clone() {
                self.sources.insert(said.tenant.clone(), TenantSources { uri_prefixes });
            }
            self.expansions.release_held(now);
            let max_leased = said.max_leased_tasks.filter(|max| *max > 0).map(|max| self.heard.part(max));
            self.core.control_tenant(now, &said.tenant, paused, max_leased);
        }
        self.heard.said.insert(said.tenant.clone(), said);
    }

    /// The core has cancelled a submission whose deadline passed: stores that.
    pub(super) fn end_at_deadline(&mut self, id: Uuid) {
        let after = After { ended: true, ..After::default() };
        self.push(id, vec![Write::Cancel { reason: EndReason::Deadline, error: None }], after);
    }
}
