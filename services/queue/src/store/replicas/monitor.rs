//! Watches one replica: whether it is a standby of this database, and how far it has replayed.

use std::time::{Duration, Instant};

use hashmesh::v1::ReplicaState;
use hashmesh_database::{
    Dedicated, Replica,
    postgres::types::{FromSql, PgLsn},
};
use tokio::sync::watch;

use super::{
    primary::{Identity, Primary},
    status::{Board, Status, Wanted},
};
use crate::store::StoreError;

/// From one look at who the replica is, and how far behind, to the next.
const INTERVAL: Duration = Duration::from_secs(1);
/// Without an answer for this long a replica counts as unreachable.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two questions of how far it is, while a read waits for it: the first pause and the longest.
const POLL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(8));
/// The same while it lags, so that no read waits.
const LAGGING_POLL: Duration = Duration::from_millis(100);
const WHAT: &str = "ask a replica how far it is";

/// Pauses between attempts to connect.
#[derive(Debug)]
pub(super) struct Pause {
    next: Duration,
}

impl Pause {
    const SHORTEST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(5);

    pub(super) async fn wait(&mut self) {
        let pause = self.next;
        self.next = (pause * 2).min(Self::LONGEST);
        tokio::time::sleep(pause).await;
    }

    pub(super) fn reset(&mut self) {
        self.next = Self::SHORTEST;
    }
}

impl Default for Pause {
    fn default() -> Self {
        Self { next: Self::SHORTEST }
    }
}

/// Why a replica is not used.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Unreachable(#[from] StoreError),
    #[error("{0}")]
    Refused(String),
}

/// One replica's monitor.
#[derive(Debug)]
pub(super) struct Monitor {
    pub(super) replica: Replica,
    /// Its place on the board.
    pub(super) index: usize,
    pub(super) primary: Primary,
    pub(super) board: watch::Sender<Board>,
    pub(super) wanted: watch::Receiver<Wanted>,
    pub(super) max_lag: Duration,
}

/// A position that the replica is to reach, known since then.
#[derive(Clone, Copy, Debug)]
struct Target {
    at: PgLsn,
    since: Instant,
}

impl Monitor {
    /// Until it is dropped.
    pub(super) async fn run(mut self) {
        let mut pause = Pause::default();
        loop {
            let problem = self.follow(&mut pause).await;
            let state = match &problem {
                Problem::Unreachable(_) => ReplicaState::Unreachable,
                Problem::Refused(_) => ReplicaState::Refused,
            };
            let problem = chain(&problem);
            self.publish(|status| {
                status.state = state;
                status.problem = problem;
            });
            pause.wait().await;
        }
    }

    /// Watches it over one connection until that, or the replica, is no good.
    async fn follow(&mut self, pause: &mut Pause) -> Problem {
        match self.watch(pause).await {
            Ok(never) => match never {},
            Err(problem) => problem,
        }
    }

    async fn watch(&mut self, pause: &mut Pause) -> Result<std::convert::Infallible, Problem> {
        let connection = self.replica.dedicated("replica monitor").await.map_err(StoreError::connect(WHAT))?;
        let mut behind: Option<(Identity, Target)> = None;
        loop {
            let tick = tokio::time::sleep(INTERVAL);
            let mut tick = std::pin::pin!(tick);
            // Without the primary nothing can be judged, and no read needs a judgement.
            if let Some(primary) = self.primary.identity() {
                verify(&connection, primary).await?;
                pause.reset();
                self.publish(|status| status.identity = Some(primary));
                let target = match behind.take() {
                    Some((identity, target)) if identity == primary => Some(target),
                    _ => {
                        let flushed = self.primary.flushed().await.filter(|(identity, _)| *identity == primary);
                        flushed.map(|(_, at)| Target { at, since: Instant::now() })
                    }
                };
                if let Some(target) = target
                    && !self.reach(&connection, target).await?
                {
                    behind = Some((primary, target));
                    continue;
                }
            }
            loop {
                tokio::select! {
                    () = &mut tick => break,
                    changed = self.wanted.changed() => {
                        if changed.is_err() {
                            // The readers are gone, and this task ends with them.
                            std::future::pending::<()>().await;
                        }
                        let target = Target { at: self.wanted.borrow_and_update().1, since: Instant::now() };
                        if !self.reach(&connection, target).await? {
                            break;
                        }
                    }
                    () = connection.closed() => return Err(StoreError::Unknown { what: WHAT }.into()),
                }
            }
        }
    }

