//! What goes wrong, one thing at a time, and the calm behind it.

use std::time::Duration;

use tokio::sync::oneshot;

use super::{
    owners::ShardState,
    plan::Fault,
    world::{Event, World},
};
use crate::{
    behind::Snapshot,
    engine::Command,
    shard::{SHARDS, Shard, ShardSet},
    store::model::ControlsChange,
};

/// How long an ownership outlives its owner.
const LAPSE: Duration = Duration::from_secs(5);

impl World {
    /// One of the plan's faults happens.
    pub(super) fn fault(&mut self) {
        if self.calm {
            return;
        }
        if !self.plan.faults.is_empty() {
            let fault = self.plan.faults[self.chance.index(self.plan.faults.len())];
            self.note(format_args!("fault {fault:?}"));
            self.happen(fault);
        }
        let longest = u64::try_from(2 * self.plan.fault_pause.as_micros()).unwrap_or(u64::MAX);
        let pause = self.chance.micros(0, longest);
        self.after(pause, Event::Fault);
    }

    fn happen(&mut self, fault: Fault) {
        match fault {
            Fault::OwnerDies => {
                self.count("owners that die");
                let process = self.chance.index(self.processes.len());
                self.kill_owner(process);
            }
            Fault::OwnerStalls => self.stall_owner(),
            Fault::OwnerStops => self.stop_owner(),
            Fault::LaneFails => {
                if let Some(number) = self.any_generation() {
                    self.count("lanes that fail");
                    self.end(number, "a lane's connection is lost");
                }
            }
            Fault::ShardsStolen => self.steal(),
            Fault::WorkerDies => {
                self.count("workers that die");
                self.check.chance_losses = true;
                let (worker, seen) = (self.chance.index(self.workers.len()), !self.chance.one_in(3));
                self.kill_worker(worker, seen, "by chance");
            }
            Fault::WorkerFreezes => {
                self.count("workers that fall silent");
                self.check.chance_losses = true;
                let worker = self.chance.index(self.workers.len());
                let pause = self.chance.ms(500, 9_000);
                self.workers[worker].frozen_until = self.now + pause;
                self.note(format_args!("w{worker} stands still for {pause:?}"));
            }
            Fault::StreamBreaks | Fault::StreamBreaksUnseen => self.break_some(fault == Fault::StreamBreaks),
            Fault::MachineDies => {
                self.count("machines that die");
                self.check.chance_losses = true;
                for worker in 0..self.workers.len() {
                    self.kill_worker(worker, true, "with its machine");
                }
                self.kill_owner(0);
                self.processes[0].crashed = true;
            }
            Fault::ClockJumps => {
                self.count("clocks that jump");
                self.clock_ahead += [3600, -3600, 5, -5][self.chance.index(4)];
            }
            Fault::Operator => self.operate(),
            Fault::ClientReconnects => {
                self.count("clients that lose their stream");
                let (client, recut) = (self.chance.index(self.clients.len()), self.chance.one_in(2));
                let recut = recut && self.plan.recuts;
                self.clients[client].disconnect(recut);
            }
            Fault::Cancel => {
                let client = self.chance.index(self.clients.len());
                self.clients[client].wants_cancel |= self.chance.one_in(3);
            }
        }
    }

    fn any_generation(&mut self) -> Option<usize> {
        let live: Vec<usize> = (0..self.generations.len()).filter(|number| self.generations[*number].live()).collect();
        (!live.is_empty()).then(|| live[self.chance.index(live.len())])
    }

    fn of_process(&self, process: usize) -> Vec<usize> {
        let of = |number: &usize| self.generations[*number].process == process && !self.generations[*number].ended;
        (0..self.generations.len()).filter(of).collect()
    }

    pub(super) fn kill_owner(&mut self, process: usize) {
        if !self.processes[process].up {
            return;
        }
        self.processes[process].up = false;
        self.processes[process].stalled_until = Duration::ZERO;
        for number in self.of_process(process) {
            self.end(number, "its process died");
        }
        if self.plan.alone {
            // Nobody else can own them: the next start does not wait.
            self.shards.iter_mut().for_each(|state| state.free_at = Duration::ZERO);
        }
        let pause = self.chance.ms(50, 4_000);
        self.after(pause, Event::ProcessUp(process));
    }

    /// SIGSTOP, and SIGCONT after a while, perhaps when others have taken over.
    fn stall_owner(&mut self) {
        let process = self.chance.index(self.processes.len());
        if !self.processes[process].up || self.processes[process].stalled_until > self.now {
            return;
        }
        let pause = if self.chance.one_in(2) { self.chance.ms(20, 3_000) } else { self.chance.ms(5_100, 12_000) };
        self.processes[process].stalled_until = self.now + pause;
        self.note(format_args!("p{process} stands still for {pause:?}"));
        if pause < LAPSE {
            return self.count("owners that stand still for a while");
        }
        self.count("owners that stand still until others take over");
        for number in self.of_process(process) {
            let lapsed = ShardState { generation: None, free_at: self.now + LAPSE };
            self.shards.iter_mut().filter(|state| state.generation == Some(number)).for_each(|state| *state = lapsed);
            // It goes on until it finds that it could not renew.
            let notices = self.chance.ms(1, 1_000);
            self.after(pause + notices, Event::End(number));
        }
    }

