//! What the queue refuses and why: the one table from causes to gRPC codes and reasons.

use std::time::Duration;

use hashmesh::{
    error::{Reason, StatusBuilder},
    limits::MAX_SCHEDULES,
};
use hashmesh_runtime::telemetry::{self, Repeated};
use tonic::Status;

use crate::core::{AppendRefusal, CancelRefusal, SealRefusal};

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QueueError {
    #[error("no such submission; check its id")]
    NotFound,
    #[error("the submission was deleted: its retention has passed")]
    Expired,
    #[error("batch {got} does not follow: send batch {expected} next")]
    Gap { expected: u32, got: u32 },
    #[error("batch {0} is stored with other tasks; a repeat must have the same")]
    Conflict(u32),
    #[error("the idempotency key belongs to a submission with other options")]
    IdempotencyConflict,
    #[error("another stream writes to this submission now")]
    WriterReplaced,
    #[error("the submission is sealed; no batch can follow")]
    Sealed,
    #[error("the submission takes its tasks from its expansion alone; open another for other tasks")]
    Expands,
    #[error("the submission is cancelled")]
    Cancelled,
    #[error("the submission is completed")]
    Completed,
    #[error("the submission is not completed yet; wait for its end")]
    NotCompleted,
    #[error("the submission has no failed task")]
    NothingToRetry,
    #[error("no such schedule; `hashmesh schedule list` shows all")]
    ScheduleNotFound,
    #[error("a schedule of this name is there, and is not the same; delete it first, or take another name")]
    ScheduleExists,
    #[error("the tenant has {MAX_SCHEDULES} schedules, the most that it may have; delete one")]
    TooManySchedules,
    #[error("{stored} batches are stored, the seal says {wanted}")]
    SealCount { stored: u32, wanted: u32 },
    #[error("no such key; `hashmesh admin keys list` shows all")]
    KeyNotFound,
    #[error("the key is revoked, which cannot be undone; create another")]
    KeyRevoked,
    #[error("no such upload; check its id, and whether its time has passed")]
    UploadNotFound,
    #[error("{stored} bytes of the upload are stored; go on from there")]
    UploadOffset { stored: u64 },
    #[error("another stream writes to this upload now")]
    UploadWriterReplaced,
    #[error("the upload was sent by {most} connections that all stored something; begin anew, over a better one")]
    UploadPieces { most: u32 },
    #[error("the tenant has as many open uploads as it may; finish or delete some")]
    TooManyUploads,
    #[error("no worker of this name is connected; `hashmesh admin workers list` shows who is")]
    WorkerNotFound,
    #[error("{field}: {description}")]
    Invalid { field: &'static str, description: String },
    #[error("the tenant may bring {limit} {what} a day (UTC) and has {left} left; send less, wait, or ask for more")]
    Quota { what: &'static str, limit: u64, left: u64, resets_in: Duration },
    #[error("{0}")]
    Protocol(&'static str),
    #[error("this process does not own the queue; ask the owner")]
    NotOwner { owner: Option<String> },
    #[error("the queue is rebuilding its state; try again")]
    Recovering,
    #[error("the queue is stopping; try again")]
    Draining,
    #[error("the database cannot be reached; try again")]
    Database,
    /// A concurrent call used the same key; looking it up again finds it.
    #[error("the idempotency key has just been used; try again")]
    DuplicateKey,
    #[error("the queue failed; its log says why")]
    Internal,
}

/// How long a caller should wait before the next try where waiting helps.
const RETRY_DELAY: Duration = Duration::from_millis(250);

impl QueueError {
    fn reason(&self) -> Reason {
        match self {
            Self::NotFound | Self::Expired => Reason::SubmissionNotFound,
            Self::Gap { .. } => Reason::SequenceGap,
            Self::Conflict(_) => Reason::SequenceConflict,
            Self::IdempotencyConflict => Reason::IdempotencyConflict,
            Self::WriterReplaced | Self::UploadWriterReplaced => Reason::WriterReplaced,
            Self::UploadNotFound => Reason::UploadNotFound,
            Self::UploadOffset { .. } => Reason::UploadOffset,
            Self::UploadPieces { .. } => Reason::UploadTooLarge,
            Self::TooManyUploads => Reason::TooManyUploads,
            Self::Sealed => Reason::SubmissionSealed,
            Self::Expands => Reason::SubmissionExpands,
            Self::Cancelled => Reason::SubmissionCancelled,
            Self::Completed => Reason::SubmissionCompleted,
            Self::NotCompleted => Reason::SubmissionNotCompleted,
            Self::NothingToRetry => Reason::NothingToRetry,
            Self::ScheduleNotFound => Reason::ScheduleNotFound,
            Self::ScheduleExists => Reason::ScheduleExists,
            Self::TooManySchedules => Reason::TooManySchedules,
            Self::SealCount { .. } => Reason::SealCountMismatch,
            Self::KeyNotFound => Reason::KeyNotFound,
            Self::WorkerNotFound => Reason::WorkerNotFound,
            Self::KeyRevoked => Reason::KeyRevoked,
            Self::Invalid { .. } => Reason::InvalidArgument,
            Self::Quota { .. } => Reason::QuotaExceeded,
            Self::Protocol(_) => Reason::ProtocolViolation,
            Self::NotOwner { .. } => Reason::NotOwner,
            Self::Recovering | Self::DuplicateKey => Reason::Recovering,
            Self::Draining => Reason::Draining,
            Self::Database => Reason::UpstreamUnavailable,
            Self::Internal => Reason::Internal,
        }
    }
}

impl From<QueueError> for Status {
    fn from(error: QueueError) -> Self {
        let reason = error.reason();
        let mut status = StatusBuilder::new(reason, error.to_string());
        if reason.code() == tonic::Code::Unavailable {
            status = status.retry_after(RETRY_DELAY);
        }
        match error {
            QueueError::Gap { expected, .. } => status = status.metadata("expected_sequence", expected),
            QueueError::UploadOffset { stored } => status = status.metadata("stored_bytes", stored),
            QueueError::SealCount { stored, .. } => status = status.metadata("stored_batches", stored),
            QueueError::NotOwner { owner: Some(owner) } => status = status.metadata("owner", owner),
            QueueError::Quota { what, limit, left, resets_in } => {
                status = status.metadata("limited", what).metadata("limit", limit).metadata("left", left);
                status = status.retry_after(resets_in);
            }
            QueueError::Invalid { field, description } => status = status.violation(field, description),
            _ => {}
        }
        status.build()
    }
}

impl QueueError {
    /// A field of a request that cannot be; `description` goes on where the field's name ends, as "must …".
    pub(crate) fn invalid(field: &'static str, description: impl Into<String>) -> Self {
        Self::Invalid { field, description: description.into() }
    }

    /// The error for a refused batch.
    pub(crate) fn append(refusal: AppendRefusal, sequence: u32) -> Self {
        match refusal {
            AppendRefusal::Unknown => Self::Recovering,
            AppendRefusal::Gap { expected } => Self::Gap { expected, got: sequence },
            AppendRefusal::Conflict => Self::Conflict(sequence),
            AppendRefusal::Sealed => Self::Sealed,
            AppendRefusal::Cancelled => Self::Cancelled,
            AppendRefusal::UnexpectedAlgorithm => Self::invalid(
                "batch.tasks.expected",
                "a digest is expected of an algorithm that the submission does not compute",
            ),
        }
    }

    /// The error for a refused seal.
    pub(crate) fn seal(refusal: SealRefusal, wanted: u32) -> Self {
        match refusal {
            SealRefusal::Unknown => Self::Recovering,
            SealRefusal::Count { stored } => Self::SealCount { stored, wanted },
            SealRefusal::Cancelled => Self::Cancelled,
        }
    }
}

impl From<CancelRefusal> for QueueError {
    fn from(refusal: CancelRefusal) -> Self {
        match refusal {
            CancelRefusal::Unknown => Self::Recovering,
            CancelRefusal::Completed => Self::Completed,
        }
    }
}

impl From<crate::store::StoreError> for QueueError {
    fn from(error: crate::store::StoreError) -> Self {
        static FAILED: Repeated = Repeated::at_most(10);
        if matches!(error, crate::store::StoreError::Expired) {
            return Self::Expired;
        }
        // Callers are as many as they like. What the breaker refuses, it has said itself.
        if !error.refused_by_breaker()
            && let Some(left_out) = FAILED.failed()
        {
            tracing::warn!(error = telemetry::chain(&error), left_out, "a read from the database failed");
        }
        Self::Database
    }
}

/// Why the queue could not be served.
#[derive(Debug, thiserror::Error)]
pub enum QueueServiceError {
    /// The gRPC server failed.
    #[error("serving the queue")]
    Serve(#[from] hashmesh_runtime::server::ServeError),
}
