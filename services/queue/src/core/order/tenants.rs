//! Tenants as the dispatcher knows them: what they have to do, what they hold, what they are allowed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use uuid::Uuid;

use super::{super::Now, classes::ClassId};

/// A tenant; never used again after it is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::core) struct TenantId(u64);

impl TenantId {
    /// Tells tenants apart outside of the core, and says nothing else.
    pub(in crate::core) fn number(self) -> u64 {
        self.0
    }
}

/// A tenant's submissions of one level that may be given to workers, apart by class.
#[derive(Debug, Default)]
pub(super) struct Queues {
    /// Rises by the cost of what the tenant is given.
    pub(super) virtual_time: u64,
    /// None of them is empty.
    pub(super) by_class: BTreeMap<ClassId, BTreeSet<Uuid>>,
}

/// One tenant.
#[derive(Debug, Default)]
pub(in crate::core) struct Tenant {
    name: Arc<str>,
    /// Its unfinished submissions.
    submissions: u64,
    /// Its tasks in workers' hands.
    pub(in crate::core) leased: u64,
    pub(in crate::core) paused: bool,
    /// When it was last resumed.
    pub(super) resumed_at: Now,
    /// How many of its tasks workers may hold at once.
    pub(in crate::core) max_leased: Option<u64>,
    /// True while it stands in the levels.
    visible: bool,
    pub(super) levels: BTreeMap<usize, Queues>,
}

impl Tenant {
    pub(super) fn visible(&self) -> bool {
        self.visible
    }

    pub(super) fn set_visible(&mut self, visible: bool) {
        self.visible = visible;
    }

    pub(super) fn wants_to_be_visible(&self) -> bool {
        !self.paused && self.room() > 0
    }

    /// How many more of its tasks may be leased.
    pub(in crate::core) fn room(&self) -> u64 {
        self.max_leased.map_or(u64::MAX, |max| max.saturating_sub(self.leased))
    }

    fn idle(&self) -> bool {
        let controlled = self.paused || self.max_leased.is_some();
        self.submissions == 0 && self.leased == 0 && !controlled
    }
}

/// Those with unfinished submissions or controls, and those whose account is not settled yet.
#[derive(Debug, Default)]
pub(in crate::core) struct Tenants {
    by_name: HashMap<Arc<str>, TenantId>,
    by_id: BTreeMap<TenantId, Tenant>,
    /// Those that may be forgotten soon.
    leaving: BTreeSet<TenantId>,
    next: u64,
}

impl Tenants {
    /// The tenant of this name, made up if need be.
    pub(in crate::core) fn named(&mut self, name: &str) -> TenantId {
        if let Some(id) = self.by_name.get(name) {
            return *id;
        }
        let id = TenantId(self.next);
        self.next += 1;
        let name: Arc<str> = name.into();
        self.by_name.insert(Arc::clone(&name), id);
        self.by_id.insert(id, Tenant { name, visible: true, ..Tenant::default() });
        self.leaving.insert(id);
        id
    }

    /// The tenant of this name, if it is known.
    pub(in crate::core) fn find(&self, name: &str) -> Option<&Tenant> {
        self.by_id.get(self.by_name.get(name)?)
    }

    pub(in crate::core) fn get(&self, id: TenantId) -> Option<&Tenant> {
        self.by_id.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: TenantId) -> Option<&mut Tenant> {
        self.by_id.get_mut(&id)
    }

    /// A submission of the tenant begins.
    pub(in crate::core) fn enter(&mut self, id: TenantId) {
        if let Some(tenant) = self.by_id.get_mut(&id) {
            tenant.submissions += 1;
        }
    }

    /// A submission of the tenant is over.
    pub(in crate::core) fn leave(&mut self, id: TenantId) {
        if let Some(tenant) = self.by_id.get_mut(&id) {
            tenant.submissions = tenant.submissions.saturating_sub(1);
            if tenant.submissions == 0 {
                self.leaving.insert(id);
            }
        }
    }

    /// Forgets who has nothing to do and does not owe anything, given each level's time.
    pub(super) fn sweep(&mut self, times: &BTreeMap<usize, u64>) {
        for id in std::mem::take(&mut self.leaving) {
            let Some(tenant) = self.by_id.get(&id) else { continue };
            if tenant.submissions > 0 {
                continue;
            }
            let settled =
                |(level, queues): (&usize, &Queues)| times.get(level).is_none_or(|now| queues.virtual_time <= *now);
            if tenant.idle() && tenant.levels.iter().all(settled) {
                self.by_name.remove(&tenant.name);
                self.by_id.remove(&id);
            } else {
                self.leaving.insert(id);
            }
        }
    }

    /// How many are known.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
}
