//! What the primary is asked for replicas: who it is, and how far its WAL is flushed.

use std::{future::Future, time::Duration};

use hashmesh_database::{
    Database, Dedicated,
    postgres::{Row, types::PgLsn},
};
use hashmesh_runtime::telemetry::Repeated;
use tokio::sync::{mpsc, oneshot, watch};

use super::monitor::Pause;
use crate::store::StoreError;

/// Reads that may wait for an answer; more are answered by the primary.
const WAITING: usize = 4_096;
/// Without an answer for this long the connection counts as lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
const WHAT: &str = "ask the primary how far its WAL is flushed";

/// A cluster on a timeline, of which LSNs can be compared; and the tables that are read, by their database and schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) system: i64,
    pub(super) timeline: i32,
    pub(super) database: u32,
    pub(super) schema: Option<u32>,
}

/// How far the WAL of a cluster was flushed.
pub(super) type Flushed = (Identity, PgLsn);

impl Identity {
    /// From a row of those columns.
    pub(super) fn read(row: &Row) -> Result<Self, hashmesh_database::postgres::Error> {
        Ok(Self {
            system: row.try_get("system_identifier")?,
            timeline: row.try_get::<_, Option<i32>>("timeline")?.unwrap_or_default(),
            database: row.try_get("database")?,
            schema: row.try_get("schema")?,
        })
    }
}

/// Asks the primary. Clones share its connection.
#[derive(Clone, Debug)]
pub(super) struct Primary {
    questions: mpsc::Sender<oneshot::Sender<Flushed>>,
    identity: watch::Receiver<Option<Identity>>,
}

impl Primary {
    /// The handle, and the task that must run for it.
    pub(super) fn new(database: Database) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (questions, asked) = mpsc::channel(WAITING);
        let (identity, found) = watch::channel(None);
        (Self { questions, identity: found }, run(database, asked, identity))
    }

    /// How far the WAL was flushed at some moment after this call. `None`: the primary cannot be asked now.
    pub(super) async fn flushed(&self) -> Option<Flushed> {
        let (answer, flushed) = oneshot::channel();
        self.questions.try_send(answer).ok()?;
        flushed.await.ok()
    }

    /// Who the primary is; `None` while there is no connection to it.
    pub(super) fn identity(&self) -> Option<Identity> {
        *self.identity.borrow()
    }
}

type Questions = mpsc::Receiver<oneshot::Sender<Flushed>>;

async fn run(database: Database, mut questions: Questions, identity: watch::Sender<Option<Identity>>) {
    let mut pause = Pause::default();
    let again = Repeated::new();
    while !questions.is_closed() {
        if let Err(error) = answer(&database, &mut questions, &identity, &mut pause).await
            && let Some(left_out) = again.failed()
        {
            let error = &error as &dyn std::error::Error;
            let message = "the primary cannot be asked how far it is, so that replicas are not read from; trying again";
            tracing::warn!(error, left_out, "{message}");
        }
        identity.send_replace(None);
        refuse(&mut questions, pause.wait()).await;
    }
}

/// Answers until the connection fails, or nobody can ask any more.
async fn answer(
    database: &Database,
    questions: &mut Questions,
    identity: &watch::Sender<Option<Identity>>,
    pause: &mut Pause,
) -> Result<(), StoreError> {
    let (connection, found) = refuse(questions, connect(database)).await?;
    identity.send_replace(Some(found));
    pause.reset();
    loop {
        // Only those that are here before the question is sent may have its answer.
        let mut waiting = Vec::new();
        tokio::select! {
            count = questions.recv_many(&mut waiting, WAITING) => if count == 0 { return Ok(()) },
            () = connection.closed() => return Err(StoreError::Unknown { what: WHAT }),
        }
        let sql = include_str!("../sql/flushed.sql");
        let row = tokio::time::timeout(ANSWER_TIMEOUT, connection.query_typed_opt(sql, &[])).await;
        let row = row.map_err(|_| StoreError::Unknown { what: WHAT })?.map_err(StoreError::statement(WHAT))?;
        let row = row.ok_or(StoreError::Unknown { what: WHAT })?;
        let flushed: PgLsn = row.try_get(0).map_err(StoreError::statement(WHAT))?;
        for answer in waiting {
            // Who has given up needs none.
            let _ = answer.send((found, flushed));
        }
    }
}

async fn connect(database: &Database) -> Result<(Dedicated, Identity), StoreError> {
    let what = "ask the primary which cluster it is";
    let connection = database.dedicated("replica reads").await.map_err(StoreError::connect(what))?;
    let sql = include_str!("../sql/primary_identity.sql");
    let row = connection.query_one(sql, &[]).await.map_err(StoreError::statement(what))?;
    let found = Identity::read(&row).map_err(StoreError::statement(what))?;
    Ok((connection, found))
}

/// Refuses every question until the future is ready: nobody is to wait for a connection.
async fn refuse<F: Future>(questions: &mut Questions, until: F) -> F::Output {
    let mut until = std::pin::pin!(until);
    loop {
        tokio::select! {
            output = &mut until => return output,
            Some(question) = questions.recv() => drop(question),
        }
    }
}
