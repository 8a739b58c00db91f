//! The fence: how a write by an old owner is made to fail, inserts included.
//!
//! A transaction first takes its shards' advisory locks, shared, in a statement of its own, and then checks their epochs
//! in the next. A takeover takes the same lock exclusively before it raises the epoch. So either the takeover waits for
//! the transaction, or the check sees the new epoch; a check in the same statement as the lock would have a snapshot
//! from before the wait.
//!
//! All statements of a transaction are sent at once. That saves round trips, and a caller that stops waiting cannot
//! leave a transaction open.

use std::{future::poll_fn, task::Poll, time::Duration};

use futures::future::BoxFuture;
use hashmesh_database::{
    Failure, classify,
    postgres::{
        self, Client,
        types::{ToSql, Type},
    },
};

use super::{StoreError, ownership::Ownership};
use crate::shard::Shard;

/// The first key of every shard's advisory lock ("hmsh"); the second is the shard's number.
pub(super) const LOCK_CLASS: i32 = 0x686d_7368;

/// How long an answer may take before the outcome counts as unknown. Above the statement timeout of every session.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) const LOCK_SHARDS: &str = include_str!("sql/lock_shards.sql");
pub(super) const CHECK_EPOCHS: &str = include_str!("sql/check_epochs.sql");

/// SQLSTATE of `check_epochs`.
const FENCED: &str = "HM001";

/// A statement on its way, and the number of rows it answers with. Sent when first polled.
pub(super) type Sent<'a> = BoxFuture<'a, Result<u64, postgres::Error>>;

/// The shards of a transaction with the epochs under which they are written.
#[derive(Debug)]
pub(super) struct Fence {
    /// Ascending, each once.
    pub(super) shards: Vec<i16>,
    pub(super) epochs: Vec<i64>,
}

impl Fence {
    /// The fence around these shards.
    pub(super) fn around(ownership: &Ownership, shards: impl Iterator<Item = Shard>) -> Self {
        let mut shards: Vec<Shard> = shards.collect();
        shards.sort_unstable();
        shards.dedup();
        Self {
            epochs: shards.iter().map(|shard| ownership.epoch(*shard)).collect(),
            shards: shards.iter().map(|shard| i16::from(shard.number())).collect(),
        }
    }
}

/// BEGIN. The isolation is named because the fence relies on it: each statement has its own snapshot.
pub(super) fn begin(client: &Client) -> Sent<'_> {
    plain(client, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
}

/// COMMIT.
pub(super) fn commit(client: &Client) -> Sent<'_> {
    plain(client, "COMMIT")
}

fn plain<'a>(client: &'a Client, command: &'static str) -> Sent<'a> {
    Box::pin(async move { client.batch_execute(command).await.map(|()| 0) })
}

/// What became of a transaction.
#[derive(Debug)]
pub(super) enum Outcome {
    Committed,
    /// The server answered every statement, and this one with an error: nothing was written.
    RolledBack(postgres::Error),
    /// Nobody knows. The connection must not be used again.
    Unknown(Option<postgres::Error>),
}

/// Sends the statements of one transaction, BEGIN and COMMIT included, and waits for all answers.
///
/// `COMMIT` reports success even where it rolled back. It rolls back only after an earlier statement failed, so the
/// transaction is committed if and only if no statement failed.
pub(super) async fn transact(statements: Vec<Sent<'_>>) -> Outcome {
    let Ok(answers) = tokio::time::timeout(ANSWER_TIMEOUT, in_order(statements)).await else {
        return Outcome::Unknown(None);
    };
    let mut refused = None;
    for error in answers.into_iter().filter_map(Result::err) {
        if classify(&error) == Failure::Unknown {
            return Outcome::Unknown(Some(error));
        }
        refused.get_or_insert(error);
    }
    refused.map_or(Outcome::Committed, Outcome::RolledBack)
}

/// True if `check_epochs` refused the transaction.
pub(super) fn fenced(error: &postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code() == FENCED)
}

/// Sends all before it waits for any. Stops sending at the first that cannot be sent, so that no COMMIT follows it.
async fn in_order(mut statements: Vec<Sent<'_>>) -> Vec<Result<u64, postgres::Error>> {
    let mut answers: Vec<Option<Result<u64, postgres::Error>>> = statements.iter().map(|_| None).collect();
    let mut sent = 0;
    poll_fn(|context| {
        for (index, (statement, answer)) in statements.iter_mut().zip(&mut answers).enumerate() {
            if answer.is_some() {
                continue;
            }
            if let Poll::Ready(done) = statement.as_mut().poll(context) {
                let unsent = index >= sent && done.as_ref().is_err_and(|error| classify(error) == Failure::Unknown);
                *answer = Some(done);
                if unsent {
                    return Poll::Ready(());
                }
            }
            sent = sent.max(index + 1);
        }
        if answers.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    answers.into_iter().flatten().collect()
}

/// A statement that is parsed each time, for connections without prepared ones.
pub(super) fn typed<'a>(
    client: &'a Client,
    sql: &'static str,
    parameters: Vec<(&'a (dyn ToSql + Sync), Type)>,
) -> Sent<'a> {
    Box::pin(async move { client.execute_typed(sql, &parameters).await })
}

/// Writes in a transaction of its own, from a connection without prepared statements.
pub(super) async fn write(
    client: &Client,
    what: &'static str,
    fence: &Fence,
    writes: Vec<Sent<'_>>,
) -> Result<(), StoreError> {
    let mut statements = vec![
        begin(client),
        typed(client, LOCK_SHARDS, vec![(&LOCK_CLASS, Type::INT4), (&fence.shards, Type::INT2_ARRAY)]),
        typed(client, CHECK_EPOCHS, vec![(&fence.shards, Type::INT2_ARRAY), (&fence.epochs, Type::INT8_ARRAY)]),
    ];
    statements.extend(writes);
    statements.push(commit(client));
    match transact(statements).await {
        Outcome::Committed => Ok(()),
        Outcome::RolledBack(error) if fenced(&error) => Err(StoreError::Fenced { what }),
        Outcome::RolledBack(source) => Err(StoreError::Statement { what, source }),
        Outcome::Unknown(_) => Err(StoreError::Unknown { what }),
    }
}
