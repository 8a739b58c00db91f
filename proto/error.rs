//! The one shape of every error that hashmesh answers with: a gRPC code, a text that says what to do, and exactly one
//! `google.rpc.ErrorInfo` whose `reason` programs may rely on.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The `domain` of every `ErrorInfo` of ours.
pub const DOMAIN: &str = "hashmesh";

/// Declares reasons with their meanings; the only place where one is written.
macro_rules! named {
    (
        $(#[doc = $about:literal])+
        $name:ident:
        $($(#[doc = $meaning:literal])+ $variant:ident = $text:literal;)+
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[doc = $meaning])+ $variant,)+ }

        impl $name {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The reason as it is stored and sent.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// What it means, and what to do.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($meaning),+).trim_ascii(),)+ }
            }

            /// The reason with this name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.as_str() == name)
            }
        }
    };
}

/// The same, each with its gRPC code.
macro_rules! reasons {
    ($($(#[doc = $meaning:literal])+ $variant:ident = $text:literal, $code:ident;)+) => {
        named! {
            /// Why a call failed: the `reason` of the `ErrorInfo`. Stable.
            Reason:
            $($(#[doc = $meaning])+ $variant = $text;)+
        }

        impl Reason {
            /// The gRPC code that goes with it.
            #[must_use]
            pub fn code(self) -> Code {
                match self { $(Self::$variant => Code::$code,)+ }
            }
        }
    };
}

reasons! {
    /// A field is missing, malformed or outside its limits; `BadRequest` names it.
    InvalidArgument = "INVALID_ARGUMENT", InvalidArgument;
    /// No such submission, or another tenant's.
    SubmissionNotFound = "SUBMISSION_NOT_FOUND", NotFound;
    /// A batch's sequence number is not the next one.
    SequenceGap = "SEQUENCE_GAP", OutOfRange;
    /// A batch with this sequence number and other tasks is stored.
    SequenceConflict = "SEQUENCE_CONFLICT", AlreadyExists;
    /// The idempotency key belongs to a submission with other options.
    IdempotencyConflict = "IDEMPOTENCY_CONFLICT", AlreadyExists;
    /// Another stream writes to the submission now. Final: do not reconnect by yourself.
    WriterReplaced = "WRITER_REPLACED", Aborted;
    /// The submission takes no more batches.
    SubmissionSealed = "SUBMISSION_SEALED", FailedPrecondition;
    /// The submission takes its tasks from its expansion alone.
    SubmissionExpands = "SUBMISSION_EXPANDS", FailedPrecondition;
    /// The submission was cancelled.
    SubmissionCancelled = "SUBMISSION_CANCELLED", FailedPrecondition;
    /// The submission is completed.
    SubmissionCompleted = "SUBMISSION_COMPLETED", FailedPrecondition;
    /// The submission is not completed yet.
    SubmissionNotCompleted = "SUBMISSION_NOT_COMPLETED", FailedPrecondition;
    /// The submission has no failed task to retry.
    NothingToRetry = "NOTHING_TO_RETRY", FailedPrecondition;
    /// No such schedule, or another tenant's.
    ScheduleNotFound = "SCHEDULE_NOT_FOUND", NotFound;
    /// A schedule of this name is there, with another `cron` or `time_zone` or other options. Delete it first.
    ScheduleExists = "SCHEDULE_EXISTS", AlreadyExists;
    /// The tenant has as many schedules as it may have.
    TooManySchedules = "TOO_MANY_SCHEDULES", ResourceExhausted;
    /// A seal names another number of batches than is stored.
    SealCountMismatch = "SEAL_COUNT_MISMATCH", FailedPrecondition;
    /// A frame came out of turn, for example before `open`.
    ProtocolViolation = "PROTOCOL_VIOLATION", InvalidArgument;
    /// A client that promised to answer pings did not.
    PeerSilent = "PEER_SILENT", Unavailable;
    /// Another process owns the submission; `owner` in the metadata is its address, if known.
    NotOwner = "NOT_OWNER", Unavailable;
    /// The owner is rebuilding its state after a failure. Try again.
    Recovering = "RECOVERING", Unavailable;
    /// The process is stopping. Try again, elsewhere.
    Draining = "DRAINING", Unavailable;
    /// A service or database behind this one cannot be reached. Try again.
    UpstreamUnavailable = "UPSTREAM_UNAVAILABLE", Unavailable;
    /// The call came without an API key where one is needed: send `authorization: Bearer hm_…`.
    KeyMissing = "KEY_MISSING", Unauthenticated;
    /// The API key is malformed, unknown, expired or revoked.
    KeyInvalid = "KEY_INVALID", Unauthenticated;
    /// The API key lacks the scope that the call needs; `scope` in the metadata names it.
    ScopeMissing = "SCOPE_MISSING", PermissionDenied;
    /// The tenant may not have this read: a task or an expansion names something outside of what an administrator has allowed
    /// it. Ask for it (`hashmesh admin tenants sources`), or submit the bytes, or an upload.
    SourceForbidden = "SOURCE_FORBIDDEN", PermissionDenied;
    /// The caller's certificate is of a role that may not make this call, or of none.
    RoleNotAllowed = "ROLE_NOT_ALLOWED", PermissionDenied;
    /// The call came as plain text to an address that speaks TLS: use `https://`.
    TlsRequired = "TLS_REQUIRED", FailedPrecondition;
    /// No such key.
    KeyNotFound = "KEY_NOT_FOUND", NotFound;
    /// No worker of this name is connected.
    WorkerNotFound = "WORKER_NOT_FOUND", NotFound;
    /// The key is revoked, which cannot be undone.
    KeyRevoked = "KEY_REVOKED", FailedPrecondition;
    /// A service behind this one has failed so often that it is left alone for a moment. Try again.
    CircuitOpen = "CIRCUIT_OPEN", Unavailable;
    /// More work is under way than the process takes. Try again later.
    Overloaded = "OVERLOADED", ResourceExhausted;
    /// As many calls as the address or the API key may make within a minute were made. Try again later, or ask for a higher limit.
    RateLimited = "RATE_LIMITED", ResourceExhausted;
    /// The tenant has brought as many tasks or bytes today (UTC) as it may. Try again tomorrow, or ask for more.
    QuotaExceeded = "QUOTA_EXCEEDED", ResourceExhausted;
    /// This mesh has no cache: start a Cache service with `--database-url`, and Gateways and Workers with `--cache-url`.
    CacheDisabled = "CACHE_DISABLED", FailedPrecondition;
    /// This mesh has no store for uploads: start Gateways, Queues and Workers with `--upload-store`.
    UploadsDisabled = "UPLOADS_DISABLED", FailedPrecondition;
    /// No such upload, or another tenant's, or it was deleted.
    UploadNotFound = "UPLOAD_NOT_FOUND", NotFound;
    /// The bytes do not begin, or the object does not end, where the stored ones do; `stored_bytes` in the metadata says where.
    UploadOffset = "UPLOAD_OFFSET", OutOfRange;
    /// The upload has all its bytes and takes no more.
    UploadComplete = "UPLOAD_COMPLETE", FailedPrecondition;
    /// The object is larger than the mesh stores (`--upload-max-bytes`), or was sent in more than 10,000 pieces by as many
    /// connections.
    UploadTooLarge = "UPLOAD_TOO_LARGE", FailedPrecondition;
    /// The tenant has as many open uploads as it may. Finish or delete some.
    TooManyUploads = "TOO_MANY_UPLOADS", ResourceExhausted;
    /// The store of uploads is full, away or read-only. What was stored is kept: go on once it works.
    UploadStoreFailed = "UPLOAD_STORE_FAILED", Unavailable;
    /// The call's deadline passed.
    DeadlineExceeded = "DEADLINE_EXCEEDED", DeadlineExceeded;
    /// A defect of ours. The log has its cause.
    Internal = "INTERNAL", Internal;
}

named! {
    /// Why a task failed: the `reason` of its `TaskError`. Stable.
    TaskReason:
    /// There is no such file or object.
    SourceNotFound = "SOURCE_NOT_FOUND";
    /// The worker may not read it: give its user the right to read the file, or its credentials that to read the object.
    SourceDenied = "SOURCE_DENIED";
    /// The path has a `..`, or leads out of what may be read (`--allow-source`) by a symbolic link or a redirect; or the host is
    /// at an address that is not public (`--allow-network`); or it belongs to the mesh's store of uploads; or the tenant may
    /// not have it read any more.
    SourceNotAllowed = "SOURCE_NOT_ALLOWED";
    /// It is a directory, a FIFO, a socket or a device. Only regular files are read.
    SourceNotRegular = "SOURCE_NOT_REGULAR";
    /// It changed while it was read, at each attempt. Retry once nobody writes to it.
    SourceChanged = "SOURCE_CHANGED";
    /// The task asks for bytes behind the end of the object.
    SourceTooShort = "SOURCE_TOO_SHORT";
    /// The object is larger than the worker reads (`--source-max-bytes`); where a host knows no ranges, what is skipped
    /// counts.
    SourceTooLarge = "SOURCE_TOO_LARGE";
    /// The object's host asks to be left alone for a while, or has more to do for this worker than it may be asked for at once.
    /// Retry later, or allow fewer tasks at a time (`--max-leased-tasks`).
    SourceThrottled = "SOURCE_THROTTLED";
    /// The object's host did not answer in time, or stopped sending (`--source-stall`, `--source-timeout`).
    SourceTimedOut = "SOURCE_TIMED_OUT";
    /// Reading failed at each attempt; the message says how. Retry once the disk, share or host works.
    SourceUnreadable = "SOURCE_UNREADABLE";
    /// No worker that took the task reads below a root that covers it: start one with `--allow-source`.
    CannotReachSource = "CANNOT_REACH_SOURCE";
    /// The worker failed at this task at each attempt, which is a defect of ours. Its log says why.
    WorkerPanicked = "WORKER_PANICKED";
    /// The task killed three workers that held nothing else.
    WorkerLost = "WORKER_LOST";
    /// The task hung three workers that held nothing else.
    WorkerStalled = "WORKER_STALLED";
}

/// Builds a [`Status`] of ours. The message is for people and says what to do.
#[derive(Debug)]
#[must_use]
pub struct StatusBuilder {
    reason: Reason,
    message: String,
    metadata: HashMap<String, String>,
    violations: Vec<(String, String)>,
    retry_after: Option<Duration>,
}

impl StatusBuilder {
    /// An error for `reason`.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), metadata: HashMap::new(), violations: Vec::new(), retry_after: None }
    }

    /// Adds a dynamic part to the `ErrorInfo`'s metadata.
    #[allow(clippy::needless_pass_by_value, reason = "callers pass numbers and temporaries")]
    pub fn metadata(mut self, key: &str, value: impl ToString) -> Self {
        self.metadata.insert(key.to_owned(), value.to_string());
        self
    }

    /// Names a field that is at fault, by its path (`batch.columns.lengths[3]`), and says what was wanted.
    pub fn violation(mut self, field: impl Into<String>, description: impl Into<String>) -> Self {
        self.violations.push((field.into(), description.into()));
        self
    }

    /// Says that the same call may succeed after this long.
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// The status, with its details.
    #[must_use]
    pub fn build(self) -> Status {
        let mut details = ErrorDetails::new();
        details.set_error_info(self.reason.as_str(), DOMAIN, self.metadata);
        for (field, description) in self.violations {
            details.add_bad_request_violation(field, description);
        }
        if let Some(delay) = self.retry_after {
            details.set_retry_info(Some(delay));
        }
        Status::with_error_details(self.reason.code(), self.message, details)
    }
}

/// An error for bad input in one field: says which, and what was wanted.
#[must_use]
pub fn bad_field(field: &str, description: impl Into<String>) -> Status {
    let description = description.into();
    StatusBuilder::new(Reason::InvalidArgument, format!("{field}: {description}")).violation(field, description).build()
}

/// The reason that a status of ours carries, if it carries one that this version knows.
#[must_use]
pub fn reason(status: &Status) -> Option<Reason> {
    let info = status.get_details_error_info()?;
    if info.domain != DOMAIN {
        return None;
    }
    Reason::named(&info.reason)
}

/// How long the server asked to wait before the call is repeated, if it did.
#[must_use]
pub fn retry_after(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

/// A gRPC status as the message that travels inside frames (`Rejected.status`).
#[must_use]
pub fn to_message(status: &Status) -> tonic_types::Status {
    use prost::Message as _;
    // The details of a status of ours are an encoded `google.rpc.Status` already.
    tonic_types::Status::decode(status.details()).unwrap_or_else(|_| tonic_types::Status {
        code: status.code() as i32,
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}

/// The reverse of [`to_message`].
#[must_use]
pub fn from_message(message: &tonic_types::Status) -> Status {
    use prost::Message as _;
    Status::with_details(Code::from(message.code), message.message.clone(), message.encode_to_vec().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_survives_its_way_through_a_frame_with_reason_and_delay() {
        let status = StatusBuilder::new(Reason::SequenceGap, "expected 3, got 5")
            .metadata("expected", 3)
            .retry_after(Duration::from_millis(1500))
            .build();
        let back = from_message(&to_message(&status));
        assert_eq!(back.code(), Code::OutOfRange);
        assert_eq!(reason(&back), Some(Reason::SequenceGap));
        assert_eq!(retry_after(&back), Some(Duration::from_millis(1500)));
        assert_eq!(back.message(), "expected 3, got 5");
    }
}
