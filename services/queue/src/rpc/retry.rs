//! A new submission from the dead letters of a completed one. The old one never changes.

use hashmesh::{
    queue::v1::{OpenSubmission, RetryTasksRequest, RetryTasksResponse},
    tasks::{self, Joined},
    v1::{PackedNames, PackedTasks, SubmissionOptions, SubmissionState},
};
use hashmesh_runtime::trace;
use uuid::Uuid;

use super::{
    Shared, convert,
    resolve::{Found, final_state},
};
use crate::{error::QueueError, store};

/// Rows of results looked at in one read.
const ROWS: u32 = 1_000;

impl Shared {
    pub(super) async fn retry_tasks(&self, request: RetryTasksRequest) -> Result<RetryTasksResponse, QueueError> {
        // Whoever owns it: once it has ended, the tables say everything.
        let id = convert::submission_id(&request.submission_id)?;
        let submission = self.stored(&request.tenant, id).await?;
        if !final_state(&submission) {
            return Err(QueueError::NotCompleted);
        }
        if submission.state() == SubmissionState::Cancelled {
            return Err(QueueError::Cancelled);
        }
        if submission.failed_tasks == 0 {
            return Err(QueueError::NothingToRetry);
        }
        // Times that were meant for the first try say nothing about the second.
        let options = submission.options.clone().map(|options| SubmissionOptions {
            not_before: None,
            deadline: None,
            // Its tasks are those that failed, and no others.
            expansion: None,
            ..options
        });
        let open = OpenSubmission {
            tenant: request.tenant,
            options,
            idempotency_key: request.idempotency_key,
            ..OpenSubmission::default()
        };
        let (found, _) = self.open(&open, Some(id), None).await?;
        // A rerun with the same key cuts the same batches, so that what is stored already is only repeated.
        let batch_count = self.copy_dead_letters(id, &found).await?;
        self.seal(&found, batch_count).await?;
        Ok(RetryTasksResponse { submission: Some(self.submission(found.id()).await?) })
    }

    /// Appends every dead letter of `from`, in the order of positions. Returns the number of batches.
    async fn copy_dead_letters(&self, from: Uuid, to: &Found) -> Result<u32, QueueError> {
        let database = &self.config.database;
        let mut sequence = 0;
        let mut joined = Joined::default();
        let mut position = 0;
        // Neighbouring dead letters often share a batch.
        let mut last_batch: Option<(u32, PackedTasks)> = None;
        loop {
            let letters = store::dead_letters(database, from, position, ROWS).await?;
            let Some(last) = letters.last() else { break };
            position = last.through_position();
            for run in letters {
                if last_batch.as_ref().is_none_or(|(sequence, _)| *sequence != run.sequence) {
                    let batch = store::named_batch(database, from, run.sequence).await?.ok_or(QueueError::Internal)?;
                    last_batch = Some((run.sequence, batch));
                }
                let Some((_, batch)) = &last_batch else { return Err(QueueError::Internal) };
                let part =
                    batch.slice(run.first_task as usize, run.task_count as usize).map_err(|_| QueueError::Internal)?;
                let mut names = part.names.iter().flat_map(PackedNames::iter);
                for task in part.views().map_err(|_| QueueError::Internal)? {
                    let name = names.next().unwrap_or_default();
                    if !joined.fits(&task, &name) {
                        self.append_joined(to, sequence, std::mem::take(&mut joined)).await?;
                        sequence += 1;
                    }
                    joined.push(&task, &name);
                }
            }
        }
        if !joined.is_empty() {
            self.append_joined(to, sequence, joined).await?;
            sequence += 1;
        }
        Ok(sequence)
    }

    async fn append_joined(&self, to: &Found, sequence: u32, joined: Joined) -> Result<(), QueueError> {
        let batch = tasks::validated(sequence, joined.into_tasks()).map_err(|_| QueueError::Internal)?;
        self.store_batch(to, convert::batch(batch, trace::current())?).await.map(drop)
    }
}
