//! Group commit: a connection of its own that writes whole groups of units in one transaction each.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use hashmesh_database::{
    Database, Dedicated, Failure, classify,
    postgres::{self, Statement},
};
use hashmesh_runtime::metrics::catalogue::queue;
use uuid::Uuid;

use super::{
    StoreError,
    columns::{Columns, Parameters, Unfit},
    fence::{self, Fence, LOCK_CLASS, Outcome, Sent},
    model::Unit,
    ownership::Ownership,
};
use crate::failpoint::{self, Failpoint};

/// Pauses before a transaction that failed by bad luck (a deadlock, a lock timeout) is sent again.
const RETRY_PAUSES: [Duration; 3] = [Duration::from_millis(5), Duration::from_millis(25), Duration::from_millis(125)];

const UNIQUE_VIOLATION: &str = "23505";

/// Writes groups of units, one transaction at a time.
///
/// All writes of a submission must go through one lane, in order.
#[derive(Debug)]
pub(crate) struct Lane {
    connection: Dedicated,
    statements: Statements,
    ownership: Arc<Ownership>,
    /// False while a group's outcome is not known, and for good if that never changes.
    usable: bool,
}

/// Why a unit was not written, while others may have been.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum UnitError {
    /// The idempotency key names a submission already.
    #[error("the idempotency key is taken")]
    DuplicateKey,
    /// An earlier unit of the same submission failed.
    #[error("an earlier write of the same submission failed")]
    Behind,
    /// Postgres refused it.
    #[error("refused: {0}")]
    Refused(String),
}

/// Why nothing more can be said about a group, or written by its lane.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaneError {
    /// Some units of the group, or all, or none were written, and some may still be. Take the shards over, which ends
    /// this lane's backend, and read what is stored.
    #[error("the outcome of a transaction is unknown: {0}")]
    Unknown(String),
    /// Another process owns a shard of the group: nothing was written.
    #[error("fenced off: {0}")]
    Fenced(String),
}

/// Why a whole transaction was rolled back.
struct Refusal {
    error: UnitError,
    /// True if a unit's own content may be the cause, so that the others would pass without it.
    by_content: bool,
}

impl Lane {
    /// Connects, and prepares every statement.
    pub(crate) async fn connect(db: &Database, epochs: Arc<Ownership>) -> Result<Self, StoreError> {
        let what = "open a commit lane";
        let connection = db.dedicated("lane").await.map_err(StoreError::connect(what))?;
        connection.batch_execute(include_str!("sql/session.sql")).await.map_err(StoreError::statement(what))?;
        let statements = Statements::prepare(&connection).await.map_err(StoreError::statement(what))?;
        Ok(Self { connection, statements, ownership: epochs, usable: true })
    }

    /// Writes all units of the group in one transaction. If one is refused, each is written in a transaction of its
    /// own, in order; whatever follows a refused one in its submission is refused too.
    ///
    /// `Ok`: an answer per unit, and units with `Ok` are durable, with what their transaction calls `now()`. After an error the lane cannot be used again; nor
    /// after this future was dropped early, when the outcome is as unknown.
    pub(crate) async fn commit(&mut self, group: &[Unit]) -> Result<Vec<Result<SystemTime, UnitError>>, LaneError> {
        if !self.usable {
            return Err(LaneError::Unknown("the lane's last transaction had no answer".to_owned()));
        }
        if group.is_empty() {
            return Ok(Vec::new());
        }
        self.usable = false;
        let answers = self.commit_group(group).await?;
        self.usable = true;
        Ok(answers)
    }

    async fn commit_group(&self, group: &[Unit]) -> Result<Vec<Result<SystemTime, UnitError>>, LaneError> {
        let units: Vec<&Unit> = group.iter().collect();
        match self.attempt(&units).await? {
            Ok(began) => Ok(group.iter().map(|_| Ok(began)).collect()),
            Err(refusal) if refusal.by_content && group.len() > 1 => self.commit_one_by_one(group).await,
            Err(refusal) => Ok(group.iter().map(|_| Err(refusal.error.clone())).collect()),
        }
    }

    async fn commit_one_by_one(&self, group: &[Unit]) -> Result<Vec<Result<SystemTime, UnitError>>, LaneError> {
        let mut failed: BTreeSet<Uuid> = BTreeSet::new();
        let mut answers = Vec::with_capacity(group.len());
        for unit in group {
            let answer = if failed.contains(&unit.submission) {
                Err(UnitError::Behind)
            } else {
                self.attempt(&[unit]).await?.map_err(|refusal| refusal.error)
            };
            if answer.is_err() {
                failed.insert(unit.submission);
            }
            answers.push(answer);
        }
        Ok(answers)
    }

    /// One transaction, sent again if it failed by bad luck.
    async fn attempt(&self, units: &[&Unit]) -> Result<Result<SystemTime, Refusal>, LaneError> {
        let columns = match Columns::of(units) {
            Ok(columns) => columns,
            Err(unfit) => return Ok(Err(Refusal::from(unfit))),
        };
        let fence = Fence::around(&self.ownership, units.iter().map(|unit| unit.shard));
        let mut pauses = RETRY_PAUSES.iter();
        loop {
            let (mut began, sent_at) = (SystemTime::UNIX_EPOCH, Instant::now());
            let outcome = self.send(&fence, &columns, &mut began).await;
            queue::COMMIT_SECONDS.record_time(sent_at.elapsed(), &[]);
            if !matches!(outcome, Outcome::Committed) {
                queue::COMMIT_FAILURES.add(1, &["transaction"]);
            }
            let error = match outcome {
                Outcome::Committed => {
                    count_committed(&columns, units.len());
                    return Ok(Ok(began));
                }
                Outcome::RolledBack(error) => error,
                Outcome::Unknown(Some(error)) => return Err(LaneError::Unknown(in_full(&error))),
                Outcome::Unknown(None) => return Err(LaneError::Unknown("Postgres did not answer in time".to_owned())),
            };
            if fence::fenced(&error) {
                return Err(LaneError::Fenced(in_full(&error)));
            }
            let refusal = Refusal::from(&error);
            match pauses.next() {
                Some(pause) if !refusal.by_content && matches!(classify(&error), Failure::Transient) => {
                    tokio::time::sleep(*pause).await;
                }
                _ => return Ok(Err(refusal)),
            }
        }
    }

