//! Single batches: appended to a submission, or a whole submission at once.

use std::time::Duration;

use hashmesh::{
    limits,
    queue::v1::{AppendBatchRequest, AppendBatchResponse, SubmitBatchRequest, SubmitBatchResponse},
    v1::{Results, Submission, SubmissionOptions, SubmissionState},
};
use hashmesh_runtime::trace;

use super::{Shared, convert, resolve::Found, results::add};
use crate::{
    core::AlgorithmSet,
    engine::{IncomingBatch, SubmissionHandle, Taken},
    error::QueueError,
    store,
};

/// How long `SubmitBatch` waits for outcomes. Longer makes nothing faster: following costs a call more, once.
const WAIT: Duration = Duration::from_millis(250);

/// A new submission with all its outcomes, if it completes soon and they are still in memory. Nothing is read for it: what
/// is known of it here is what its transactions wrote.
async fn completed_soon(found: &Found, options: &Option<SubmissionOptions>) -> Option<SubmitBatchResponse> {
    let Found::Live(handle) = found else { return None };
    let ended = tokio::time::timeout(WAIT, handle.wait(|tail| tail.ended)).await;
    // Whatever else became of it, the submission is stored: who follows it will learn more.
    let tail = ended.ok()?.ok()?;
    // Else it was cancelled.
    let completed = tail.sealed && tail.position == tail.accepted;
    let rows = handle.recent_after(0, limits::MAX_RESULTS_FRAME_BYTES)?;
    let all = rows.last().is_some_and(|last| last.outcomes.through_position() == tail.position);
    let submission = Submission {
        submission_id: handle.id.to_string(),
        state: SubmissionState::Completed.into(),
        options: options.clone(),
        next_sequence: tail.stored,
        accepted_tasks: tail.accepted,
        recorded_tasks: tail.position,
        succeeded_tasks: tail.totals.succeeded,
        mismatched_tasks: tail.totals.mismatched,
        failed_tasks: tail.totals.failed,
        hashed_bytes: tail.totals.hashed_bytes,
        create_time: Some(tail.created_at?.into()),
        end_time: Some(tail.ended_at?.into()),
        ..Submission::default()
    };
    let mut results = Results { through_position: tail.position, ..Results::default() };
    rows.into_iter().for_each(|row| add(&mut results, row));
    (completed && all).then(|| SubmitBatchResponse { submission: Some(submission), results: Some(results) })
}

impl Shared {
    pub(super) async fn append_batch(&self, request: AppendBatchRequest) -> Result<AppendBatchResponse, QueueError> {
        let found = self.resolve(&request.tenant, &request.submission_id).await?;
        let batch = convert::batch(request.batch.unwrap_or_default(), trace::current())?;
        let through_sequence = self.store_batch(&found, batch).await?;
        Ok(AppendBatchResponse { through_sequence })
    }

    pub(super) async fn submit_batch(&self, request: SubmitBatchRequest) -> Result<SubmitBatchResponse, QueueError> {
        let open = request.open.unwrap_or_default();
        let batch = convert::batch(request.batch.unwrap_or_default(), trace::current())?;
        let computed =
            convert::algorithms(&open.options.as_ref().map(|options| options.algorithms.clone()).unwrap_or_default())?;
        if !AlgorithmSet::of(&computed).covers(batch.meta.expected) {
            return Err(QueueError::append(crate::core::AppendRefusal::UnexpectedAlgorithm, 0));
        }
        let (found, created) = self.open(&open, None, Some(batch.again())).await?;
        if !created {
            // A rerun: the same batch changes nothing, another is a conflict; an interrupted one is finished.
            self.store_batch(&found, batch).await?;
            self.seal(&found, 1).await?;
        }
        if created
            && request.wait
            && let Some(answer) = completed_soon(&found, &open.options).await
        {
            return Ok(answer);
        }
        let submission = Some(self.submission(found.id()).await?);
        Ok(SubmitBatchResponse { submission, results: None })
    }

    /// Stores a batch and waits until it is committed. Answers with the highest stored sequence number.
    pub(super) async fn store_batch(&self, found: &Found, batch: IncomingBatch) -> Result<u32, QueueError> {
        let sequence = batch.meta.sequence;
        match found {
            Found::Live(handle) => {
                let fingerprint = batch.meta.fingerprint;
                if self.engine_for(handle.id)?.append(handle.id, batch).await? == Taken::Compare {
                    self.compare(handle, sequence, &fingerprint).await?;
                }
                let tail = handle.wait(|tail| tail.stored > sequence).await?;
                Ok(tail.stored - 1)
            }
            Found::Finished(id, submission) => {
                let stored = store::batch_fingerprint(&self.config.database, *id, sequence).await?;
                match stored {
                    Some(fingerprint) if fingerprint == batch.meta.fingerprint => Ok(submission.next_sequence - 1),
                    Some(_) => Err(QueueError::Conflict(sequence)),
                    None if submission.state() == SubmissionState::Cancelled => Err(QueueError::Cancelled),
                    None => Err(QueueError::Sealed),
                }
            }
        }
    }

    /// Compares a batch that was sent again with what is stored under its number, once it is stored.
    pub(super) async fn compare(
        &self,
        handle: &SubmissionHandle,
        sequence: u32,
        fingerprint: &[u8; 32],
    ) -> Result<(), QueueError> {
        handle.wait(|tail| tail.stored > sequence).await?;
        match store::batch_fingerprint(&self.config.database, handle.id, sequence).await? {
            Some(stored) if stored == *fingerprint => Ok(()),
            Some(_) => Err(QueueError::Conflict(sequence)),
            None => Err(QueueError::Recovering),
        }
    }

    /// Seals a submission and waits until that is committed.
    pub(super) async fn seal(&self, found: &Found, batch_count: u32) -> Result<(), QueueError> {
        match found {
            Found::Live(handle) => self.engine_for(handle.id)?.seal(handle.id, batch_count).await,
            Found::Finished(_, submission) if submission.state() == SubmissionState::Cancelled => {
                Err(QueueError::Cancelled)
            }
            Found::Finished(_, submission) if submission.next_sequence == batch_count => Ok(()),
            Found::Finished(_, submission) => {
                Err(QueueError::SealCount { stored: submission.next_sequence, wanted: batch_count })
            }
        }
    }
}
