//! A commit lane: one connection with one transaction in flight while the next one fills up. No timers.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use hashmesh::v1::PackedOutcomes;
use hashmesh_runtime::metrics::catalogue::queue::COMMIT_FAILURES;
use tokio::sync::{Notify, mpsc, oneshot};
use uuid::Uuid;

use super::{
    Admitted, Command, group,
    measure::{DoneTasks, ReceivedBatch},
    traces::UnitSpan,
};
use crate::{
    core::{LeaseId, WorkerId},
    error::QueueError,
    mutant::{self, Mutant},
    store::{
        Lane, LaneError, UnitError,
        model::{ControlsChange, Totals, Unit, Write},
    },
};

/// What is to happen once a unit is committed.
#[derive(Debug, Default)]
pub(crate) struct After {
    /// The submission exists.
    pub(super) created: bool,
    /// Batches stored, and their tasks in all.
    pub(super) stored: Option<(u32, u64)>,
    /// The batch that is stored, to be measured.
    pub(super) received: Option<ReceivedBatch>,
    /// The outcomes that are stored, to be measured.
    pub(super) done: Option<DoneTasks>,
    /// Outcomes for followers.
    pub(super) outcomes: Vec<PackedOutcomes>,
    /// The last position.
    pub(super) position: Option<u64>,
    /// The submission's counters.
    pub(super) totals: Option<Totals>,
    pub(super) sealed: bool,
    pub(super) ended: bool,
    /// What an operator changed.
    pub(super) controls: Option<ControlsChange>,
    /// A lease that nothing more is wanted of.
    pub(super) settle: Option<(WorkerId, LeaseId)>,
    /// A caller who waits for this unit.
    pub(super) reply: Option<oneshot::Sender<Result<(), QueueError>>>,
    /// The span of it.
    pub(super) span: Option<UnitSpan>,
    /// Memory that the unit's payload was admitted for.
    pub(super) permit: Option<Admitted>,
}

/// A unit in a lane.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) unit: Unit,
    pub(super) after: After,
    /// How often it has let others go before it (see [`group`]).
    pub(super) gave_way: u8,
}

impl Queued {
    /// What writing it takes, if nothing is left out.
    pub(super) fn bytes(&self) -> usize {
        let write_bytes = |write: &Write| match write {
            Write::Batch(batch) => batch.tasks.len() + batch.names.as_ref().map_or(0, |names| names.data.len()),
            Write::Results(results) => results.outcomes.len(),
            _ => 0,
        };
        128 + self.unit.writes.iter().map(write_bytes).sum::<usize>()
    }
}

/// What waits for a lane. Bounded by what is admitted: the engine takes no batch without a permit, and no more outcomes
/// than are leased.
#[derive(Debug, Default)]
pub(super) struct LaneQueue {
    state: Mutex<LaneState>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct LaneState {
    waiting: VecDeque<Queued>,
    /// Submissions one of whose units failed: nothing behind it may be written until the engine has let go of them.
    failed: HashSet<Uuid>,
}

impl LaneQueue {
    fn state(&self) -> MutexGuard<'_, LaneState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a unit behind all others. Units of a failed submission are dropped: their callers learn it from its handle.
    pub(super) fn push(&self, queued: Queued) {
        let mut state = self.state();
        if !state.failed.contains(&queued.unit.submission) {
            state.waiting.push_back(queued);
            drop(state);
            self.filled.notify_one();
        }
    }

    /// The engine has let go of a failed submission: a new life of it may be written.
    pub(super) fn pardon(&self, submission: Uuid) {
        self.state().failed.remove(&submission);
    }

    /// What the next transaction commits; empty only if nothing waits.
    pub(super) fn take_now(&self) -> Vec<Queued> {
        group::take(&mut self.state().waiting)
    }

    /// Waits for units, then takes as many as fit one transaction.
    async fn take_group(&self) -> Vec<Queued> {
        loop {
            let filled = self.filled.notified();
            let group = self.take_now();
            if !group.is_empty() {
                return group;
            }
            filled.await;
        }
    }

    /// Each unit of a transaction has its answer: what stands behind a failed one is dropped.
    pub(super) fn answered(
        &self,
        units: &[Unit],
        afters: Vec<After>,
        results: Vec<Result<SystemTime, UnitError>>,
    ) -> Committed {
        let ids = units.iter().map(|unit| unit.submission);
        let units: Vec<_> = ids.zip(afters).zip(results).map(|((id, after), result)| (id, after, result)).collect();
        for (id, _, result) in &units {
            if let Err(error) = result {
                if matches!(error, UnitError::Refused(_)) {
                    COMMIT_FAILURES.add(1, &["unit"]);
                }
                self.fail(*id);
            }
        }
        Committed { units }
    }

    /// Drops what stands behind a failed unit.
    fn fail(&self, submission: Uuid) {
        if mutant::active(Mutant::LaneGoesOn) {
            return;
        }
        let mut state = self.state();
        state.failed.insert(submission);
        state.waiting.retain(|queued| queued.unit.submission != submission);
    }
}

/// A finished transaction, for the engine.
#[derive(Debug)]
pub(crate) struct Committed {
    /// With the transaction's time, by the database's clock.
    pub(super) units: Vec<(Uuid, After, Result<SystemTime, UnitError>)>,
}

/// Commits groups until the connection or the ownership is lost, or the engine is gone.
pub(super) async fn run(mut lane: Lane, queue: &LaneQueue, engine: mpsc::Sender<Command>) -> LaneError {
    loop {
        let group = queue.take_group().await;
        let (units, afters): (Vec<Unit>, Vec<After>) =
            group.into_iter().map(|queued| (queued.unit, queued.after)).unzip();
        let results = match lane.commit(&units).await {
            Ok(results) => results,
            Err(error) => return error,
        };
        let committed = queue.answered(&units, afters, results);
        if engine.send(Command::Committed(committed)).await.is_err() {
            // The engine is gone; so is the reason to write.
            return LaneError::Unknown("the engine stopped".to_owned());
        }
    }
}