    /// Another takes some of an owner's shards over while it lives. It finds out when it renews, or when it writes.
    fn steal(&mut self) {
        let Some(number) = self.any_generation() else { return };
        let mask = self.chance.next() | self.chance.next();
        self.count("shards that change hands while their owner lives");
        for shard in (0..usize::from(SHARDS)).filter(|shard| mask >> shard & 1 == 1) {
            if self.shards[shard].generation == Some(number) {
                self.shards[shard] = ShardState { generation: None, free_at: self.now };
            }
        }
        let notices = self.chance.ms(20, 1_500);
        self.after(notices, Event::End(number));
    }

    /// A planned stop: workers keep what they hold and claim it from the next owner.
    fn stop_owner(&mut self) {
        let process = self.chance.index(self.processes.len());
        if !self.processes[process].up || self.processes[process].stalled_until > self.now {
            return;
        }
        self.count("owners that stop in order");
        for number in self.of_process(process) {
            for connection in self.generations[number].connections.clone() {
                self.break_stream(connection, true, true);
            }
            let pause = self.chance.ms(25, 400);
            self.after(pause, Event::Stop(number));
        }
    }

    /// Begins nothing more. What is held is written for the next owner once nothing is under way, and then the shards are free.
    pub(super) fn stop(&mut self, number: usize) {
        if let Some(later) = self.stalled(number) {
            return self.at(later, Event::Stop(number));
        }
        let generation = &mut self.generations[number];
        let shards = ShardSet::of_bits(generation.shards);
        let Some(engine) = &mut generation.engine else { return };
        engine.handle(Command::GiveUp { shards, reply: oneshot::channel().0 });
        self.end_turn(number);
    }

    /// Nothing is under way any more.
    pub(super) fn stopped(&mut self, number: usize, snapshot: Snapshot, fails: bool) {
        self.generations[number].written = None;
        self.write_snapshot(number, snapshot, fails);
        self.end(number, "stopped in order");
        self.shards.iter_mut().filter(|state| state.generation.is_none()).for_each(|state| {
            state.free_at = state.free_at.min(self.now + Duration::from_millis(50));
        });
    }

    fn break_some(&mut self, seen: bool) {
        let open: Vec<usize> = (0..self.connections.len()).filter(|number| !self.connections[*number].broken).collect();
        if open.is_empty() {
            return;
        }
        self.count(if seen { "streams that break" } else { "streams that break unseen" });
        self.check.chance_losses = true;
        let connection = open[self.chance.index(open.len())];
        self.break_stream(connection, seen, false);
        let worker = self.connections[connection].worker;
        let pause = self.chance.ms(1, 300);
        self.after(pause, Event::Worker(worker));
    }

    /// Somebody pauses, resumes or limits a tenant, or everyone.
    fn operate(&mut self) {
        let tenant = match self.chance.index(4) {
            0 => String::new(),
            other => format!("tenant {}", other - 1),
        };
        let everyone = tenant.is_empty();
        let change = ControlsChange {
            tenant,
            paused: Some(self.chance.one_in(2)),
            max_leased_tasks: (!everyone && self.chance.one_in(2)).then(|| self.chance.between(0, 10)),
            tasks_per_day: None,
            bytes_per_day: None,
            sources: None,
        };
        self.control(change);
    }

    fn control(&mut self, change: ControlsChange) {
        // The owner of the first shard keeps what operators say.
        let Some(number) = self.serving(Shard::of(uuid::Uuid::nil())) else { return };
        self.count("words of operators");
        let (reply, _) = oneshot::channel();
        self.post(number, Command::Control { change, reply });
    }

    /// From now on nothing goes wrong; what was held back is let go.
    pub(super) fn calm_down(&mut self) {
        if !self.calm {
            self.note(format_args!("calm"));
        }
        self.calm = true;
        self.clock_ahead = self.clock_ahead.max(0) + 4 * 3600;
        for process in &mut self.processes {
            process.up = true;
            process.stalled_until = Duration::ZERO;
        }
        for worker in &mut self.workers {
            worker.frozen_until = Duration::ZERO;
        }
        for worker in 0..self.workers.len() {
            self.after(Duration::ZERO, Event::Worker(worker));
        }
    }

    /// In the calm operators let go of everyone, and say it again until it is stored.
    pub(super) fn resume_all(&mut self) {
        let held = |change: &&ControlsChange| change.paused == Some(true) || change.max_leased_tasks.unwrap_or(0) > 0;
        let held: Vec<String> =
            self.tables.controls.values().filter(held).map(|change| change.tenant.clone()).collect();
        for tenant in held.into_iter().filter(|_| self.calm).collect::<Vec<_>>() {
            let change = ControlsChange {
                max_leased_tasks: (!tenant.is_empty()).then_some(0),
                paused: Some(false),
                tenant,
                tasks_per_day: None,
                bytes_per_day: None,
                sources: None,
            };
            self.control(change);
        }
    }
}
