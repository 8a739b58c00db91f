//! What operators say about tenants and everybody: pause, resume, limits; and why a submission waits.

use uuid::Uuid;

use super::{Core, Now};

/// What holds for one tenant, and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TenantControls {
    /// None of its tasks are leased.
    pub(crate) paused: bool,
    /// Nobody's tasks are leased.
    pub(crate) everyone_paused: bool,
    /// How many of its tasks workers may hold at once.
    pub(crate) max_leased: Option<u32>,
    /// How many they hold.
    pub(crate) leased: u64,
}

/// Why a submission with unresolved tasks makes no progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// Its tenant, or everyone, is paused.
    Paused,
    /// Its time has not come.
    NotBefore,
    /// No connected worker may take some of its tasks.
    ForWorker,
}

impl Core {
    /// Pauses everyone, or lets everyone go on. Leases that are out finish.
    pub(crate) fn pause_everyone(&mut self, now: Now, paused: bool) {
        self.order.pause_everyone(now, paused);
        self.isolate = true;
        self.dispatch(now);
    }

    /// Pauses a tenant or lets it go on, and limits how many of its tasks workers may hold at once. Leases that are out
    /// finish.
    pub(crate) fn control_tenant(&mut self, now: Now, tenant: &str, paused: bool, max_leased: Option<u32>) {
        let id = self.order.tenants.named(tenant);
        self.order.control(now, id, paused, max_leased.map(u64::from));
        self.isolate = true;
        self.dispatch(now);
    }

    /// What holds for a tenant.
    pub(crate) fn controls(&self, tenant: &str) -> TenantControls {
        let everyone_paused = self.order.everyone_paused();
        let Some(tenant) = self.order.tenants.find(tenant) else {
            return TenantControls { everyone_paused, ..TenantControls::default() };
        };
        TenantControls {
            paused: tenant.paused,
            everyone_paused,
            max_leased: tenant.max_leased.map(|max| u32::try_from(max).unwrap_or(u32::MAX)),
            leased: tenant.leased,
        }
    }

    /// Why a submission makes no progress, if it makes none for a reason of its own.
    pub(crate) fn waits(&self, id: Uuid) -> Option<Waits> {
        let submission = self.submissions.get(&id)?;
        if !submission.active() || submission.totals.recorded() == submission.accepted_tasks {
            return None;
        }
        if let Some(held) = self.held_back(id) {
            return Some(held);
        }
        let nobody = self.workers.values().all(|worker| worker.draining);
        let unreached = submission.ready.classes().any(|class| !self.classes.reached(class));
        (nobody || unreached || submission.unreached || self.suspects_wait(id)).then_some(Waits::ForWorker)
    }

    /// Why none of its work may be done now, whether or not there is any.
    pub(crate) fn held_back(&self, id: Uuid) -> Option<Waits> {
        let submission = self.submissions.get(&id)?;
        let paused = self.order.tenants.get(submission.tenant).is_some_and(|tenant| tenant.paused);
        if paused || self.order.everyone_paused() {
            return Some(Waits::Paused);
        }
        submission.held.then_some(Waits::NotBefore)
    }

    /// True if the submission has tasks that no connected worker may take.
    #[cfg(test)]
    pub(crate) fn waits_for_worker(&self, id: Uuid) -> bool {
        self.waits(id) == Some(Waits::ForWorker)
    }
}