    /// Asks how far it is until it has reached the target, and lets everybody know. False: it has not after some time, and
    /// who it is must be looked at again.
    async fn reach(&self, connection: &Dedicated, target: Target) -> Result<bool, Problem> {
        let began = Instant::now();
        let mut pause = POLL.0;
        loop {
            let replayed: Option<PgLsn> = ask(connection, include_str!("../sql/replayed.sql")).await?;
            let Some(replayed) = replayed else {
                return Err(Problem::Refused("it was promoted: it is no standby any more".to_owned()));
            };
            let (reached, lag) = (replayed >= target.at, target.since.elapsed());
            self.publish(|status| {
                status.replayed = replayed;
                status.lag = lag;
                if lag > self.max_lag {
                    status.state = ReplicaState::Lagging;
                    status.problem = format!("it is more than {:?} behind", self.max_lag);
                } else if reached {
                    status.state = ReplicaState::Following;
                    status.problem.clear();
                }
            });
            if reached || began.elapsed() > INTERVAL {
                return Ok(reached);
            }
            tokio::time::sleep(pause).await;
            pause = if lag > self.max_lag { LAGGING_POLL } else { (pause * 2).min(POLL.1) };
        }
    }

    /// Writes on the board, and logs what changes for readers.
    fn publish(&self, change: impl FnOnce(&mut Status)) {
        self.board.send_modify(|board| {
            let Some(status) = board.get_mut(self.index) else { return };
            let before = (status.state, status.problem.clone());
            change(status);
            if before == (status.state, status.problem.clone()) {
                return;
            }
            let (replica, problem) = (self.replica.address(), &status.problem);
            match status.state {
                ReplicaState::Following => tracing::info!(replica, lag = ?status.lag, "the replica answers reads now"),
                ReplicaState::Lagging => tracing::warn!(replica, "the replica is too far behind to be read from"),
                ReplicaState::Refused => {
                    tracing::error!(replica, problem, "replica_url names a server that may not be read from");
                }
                ReplicaState::Unreachable | ReplicaState::Unspecified => {
                    tracing::warn!(replica, problem, "the replica cannot be read from; trying again");
                }
            }
        });
    }
}

/// Refuses what is no standby of the primary as it is now.
async fn verify(connection: &Dedicated, primary: Identity) -> Result<(), Problem> {
    let failed = |source| Problem::from(StoreError::Statement { what: WHAT, source });
    let row = answer(connection, include_str!("../sql/replica_identity.sql")).await?;
    if !row.try_get::<_, bool>("in_recovery").map_err(failed)? {
        return Err(Problem::Refused("it is a primary, not a standby: name a replica of the database".to_owned()));
    }
    let found = Identity::read(&row).map_err(failed)?;
    if found.system != primary.system {
        return Err(Problem::Refused(format!(
            "it belongs to cluster {}, the database to {}: name a replica of it",
            found.system, primary.system
        )));
    }
    if (found.database, found.schema) != (primary.database, primary.schema) {
        let found = "its URL leads to another database or schema of the cluster: name the one of the database's URL";
        return Err(Problem::Refused(found.to_owned()));
    }
    if found.timeline != primary.timeline {
        return Err(Problem::Refused(format!(
            "it follows timeline {}, the database is on {}: have it follow the present primary",
            found.timeline, primary.timeline
        )));
    }
    Ok(())
}

async fn ask<T: for<'a> FromSql<'a>>(connection: &Dedicated, sql: &str) -> Result<T, Problem> {
    let row = answer(connection, sql).await?;
    row.try_get(0).map_err(|source| StoreError::Statement { what: WHAT, source }.into())
}

async fn answer(connection: &Dedicated, sql: &str) -> Result<hashmesh_database::postgres::Row, StoreError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, connection.query_one(sql, &[])).await {
        Ok(row) => row.map_err(StoreError::statement(WHAT)),
        Err(_) => Err(StoreError::Unknown { what: WHAT }),
    }
}

/// An error with its causes, for people.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
