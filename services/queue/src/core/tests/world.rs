//! Random schedules and the model that they are checked against.

use std::collections::{BTreeMap, BTreeSet};

mod adoption;
mod order;
mod poison;
mod step;
mod unread;

pub(super) use poison::Table;
pub(super) use step::{Step, step};
pub(super) use unread::UNREAD;

use poison::Rows;

use super::{
    known::{Known, TENANTS, WINDOW, config},
    *,
};
use crate::{shard::ShardSet, store::model::WantedBatches};

#[derive(Debug)]
pub(super) struct World {
    core: Core,
    honours_expired: bool,
    now: Now,
    /// What somebody has set the clock ahead by, in ms.
    clock_ms: i64,
    everyone_paused: bool,
    /// Paused, and the most tasks that may be leased.
    controls: [(bool, Option<u32>); TENANTS.len()],
    known: BTreeMap<Uuid, Known>,
    workers: Vec<WorkerId>,
    /// Every lease ever granted by this owner.
    granted: Vec<Grant>,
    /// Reads that were asked for and are not answered yet.
    loads: Vec<WantedBatches>,
    rows: Rows,
    /// What waits for workers that do not read.
    unread: BTreeMap<WorkerId, u64>,
    /// What processes held when the last owner died.
    claims: BTreeMap<Uuid, Vec<Claim>>,
}

impl World {
    pub(super) fn new(honours_expired: bool) -> Self {
        let core = Core::new(config(honours_expired, false));
        Self {
            core,
            honours_expired,
            now: Duration::ZERO,
            clock_ms: 0,
            everyone_paused: false,
            controls: [(false, None); TENANTS.len()],
            known: BTreeMap::new(),
            workers: Vec::new(),
            granted: Vec::new(),
            loads: Vec::new(),
            rows: Rows::default(),
            unread: BTreeMap::new(),
            claims: BTreeMap::new(),
        }
    }

    fn pick(&self, index: usize) -> Option<Uuid> {
        let ids: Vec<Uuid> = self.known.keys().copied().collect();
        (!ids.is_empty()).then(|| ids[index % ids.len()])
    }

    fn worker(&self, index: usize) -> Option<WorkerId> {
        (!self.workers.is_empty()).then(|| self.workers[index % self.workers.len()])
    }

