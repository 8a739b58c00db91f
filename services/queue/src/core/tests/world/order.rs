//! When work is to be done: the part of the model that knows priorities, tenants, times, limits and pauses.

use super::*;

/// When a submission's tasks are to be leased; times in ms from its creation.
#[derive(Clone, Copy, Debug)]
pub(in crate::core::tests) struct Order {
    priority: u8,
    not_before: Option<i64>,
    deadline: Option<i64>,
    max_leased: Option<u32>,
}

pub(super) fn order() -> impl Strategy<Value = Order> {
    let sometimes = |low, high| prop_oneof![3 => Just(None), 1 => (low..high).prop_map(Some)];
    let max_leased = prop_oneof![3 => Just(None), 1 => (1u32..50).prop_map(Some)];
    (0u8..10, sometimes(-1000i64, 9000), sometimes(-1000i64, 60_000), max_leased)
        .prop_map(|(priority, not_before, deadline, max_leased)| Order { priority, not_before, deadline, max_leased })
}

impl World {
    pub(super) fn wall(&self) -> WallTime {
        WallTime(i64::try_from(self.now.as_micros()).unwrap() + self.clock_ms * 1000)
    }

    pub(super) fn tick(&mut self) {
        self.core.clock(self.wall());
        let wall = self.wall();
        for known in self.known.values_mut() {
            known.begun |= known.order.not_before.is_none_or(|at| at <= wall);
        }
        self.core.tick(self.now);
    }

    pub(super) fn create(&mut self, tenant: usize, order: &Order) {
        let id = Uuid::from_u128(self.known.len() as u128 + 1);
        let at = |ms: i64| WallTime(self.wall().0 + ms * 1000);
        let order = WorkOrder {
            priority: order.priority,
            not_before: order.not_before.map(at),
            deadline: order.deadline.map(at),
            max_leased_tasks: order.max_leased,
        };
        self.core.create_for(id, TENANTS[tenant], &[Algorithm::Sha256], 3, order);
        self.known.insert(id, Known::new(tenant, order, self.wall()));
    }

    pub(super) fn control(&mut self, tenant: usize) {
        let (paused, max_leased) = self.controls[tenant];
        self.core.control_tenant(self.now, TENANTS[tenant], paused, max_leased);
    }

    /// Promise 9: while a worker has credit, whatever may be leased is. By the model's own knowledge of what may.
    pub(super) fn check_nobody_waits_without_reason(&self) -> Result<(), TestCaseError> {
        let silence = self.core.config.silence();
        let takes = |worker: &Worker| worker.takes_leases(self.now, silence);
        if self.everyone_paused || !self.core.workers.values().any(|worker| takes(worker) && worker.has_plenty()) {
            return Ok(());
        }
        for (id, submission) in &self.core.submissions {
            let known = &self.known[id];
            let (paused, max) = self.controls[known.tenant];
            let room = |max: Option<u32>, leased| max.is_none_or(|max| leased < u64::from(max));
            let tenant_room = room(max, self.leased(|other| other.tenant == known.tenant));
            let own_room = room(known.order.max_leased_tasks, self.leased(|other| std::ptr::eq(other, known)));
            let over = known.doomed || known.cancelled || known.completed;
            if !paused && known.begun && tenant_room && own_room && !over {
                prop_assert!(submission.ready.is_empty(), "{} waits for nothing", id);
            }
        }
        Ok(())
    }

    /// Tasks in workers' hands, of some submissions.
    pub(super) fn leased(&self, of: impl Fn(&Known) -> bool) -> u64 {
        let leases = self.core.leases.values().filter(|lease| of(&self.known[&lease.submission]));
        leases.map(|lease| u64::from(lease.unresolved.tasks())).sum()
    }
}
