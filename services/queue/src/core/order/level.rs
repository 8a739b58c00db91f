//! One level of priority: its tenants by virtual time, apart by class.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    TenantId,
    classes::{ClassId, Classes, KindId},
};

/// How many tenants are looked at for one that is wanted.
const FIRST: usize = 16;

/// The tenants that have something to give at this level.
#[derive(Debug, Default)]
pub(super) struct Level {
    by_class: BTreeMap<ClassId, BTreeSet<(u64, TenantId)>>,
    /// The virtual time of the tenant served last, when it was served.
    now: u64,
    /// The highest virtual time that any tenant has reached.
    latest: u64,
}

impl Level {
    pub(super) fn is_empty(&self) -> bool {
        self.by_class.is_empty()
    }

    /// Where a tenant starts that has been idle.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    pub(super) fn insert(&mut self, class: ClassId, virtual_time: u64, tenant: TenantId) {
        self.by_class.entry(class).or_default().insert((virtual_time, tenant));
    }

    pub(super) fn remove(&mut self, class: ClassId, virtual_time: u64, tenant: TenantId) {
        let Some(tenants) = self.by_class.get_mut(&class) else { return };
        tenants.remove(&(virtual_time, tenant));
        if tenants.is_empty() {
            self.by_class.remove(&class);
        }
        if self.by_class.is_empty() {
            // A busy period is over: nobody owes anybody anything.
            self.now = self.latest;
        }
    }

    /// A tenant was served, which took it from one virtual time to another.
    pub(super) fn served(&mut self, before: u64, after: u64) {
        self.now = self.now.max(before);
        self.latest = self.latest.max(after);
    }

    /// The tenant that is next among those that have something for a worker of this kind, and are wanted. Only the first
    /// few of each class are looked at: whoever comes anew is among them.
    pub(super) fn first(&self, classes: &Classes, kind: KindId, wanted: impl Fn(TenantId) -> bool) -> Option<TenantId> {
        let fitting = self.by_class.iter().filter(|(class, _)| classes.takes(**class, kind));
        let firsts = fitting.filter_map(|(_, tenants)| tenants.iter().take(FIRST).find(|(_, tenant)| wanted(*tenant)));
        firsts.min().map(|(_, tenant)| *tenant)
    }
}
