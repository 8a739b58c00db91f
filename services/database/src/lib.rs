//! The one door to Postgres: a pool, connections of their own, replicas, migrations.
//!
//! No other crate names a Postgres library: what they need of `tokio-postgres` is re-exported as [`postgres`].
//!
//! Two facts about it that callers must know:
//! - `Transaction::commit` returns `Ok` when the server answered ROLLBACK, because a statement of the transaction had
//!   failed and its error was dropped. So look at every statement's result, or check what was written.
//! - Dropping the future of a statement does not cancel it. [`Pooled`] connections are checked before their next use;
//!   a [`Dedicated`] one belongs to its owner, who cancels ([`Dedicated::cancel`]) or drops it.

mod config;
mod connection;
mod database;
mod error;
mod failure;
mod migrations;
mod pool;
mod replica;
mod requirements;
mod tls;
mod url;
mod watch;

pub use self::{
    config::DatabaseConfig,
    connection::Dedicated,
    database::Database,
    error::DatabaseError,
    failure::{Failure, classify},
    migrations::{Examination, MigrationReport, examine, migrate, migrate_to},
    pool::{PoolStats, Pooled},
    replica::Replica,
};

/// What others need of the Postgres driver.
pub mod postgres {
    pub use tokio_postgres::{
        CancelToken, Client, Column, CopyInSink, CopyOutStream, Error, GenericClient, IsolationLevel, Portal, Row,
        RowStream, SimpleQueryMessage, SimpleQueryRow, Statement, ToStatement, Transaction, TransactionBuilder,
        binary_copy, error, fallible_iterator, row, types,
    };
}
