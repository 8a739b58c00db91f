//! Single batches: appended to a submission, or a whole submission at once.

use hashmesh::{
    queue::v1::{AppendBatchRequest, AppendBatchResponse, SubmitBatchRequest, SubmitBatchResponse},
    v1::SubmissionState,
};

use super::{Shared, convert, resolve::Found};
use crate::{
    core::AlgorithmSet,
    engine::{IncomingBatch, SubmissionHandle, Taken},
    error::QueueError,
    store,
};

impl Shared {
    pub(super) async fn append_batch(&self, request: AppendBatchRequest) -> Result<AppendBatchResponse, QueueError> {
        let found = self.resolve(&request.tenant, &request.submission_id).await?;
        let batch = convert::batch(request.batch.unwrap_or_default())?;
        let through_sequence = self.store_batch(&found, batch).await?;
        Ok(AppendBatchResponse { through_sequence })
    }

    pub(super) async fn submit_batch(&self, request: SubmitBatchRequest) -> Result<SubmitBatchResponse, QueueError> {
        let open = request.open.unwrap_or_default();
        let batch = convert::batch(request.batch.unwrap_or_default())?;
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
        let submission = Some(self.submission(found.id()).await?);
        Ok(SubmitBatchResponse { submission })
    }

    /// Stores a batch and waits until it is committed. Answers with the highest stored sequence number.
    pub(super) async fn store_batch(&self, found: &Found, batch: IncomingBatch) -> Result<u32, QueueError> {
        let sequence = batch.meta.sequence;
        match found {
            Found::Live(handle) => {
                let fingerprint = batch.meta.fingerprint;
                if self.engine().await?.append(handle.id, batch).await? == Taken::Compare {
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
            Found::Live(handle) => self.engine().await?.seal(handle.id, batch_count).await,
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