    pub(super) fn apply(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Create { tenant, order } => self.create(*tenant, order),
            Step::Pause { tenant: None, paused } => {
                self.everyone_paused = *paused;
                self.core.pause_everyone(self.now, *paused);
            }
            Step::Pause { tenant: Some(tenant), paused } => {
                self.controls[*tenant].0 = *paused;
                self.control(*tenant);
            }
            Step::Limit { tenant, max_leased } => {
                self.controls[*tenant].1 = *max_leased;
                self.control(*tenant);
            }
            Step::SetClock { ms } => {
                self.clock_ms += ms;
                self.tick();
            }
            Step::Append { submission, task_count, by_reference } => {
                self.append(*submission, *task_count, *by_reference)?;
            }
            Step::Repeat { submission } => self.repeat(*submission)?,
            Step::Seal { submission } => self.seal(*submission)?,
            Step::Cancel { submission } => self.cancel(*submission)?,
            Step::Connect { again } => {
                let worker = self.connect(*again)?;
                self.workers.push(worker);
            }
            Step::Credit { worker, tasks } => {
                if let Some(worker) = self.worker(*worker) {
                    self.core.credit(self.now, worker, *tasks, u64::from(*tasks) * 100_000);
                }
            }
            Step::Disconnect { worker } => {
                if let Some(worker) = self.worker(*worker) {
                    self.workers.retain(|other| *other != worker);
                    self.core.worker_disconnected(self.now, worker);
                }
            }
            Step::Read { worker, reads } => self.read(*worker, *reads),
            Step::Outcomes { lease, skip, take, verdicts, last } => {
                self.outcomes(*lease, *skip, *take, verdicts, *last)?;
            }
            Step::Nack { lease, delay_ms } => {
                if !self.granted.is_empty() {
                    let grant = &self.granted[lease % self.granted.len()];
                    self.core.nack(self.now, grant.worker, grant.lease, Duration::from_millis(*delay_ms));
                }
            }
            Step::Heartbeat { worker } => {
                if let Some(worker) = self.worker(*worker) {
                    self.core.heard(self.now, worker);
                    for grant in self.granted.iter().filter(|grant| grant.worker == worker) {
                        self.core.heartbeat(self.now, worker, grant.lease, 0, 0, false);
                    }
                }
            }
            Step::Pass { ms } => {
                self.now += Duration::from_millis(*ms);
                self.tick();
            }
            Step::Commit { submission } => {
                if let Some(id) = self.pick(*submission) {
                    self.commit(id);
                }
            }
            Step::Load { read } => self.load(*read),
            Step::WriteAhead => self.write_ahead(),
            Step::WriteBehind => self.write_behind()?,
            Step::Restart { eager, crash } => self.restart(*eager, *crash)?,
        }
        self.effects()?;
        self.note_unread()?;
        self.check()?;
        if matches!(step, Step::Pass { .. } | Step::SetClock { .. }) {
            self.check_nobody_waits_without_reason()?;
        }
        Ok(())
    }

    fn append(&mut self, index: usize, task_count: u32, by_reference: bool) -> Result<(), TestCaseError> {
        let Some(id) = self.pick(index) else { return Ok(()) };
        let known = self.known.get_mut(&id).unwrap();
        let sequence = u32::try_from(known.batches.len()).unwrap();
        let gap = self.core.append(self.now, id, &batch(sequence + 1, task_count, by_reference));
        prop_assert!(gap.is_err(), "a gap was taken");
        let new = batch(sequence, task_count, by_reference);
        match self.core.append(self.now, id, &new) {
            Ok(Appended::New { accepted_through, .. }) => {
                prop_assert!(!known.sealed && !known.cancelled && !known.completed);
                known.batches.push(new);
                let accepted: u64 = known.batches.iter().map(|batch| u64::from(batch.task_count)).sum();
                prop_assert_eq!(accepted_through, accepted);
            }
            Ok(other) => prop_assert!(false, "a new batch was taken for an old one: {:?}", other),
            Err(_) => prop_assert!(known.sealed || known.cancelled || known.completed),
        }
        Ok(())
    }

    /// Promise 4: the same again changes nothing, something else is refused.
    fn repeat(&mut self, index: usize) -> Result<(), TestCaseError> {
        let Some(id) = self.pick(index) else { return Ok(()) };
        let known = &self.known[&id];
        let (Some(first), true) = (known.batches.first(), self.core.knows(id)) else { return Ok(()) };
        let other = NewBatchMeta { fingerprint: [255; 32], ..first.clone() };
        match self.core.append(self.now, id, first) {
            Ok(Appended::Repeated) => {
                prop_assert_eq!(self.core.append(self.now, id, &other), Err(AppendRefusal::Conflict));
            }
            // The table decides.
            answer => {
                prop_assert_eq!(answer, Ok(Appended::Elsewhere));
                prop_assert_eq!(self.core.append(self.now, id, &other), Ok(Appended::Elsewhere));
            }
        }
        Ok(())
    }

    fn seal(&mut self, index: usize) -> Result<(), TestCaseError> {
        let Some(id) = self.pick(index) else { return Ok(()) };
        let known = self.known.get_mut(&id).unwrap();
        let count = u32::try_from(known.batches.len()).unwrap();
        if self.core.knows(id) && !known.cancelled {
            prop_assert_eq!(self.core.seal(id, count + 1), Err(SealRefusal::Count { stored: count }));
        }
        if let Ok(Sealed::New { complete }) = self.core.seal(id, count) {
            prop_assert!(!known.sealed);
            known.sealed = true;
            known.completed = complete;
            self.commit(id);
            if complete {
                self.core.forget(id);
            }
        }
        Ok(())
    }

    fn cancel(&mut self, index: usize) -> Result<(), TestCaseError> {
        let Some(id) = self.pick(index) else { return Ok(()) };
        let known = self.known.get_mut(&id).unwrap();
        // Half of the cancels, so that most submissions live.
        if index.is_multiple_of(2) && self.core.cancel(id) == Ok(true) {
            prop_assert!(!known.completed && !known.cancelled);
            known.cancelled = true;
            self.commit(id);
            self.core.forget(id);
        }
        Ok(())
    }

    fn outcomes(
        &mut self,
        lease: usize,
        skip: u32,
        take: u32,
        verdicts: &[u8],
        last: bool,
    ) -> Result<(), TestCaseError> {
        if self.granted.is_empty() {
            return Ok(());
        }
        let grant = self.granted[lease % self.granted.len()].clone();
        let first = grant.run.first + skip.min(grant.run.count - 1);
        let run = TaskRun::new(first, take.min(grant.run.end() - first));
        self.answer(&grant, run, verdicts, last)
    }

    fn answer(&mut self, grant: &Grant, run: TaskRun, verdicts: &[u8], last: bool) -> Result<(), TestCaseError> {
        let mut statuses = Vec::new();
        let mut failures = Vec::new();
        for (offset, verdict) in (0..run.count).zip(verdicts.iter().cycle()) {
            let failure = |retryable, uncharged| AttemptFailure { offset, retryable, retry_after: None, uncharged };
            let (status, failure) = match verdict {
                0 => (OutcomeStatus::Mismatched, None),
                1 => (OutcomeStatus::Failed, Some(failure(true, false))),
                2 => (OutcomeStatus::Failed, Some(failure(false, false))),
                3 => (OutcomeStatus::Failed, Some(failure(true, true))),
                _ => (OutcomeStatus::Succeeded, None),
            };
            statuses.push(status as u8);
            failures.extend(failure);
        }
        let known = self.known.get_mut(&grant.submission).unwrap();
        let fingerprint = known.batches[grant.sequence as usize].fingerprint;
        let part = OutcomesPart {
            worker: grant.worker,
            lease: grant.lease,
            fingerprint: &fingerprint,
            run,
            statuses: Some(&statuses),
            failures: &failures,
            hashed_bytes: 7,
            last,
        };
        if let Verdict::Taken { submission, recorded, complete, .. } = self.core.outcomes(self.now, &part) {
            prop_assert_eq!(submission, grant.submission);
            for row in &recorded {
                let offset = (row.run.first - run.first) as usize;
                known.note(row, &statuses[offset..offset + row.run.count as usize])?;
            }
            if complete {
                known.completed = true;
                self.commit(submission);
                self.core.forget(submission);
            }
        }
        Ok(())
    }

    fn commit(&mut self, id: Uuid) {
        let known = self.known.get_mut(&id).unwrap();
        let (stored, _) = known.commit();
        self.core.stored(id, stored);
    }

    fn load(&mut self, read: usize) {
        if self.loads.is_empty() {
            return;
        }
        let wanted = self.loads.swap_remove(read % self.loads.len());
        let loaded = self.known[&wanted.submission].load(&wanted, &self.rows.table);
        self.core.loaded(self.now, wanted.submission, &loaded);
    }

    /// All that is handed to lanes is committed, and all that the core asked for is read.
    fn catch_up(&mut self) -> Result<(), TestCaseError> {
        for id in self.known.keys().copied().collect::<Vec<_>>() {
            self.commit(id);
        }
        self.effects()?;
        while !self.loads.is_empty() {
            self.load(0);
            self.effects()?;
        }
        self.write_ahead();
        self.effects()
    }

    fn write_behind(&mut self) -> Result<(), TestCaseError> {
        let known = &self.known;
        for (id, resolved) in self.core.take_resolved(|id| Some(known[&id].committed().1)) {
            self.known.get_mut(&id).unwrap().note_resolved(resolved)?;
        }
        self.snapshot();
        Ok(())
    }

    fn effects(&mut self) -> Result<(), TestCaseError> {
        let mut granted_to = BTreeSet::new();
        for effect in self.core.take_effects() {
            match effect {
                Effect::Dispatch(grant) => {
                    let known = &self.known[&grant.submission];
                    prop_assert!(!self.everyone_paused && !self.controls[known.tenant].0, "leased while paused");
                    prop_assert!(known.begun, "leased before its time");
                    granted_to.insert(known.tenant);
                    self.sent(&grant)?;
                    self.granted.push(grant);
                }
                Effect::DeadlinePassed { submission } => {
                    let wall = self.wall();
                    let known = self.known.get_mut(&submission).unwrap();
                    prop_assert!(known.order.deadline.is_some_and(|at| at <= wall), "cancelled before its deadline");
                    prop_assert!(!known.completed && !known.cancelled);
                    known.cancelled = true;
                    self.commit(submission);
                    self.core.forget(submission);
                }
                Effect::Bury { submission, recorded, complete, .. } => {
                    let known = self.known.get_mut(&submission).unwrap();
                    known.note(&recorded, &vec![OutcomeStatus::Failed as u8; recorded.run.count as usize])?;
                    known.completed |= complete;
                    if complete {
                        self.commit(submission);
                        self.core.forget(submission);
                    }
                }
                Effect::Load(wanted) => self.loads.push(wanted),
                Effect::WriteAhead(row) => self.rows.push(row),
                Effect::Revoke { .. } | Effect::BatchResolved { .. } => {}
            }
        }
        for tenant in granted_to {
            let leased = self.leased(|known| known.tenant == tenant);
            prop_assert!(
                self.controls[tenant].1.is_none_or(|max| leased <= u64::from(max)),
                "a tenant beyond its limit"
            );
        }
        Ok(())
    }

    fn restart(&mut self, eager: bool, crash: bool) -> Result<(), TestCaseError> {
        self.note_claims(crash);
        let config = config(self.honours_expired, crash);
        self.core = Core::new(config);
        self.core.take_over(self.now, ShardSet::ALL);
        self.lose_rows();
        self.workers.clear();
        self.unread.clear();
        self.granted.clear();
        self.loads.clear();
        self.core.clock(self.wall());
        let wall = self.wall();
        self.core.pause_everyone(self.now, self.everyone_paused);
        (0..TENANTS.len()).for_each(|tenant| self.control(tenant));
        for (id, known) in &mut self.known {
            if known.completed || known.cancelled {
                continue;
            }
            known.roll_back()?;
            known.meets(wall);
            if self.core.recover(self.now, &known.recovered(*id, eager, &self.rows.table)) {
                prop_assert!(known.sealed);
                known.completed = true;
                self.core.forget(*id);
            }
        }
        Ok(())
    }

    /// Each unresolved task in memory is in exactly one place, and no other is; what is not in memory is resolved or can be
    /// loaded. What the core says of recorded tasks is what was recorded.
    fn check(&self) -> Result<(), TestCaseError> {
        for (id, known) in &self.known {
            let Some(submission) = self.core.submissions.get(id) else {
                prop_assert!(known.completed || known.cancelled, "a submission was forgotten");
                continue;
            };
            prop_assert_eq!(submission.totals, known.totals);
            let mut places: BTreeMap<(u32, u32), u32> = BTreeMap::new();
            let mut place = |sequence: u32, run: TaskRun| {
                (run.first..run.end()).for_each(|task| *places.entry((sequence, task)).or_default() += 1);
            };
            for ((sequence, first), ready) in submission.ready.iter() {
                place(sequence, TaskRun::new(first, ready.count));
            }
            let leased = self.leased(|other| std::ptr::eq(other, known));
            prop_assert_eq!(submission.leased_tasks, leased);
            prop_assert!(known.order.max_leased_tasks.is_none_or(|max| leased <= u64::from(max)), "beyond its limit");
            for lease in self.core.leases.values().filter(|lease| lease.submission == *id) {
                lease.unresolved.iter().for_each(|run| place(lease.sequence, run));
            }
            let mut waiting_tasks = 0;
            for waiting in self.core.waiting.iter().filter(|waiting| waiting.submission == *id) {
                place(waiting.sequence, waiting.run);
                waiting_tasks += u64::from(waiting.run.count);
            }
            prop_assert_eq!(submission.waiting_tasks, waiting_tasks);
            prop_assert_eq!(submission.ready.oldest(), submission.ready.iter().map(|(_, run)| run.since).min());
            self.apart(*id).into_iter().for_each(|(sequence, run)| place(sequence, run));
            let kept: BTreeSet<u32> = submission.window.sequences().collect();
            prop_assert!(kept.len() <= WINDOW);
            for batch in &known.batches {
                let in_memory = kept.contains(&batch.sequence);
                for task in 0..batch.task_count {
                    let key = (batch.sequence, task);
                    let expected = u32::from(in_memory && !known.recorded.contains_key(&key));
                    prop_assert!(
                        in_memory || known.recorded.contains_key(&key) || submission.window.loads(batch.sequence)
                    );
                    prop_assert_eq!(places.get(&key).copied().unwrap_or(0), expected, "task {:?} of {}", key, id);
                }
            }
        }
        prop_assert_eq!(self.core.leased_tasks, self.leased(|_| true));
        prop_assert!(self.core.timers.len() <= 2 * self.core.submissions.len(), "timers of what is over");
        Ok(())
    }

    /// Promise 9: with an honest worker everything that is sealed comes to its end.
    pub(super) fn finish(&mut self) -> Result<(), TestCaseError> {
        for index in 0..self.known.len() {
            self.seal(index)?;
        }
        let worker = self.connect(None)?;
        self.core.credit(self.now, worker, u32::MAX, u64::MAX);
        self.apply(&Step::Pause { tenant: None, paused: false })?;
        for tenant in 0..TENANTS.len() {
            self.apply(&Step::Pause { tenant: Some(tenant), paused: false })?;
        }
        self.effects()?;
        let mut answered = BTreeSet::new();
        for _ in 0..200 {
            self.write_behind()?;
            loop {
                self.catch_up()?;
                self.core.unread(self.now, worker, 0);
                self.effects()?;
                let mine = |grant: &&Grant| grant.worker == worker && !answered.contains(&grant.lease);
                let Some(grant) = self.granted.iter().find(mine).cloned() else { break };
                answered.insert(grant.lease);
                self.answer(&grant, grant.run, &[5], true)?;
                self.effects()?;
            }
            self.now += Duration::from_secs(1);
            self.core.heard(self.now, worker);
            self.tick();
            self.effects()?;
            self.check()?;
        }
        for (id, known) in &self.known {
            let accepted: u32 = known.batches.iter().map(|batch| batch.task_count).sum();
            prop_assert!(known.completed || known.cancelled, "{} never ended: {:?}", id, self.core.submissions.get(id));
            prop_assert!(known.cancelled || known.recorded.len() == accepted as usize);
        }
        Ok(())
    }
}
