//! What workers do apart from working: connect, give credit, live, drain, vanish.

use super::{
    Core, LeaseEnd, LeaseId, Now, WorkerId, WorkerInfo,
    order::LEVELS,
    poison::Blow,
    worker::{Peak, Worker},
};
use crate::mutant::{self, Mutant};

impl Core {
    /// A worker connected. It gets nothing before it gives credit.
    pub(crate) fn worker_connected(&mut self, now: Now, info: WorkerInfo) -> WorkerId {
        let id = WorkerId(self.next_worker);
        self.next_worker += 1;
        let (kind, new_kind) = self.classes.connect(&info);
        self.pardon_for(info.session);
        let worker = Worker {
            info,
            credit_tasks: 0,
            credit_bytes: 0,
            heard_at: now,
            draining: false,
            leases: std::collections::BTreeSet::new(),
            kind,
            held_tasks: 0,
            held_bytes: 0,
            most_tasks: Peak::default(),
            most_bytes: Peak::default(),
            levels: [0; LEVELS],
            tenants: std::collections::HashMap::new(),
            unread_bytes: 0,
            behind: false,
            aside: None,
            last_finish: now,
            recorded_tasks: 0,
        };
        self.workers.insert(id, worker);
        if new_kind {
            self.classify_again();
        }
        self.isolate = true;
        id
    }

    /// A frame came from a worker, whatever it says.
    pub(crate) fn heard(&mut self, now: Now, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let was_silent = now >= worker.heard_at + self.config.silence();
        worker.heard_at = now;
        if was_silent {
            let session = worker.info.session;
            self.pardon_for(session);
            self.dispatch(now);
        }
    }

    /// A worker takes more.
    pub(crate) fn credit(&mut self, now: Now, id: WorkerId, tasks: u32, bytes: u64) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.credit_tasks = worker.credit_tasks.saturating_add(i64::from(tasks));
        worker.credit_bytes = worker.credit_bytes.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
        // Its share falls when it has more queues: less comes back than it had.
        worker.most_tasks.note(now, worker.credit_tasks.saturating_add(worker.held_tasks));
        worker.most_bytes.note(now, worker.credit_bytes.saturating_add(worker.held_bytes));
        self.dispatch(now);
    }

    /// A worker lives, and so does this lease of it.
    pub(crate) fn heartbeat(
        &mut self,
        now: Now,
        id: WorkerId,
        lease: LeaseId,
        tasks_done: u32,
        bytes_read: u64,
        started: bool,
    ) {
        let Some(lease) = self.leases.get_mut(&lease).filter(|lease| lease.worker == id) else { return };
        if lease.expires_at <= now {
            // Too late; the next tick takes it back.
            return;
        }
        lease.expires_at = now + self.config.lease_duration;
        let stands_still = lease.progress.is_some_and(|(done, read, _)| (done, read) == (tasks_done, bytes_read));
        if started && !stands_still {
            lease.progress = Some((tasks_done, bytes_read, now));
        }
    }

    /// A worker takes no more leases.
    pub(crate) fn worker_draining(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id)
            && !worker.draining
        {
            worker.draining = true;
            self.classes.disconnect(worker.kind);
        }
    }

    /// A worker that was said to drain, and did not say so itself, takes leases again.
    pub(crate) fn worker_resumes(&mut self, now: Now, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.draining) else { return };
        worker.draining = false;
        let (kind, new_kind) = self.classes.connect(&worker.info);
        worker.kind = kind;
        if new_kind {
            self.classify_again();
        }
        self.isolate = true;
        self.dispatch(now);
    }

    /// True if a worker takes no more leases.
    pub(crate) fn worker_drains(&self, id: WorkerId) -> bool {
        self.workers.get(&id).is_some_and(|worker| worker.draining)
    }

    /// A worker's stream is closed: its leases go to others at once. Not charged as an attempt, but as a strike.
    pub(crate) fn worker_disconnected(&mut self, now: Now, id: WorkerId) {
        let Some(worker) = self.workers.remove(&id) else { return };
        if !worker.draining {
            self.classes.disconnect(worker.kind);
        }
        for lease_id in worker.leases {
            if let Some(lease) = self.end_lease(lease_id, LeaseEnd::Disconnected)
                && !mutant::active(Mutant::RequeueLost)
            {
                self.rescued_leases += 1;
                self.strike(now, &lease, Blow::Lost(Some(worker.info.session)));
            }
        }
        self.isolate = true;
        self.dispatch(now);
    }
}