    /// The whole transaction at once, in the order in which a submission's writes may follow one another.
    /// `began` becomes the transaction's time.
    async fn send(&self, fence: &Fence, columns: &Columns<'_>, began: &mut SystemTime) -> Outcome {
        let statements = &self.statements;
        let completed: Option<Parameters<'_>> = (!columns.completed.is_empty()).then(|| vec![&columns.completed as _]);
        let writes = [
            (&statements.create_submissions, columns.created.parameters()),
            (&statements.insert_keys, columns.keys.parameters()),
            (&statements.insert_batches, columns.batches.parameters()),
            (&statements.seal, columns.sealed.parameters()),
            (&statements.insert_results, columns.results.parameters()),
            (&statements.complete, completed),
            (&statements.cancel, columns.cancelled.parameters()),
            (&statements.control, columns.controls.parameters()),
        ];
        let mut sent = vec![
            fence::begin(&self.connection),
            self.prepared(&statements.lock_shards, vec![&LOCK_CLASS, &fence.shards]),
            self.checked(&statements.check_epochs, fence, began),
        ];
        for (statement, parameters) in writes {
            if let Some(parameters) = parameters {
                sent.push(self.prepared(statement, parameters));
            }
        }
        if failpoint::strikes(Failpoint::BeforeCommit) {
            let outcome = fence::transact(sent).await;
            tracing::warn!(?outcome, "dying before COMMIT");
            std::process::abort();
        }
        sent.push(fence::commit(&self.connection));
        let outcome = fence::transact(sent).await;
        if failpoint::strikes(Failpoint::AfterCommit) {
            std::process::abort();
        }
        if failpoint::strikes(Failpoint::ReplyLost) {
            return Outcome::Unknown(None);
        }
        outcome
    }

    fn checked<'a>(&'a self, check_epochs: &'a Statement, fence: &'a Fence, began: &'a mut SystemTime) -> Sent<'a> {
        Box::pin(async move {
            let row = self.connection.query_one(check_epochs, &[&fence.shards, &fence.epochs]).await?;
            *began = row.try_get(1)?;
            Ok(1)
        })
    }

    fn prepared<'a>(&'a self, statement: &'a Statement, parameters: Parameters<'a>) -> Sent<'a> {
        Box::pin(async move { self.connection.execute(statement, &parameters).await })
    }
}

impl From<Unfit> for Refusal {
    fn from(unfit: Unfit) -> Self {
        Self { error: UnitError::Refused(unfit.to_string()), by_content: true }
    }
}

impl From<&postgres::Error> for Refusal {
    fn from(error: &postgres::Error) -> Self {
        let code = error.code().map_or("", |code| code.code());
        let table = error.as_db_error().and_then(|error| error.table());
        if code == UNIQUE_VIOLATION && table == Some("idempotency_keys") {
            return Self { error: UnitError::DuplicateKey, by_content: true };
        }
        // Classes of SQLSTATE that tell of the server and not of the data: transaction rollback, insufficient
        // resources, object not in prerequisite state, operator intervention, system error.
        let by_server = ["40", "53", "55", "57", "58"].iter().any(|class| code.starts_with(class));
        Self { error: UnitError::Refused(in_full(error)), by_content: !by_server }
    }
}

#[allow(clippy::cast_precision_loss)] // far below
fn count_committed(columns: &Columns<'_>, units: usize) {
    queue::COMMIT_BYTES.record(columns.payload_bytes() as f64, &[]);
    queue::COMMIT_UNITS.record(units as f64, &[]);
}

/// An error with its causes, in one line.
fn in_full(error: &postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

/// Every statement of a lane, prepared.
#[derive(Debug)]
struct Statements {
    lock_shards: Statement,
    check_epochs: Statement,
    create_submissions: Statement,
    insert_keys: Statement,
    insert_batches: Statement,
    insert_results: Statement,
    seal: Statement,
    complete: Statement,
    cancel: Statement,
    control: Statement,
}

impl Statements {
    async fn prepare(connection: &Dedicated) -> Result<Self, postgres::Error> {
        Ok(Self {
            lock_shards: connection.prepare(fence::LOCK_SHARDS).await?,
            check_epochs: connection.prepare(fence::CHECK_EPOCHS).await?,
            create_submissions: connection.prepare(include_str!("sql/create_submissions.sql")).await?,
            insert_keys: connection.prepare(include_str!("sql/insert_keys.sql")).await?,
            insert_batches: connection.prepare(include_str!("sql/insert_batches.sql")).await?,
            insert_results: connection.prepare(include_str!("sql/insert_results.sql")).await?,
            seal: connection.prepare(include_str!("sql/seal.sql")).await?,
            complete: connection.prepare(include_str!("sql/complete.sql")).await?,
            cancel: connection.prepare(include_str!("sql/cancel.sql")).await?,
            control: connection.prepare(include_str!("sql/control.sql")).await?,
        })
    }
}
