//! Chooses the replica for a read, and remembers what came of it.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hashmesh::v1::ReplicaStats;
use hashmesh_database::{
    Database, Pooled, Replica,
    postgres::types::{PgLsn, Type},
};
use hashmesh_runtime::{
    metrics::{Watch, catalogue::queue},
    tasks,
    telemetry::{self, Repeated},
};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{
    monitor::Monitor,
    primary::{Flushed, Identity, Primary},
    status::{Board, Status, Wanted},
};
use crate::store::{StoreError, reads::Sessions};

/// How long a replica on which a read failed gets no other one: its monitor may need as long to see why.
const REST: Duration = Duration::from_secs(1);

/// The replicas, and the tasks that watch them.
#[derive(Debug)]
pub(in crate::store) struct Replicas {
    known: Vec<Known>,
    primary: Primary,
    board: watch::Receiver<Board>,
    wanted: watch::Sender<Wanted>,
    /// Where the next choice begins to look.
    next: AtomicUsize,
    max_lag: Duration,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
struct Known {
    replica: Replica,
    reads: AtomicU64,
    fallbacks: AtomicU64,
    resting_until: Mutex<Option<Instant>>,
    /// Reads that fail there: clients' are as many as they like.
    again: Repeated,
}

/// A replica and how far it must be for a read.
#[derive(Debug)]
pub(crate) struct At {
    replica: Replica,
    target: Flushed,
    within: Duration,
}

impl Replicas {
    /// Starts to watch them.
    pub(super) fn watch(database: &Database, replicas: &[Replica], max_lag: Duration) -> Self {
        let (primary, asking) = Primary::new(database.clone());
        let (board, shown) = watch::channel(vec![Status::unknown(); replicas.len()]);
        let (wanted, _) = watch::channel((0, PgLsn::from(0)));
        let mut running = vec![tasks::spawn_owned("replica reads", asking)];
        for (index, replica) in replicas.iter().enumerate() {
            let monitor = Monitor {
                replica: replica.clone(),
                index,
                primary: primary.clone(),
                board: board.clone(),
                wanted: wanted.subscribe(),
                max_lag,
            };
            running.push(tasks::spawn_owned("replica monitor", monitor.run()));
        }
        let known = |replica: &Replica| Known {
            replica: replica.clone(),
            reads: AtomicU64::new(0),
            fallbacks: AtomicU64::new(0),
            resting_until: Mutex::new(None),
            again: Repeated::new(),
        };
        Self {
            known: replicas.iter().map(known).collect(),
            primary,
            board: shown,
            wanted,
            next: AtomicUsize::new(0),
            max_lag,
            _tasks: running,
        }
    }

    /// A replica that has everything that is committed now. `None`: none has it within `max_lag`, or none is in use.
    pub(in crate::store) async fn choose(&self) -> Option<(usize, At)> {
        tokio::time::timeout(self.max_lag, self.choose_patiently()).await.ok().flatten()
    }

    async fn choose_patiently(&self) -> Option<(usize, At)> {
        let mut board = self.board.clone();
        // Without one there is nothing to ask.
        self.usable(&board.borrow(), None).next()?;
        let (identity, target) = self.primary.flushed().await?;
        loop {
            {
                let board = board.borrow_and_update();
                if let Some(chosen) = self.pick(&board, (identity, target)) {
                    return Some(chosen);
                }
                self.usable(&board, Some(identity)).next()?;
            }
            self.wanted.send_if_modified(|wanted| {
                let further = *wanted < (identity.timeline, target);
                *wanted = (*wanted).max((identity.timeline, target));
                further
            });
            board.changed().await.ok()?;
        }
    }

    /// The replicas of this primary that may be read from once they are far enough, in turn.
    fn usable<'a>(
        &'a self,
        board: &'a Board,
        identity: Option<Identity>,
    ) -> impl Iterator<Item = (usize, &'a Known, &'a Status)> {
        let first = self.next.load(Ordering::Relaxed) % board.len().max(1);
        let all = self.known.iter().zip(board).enumerate();
        let in_turn = all.clone().skip(first).chain(all.take(first));
        in_turn.map(|(index, (known, status))| (index, known, status)).filter(move |(_, known, status)| {
            let resting_until = *known.resting_until();
            status.following(identity) && resting_until.is_none_or(|until| Instant::now() >= until)
        })
    }

