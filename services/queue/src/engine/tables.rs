//! What the engine reads of the tables, aside: a question returns at once, and its answer comes back as a command.

use std::{fmt::Debug, time::Duration};

use hashmesh_database::Database;
use hashmesh_runtime::telemetry::{self, Repeated};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{Command, payload::Payload};
use crate::store::{self, model::WantedBatches};

/// Whoever answers the engine's questions: Postgres, or the tables of a simulation.
pub(crate) trait Tables: Debug + Send {
    /// Answered by [`Command::Loaded`].
    fn load_batches(&self, wanted: Vec<WantedBatches>);
    /// Answered by [`Command::PayloadsRead`].
    fn read_payloads(&self, submission: Uuid, sequences: Vec<u32>);
    /// Answered by [`Command::Reread`].
    fn read_again(&self, submission: Uuid);
}

/// Pause after a read that failed; doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

static BATCHES_UNREAD: Repeated = Repeated::new();
static PAYLOADS_UNREAD: Repeated = Repeated::new();
static SUBMISSION_UNREAD: Repeated = Repeated::new();

/// Postgres, read by tasks of their own.
#[derive(Debug)]
pub(super) struct PostgresTables {
    pub(super) database: Database,
    pub(super) commands: mpsc::Sender<Command>,
}

impl Tables for PostgresTables {
    fn load_batches(&self, wanted: Vec<WantedBatches>) {
        let (database, commands) = (self.database.clone(), self.commands.clone());
        tokio::spawn(async move {
            let mut pause = PAUSE;
            loop {
                match store::load_batches(&database, &wanted).await {
                    Ok(loaded) => {
                        let ids = wanted.iter().map(|wanted| wanted.submission);
                        let batches = ids.zip(loaded).collect();
                        // If the engine is gone, nobody waits for them.
                        let _ = commands.send(Command::Loaded { batches }).await;
                        return;
                    }
                    Err(error) => {
                        if let Some(left_out) = BATCHES_UNREAD.failed() {
                            let error = &error as &dyn std::error::Error;
                            tracing::warn!(error, left_out, "stored batches cannot be read; trying again");
                        }
                        tokio::select! {
                            () = commands.closed() => return,
                            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                        }
                    }
                }
            }
        });
    }

    fn read_payloads(&self, submission: Uuid, sequences: Vec<u32>) {
        let (database, commands) = (self.database.clone(), self.commands.clone());
        tokio::spawn(async move {
            let found = match store::batch_payloads(&database, submission, &sequences).await {
                Ok(found) => found,
                Err(error) => {
                    if let Some(left_out) = PAYLOADS_UNREAD.failed() {
                        let error = telemetry::chain(&error);
                        tracing::warn!(error, left_out, "batches could not be read; their leases are given back");
                    }
                    Vec::new()
                }
            };
            let found = found.into_iter().map(|(sequence, tasks, names)| (sequence, Payload::new(tasks, names)));
            let payloads = found.collect();
            // If the engine is gone, nobody waits for the payload.
            let _ = commands.send(Command::PayloadsRead { submission, sequences, payloads }).await;
        });
    }

    fn read_again(&self, submission: Uuid) {
        let (database, commands) = (self.database.clone(), self.commands.clone());
        tokio::spawn(async move {
            let mut pause = PAUSE;
            loop {
                match store::load_one(&database, submission).await {
                    Ok(found) => {
                        let _ = commands.send(Command::Reread { submission, recovered: found.map(Box::new) }).await;
                        return;
                    }
                    Err(error) => {
                        if let Some(left_out) = SUBMISSION_UNREAD.failed() {
                            let error = &error as &dyn std::error::Error;
                            tracing::warn!(error, left_out, "a submission cannot be read; trying again");
                        }
                        tokio::select! {
                            () = commands.closed() => return,
                            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                        }
                    }
                }
            }
        });
    }
}