    fn pick(&self, board: &Board, target: Flushed) -> Option<(usize, At)> {
        let mut usable = self.usable(board, Some(target.0));
        let (index, known, _) = usable.find(|(_, _, status)| status.replayed >= target.1)?;
        self.next.store(index + 1, Ordering::Relaxed);
        Some((index, At { replica: known.replica.clone(), target, within: self.max_lag }))
    }

    /// Counts a read.
    pub(super) fn answered(&self, index: usize) {
        if let Some(known) = self.known.get(index) {
            known.reads.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a read that the primary must answer, and gives the replica a rest.
    pub(super) fn failed(&self, index: usize, error: &StoreError) {
        let Some(known) = self.known.get(index) else { return };
        known.fallbacks.fetch_add(1, Ordering::Relaxed);
        if let Some(left_out) = known.again.failed() {
            let (replica, error) = (known.replica.address(), telemetry::chain(error));
            tracing::info!(replica, error, left_out, "a read failed there; the primary is asked");
        }
        if error.passes() {
            *known.resting_until() = Some(Instant::now() + REST);
        }
    }

    /// What is known of each.
    pub(super) fn stats(&self) -> Vec<ReplicaStats> {
        let board = self.board.borrow().clone();
        let one = |(known, status): (&Known, Status)| ReplicaStats {
            address: known.replica.address(),
            state: status.state.into(),
            lag_ms: u64::try_from(status.lag.as_millis()).unwrap_or(u64::MAX),
            reads: known.reads.load(Ordering::Relaxed),
            fallbacks: known.fallbacks.load(Ordering::Relaxed),
            problem: status.problem,
        };
        self.known.iter().zip(board).map(one).collect()
    }
}

impl Replicas {
    /// Gauges of each.
    pub(super) fn watches(&self) -> Vec<Watch> {
        let mut watches = Vec::new();
        for (index, known) in self.known.iter().enumerate() {
            let address = known.replica.address();
            let (lags, states) = (self.board.clone(), self.board.clone());
            let lag = move || lags.borrow().get(index).map_or(0.0, |status| status.lag.as_secs_f64());
            let used = move || f64::from(u8::from(states.borrow().get(index).is_some_and(|one| one.following(None))));
            watches.push(queue::REPLICA_LAG.watch(&[&address], lag));
            watches.push(queue::REPLICA_USED.watch(&[&address], used));
        }
        watches
    }
}

impl Known {
    fn resting_until(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.resting_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl At {
    /// The same, for a read that needs this many bytes of WAL more.
    pub(in crate::store) fn further_by(mut self, bytes: u64) -> Self {
        self.target.1 = PgLsn::from(u64::from(self.target.1) + bytes);
        self
    }

    /// The same, as if the primary were on another timeline.
    pub(in crate::store) fn on_timeline(mut self, timeline: i32) -> Self {
        self.target.0.timeline = timeline;
        self
    }
}

impl At {
    /// A connection to a server that has what the read needs.
    async fn ready(&self, what: &'static str) -> Result<Pooled<'_>, StoreError> {
        let connection = self.replica.pooled().await.map_err(StoreError::connect(what))?;
        let (identity, target) = &self.target;
        let row = connection
            .query_typed_opt(
                include_str!("../sql/has_replayed.sql"),
                &[(target, Type::PG_LSN), (&identity.system, Type::INT8), (&identity.timeline, Type::INT4)],
            )
            .await
            .map_err(StoreError::statement(what))?;
        let ready: Option<bool> = match row {
            Some(row) => row.try_get(0).map_err(StoreError::statement(what))?,
            None => None,
        };
        if ready == Some(true) { Ok(connection) } else { Err(StoreError::Behind { what }) }
    }
}

impl Sessions for At {
    async fn session(&self, what: &'static str) -> Result<Pooled<'_>, StoreError> {
        // A server that has stopped answering is not known to have before its monitor has waited for it.
        tokio::time::timeout(self.within, self.ready(what)).await.unwrap_or(Err(StoreError::Unknown { what }))
    }
}
