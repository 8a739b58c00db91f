//! What can go wrong for good, and what is worth another attempt.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::tls;
use crate::{
    error::{DOMAIN, Reason, reason, retry_after},
    v1::SubmissionState,
};

/// Why a call or a stream of the client ended without success.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// The configured server is no address.
    #[error("server {server:?} is not an address: {cause}; give for example http://127.0.0.1:7420")]
    BadServer {
        /// As configured.
        server: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The key would be sent for everybody on the way to read.
    #[error(
        "refusing to send an API key to {server} as plain text, which everybody on the way could read: use https://, or, \
         on a network where nobody listens in, say --insecure"
    )]
    KeyInPlainText {
        /// As configured.
        server: String,
    },
    /// TLS failed for a reason that waiting does not mend.
    #[error("no TLS with {server}: {cause}")]
    Tls {
        /// As configured.
        server: String,
        /// What is wrong, and what to do.
        cause: String,
    },
    /// The server's answer is an error that waiting does not mend.
    #[error("{}", .0.message())]
    Refused(Status),
    /// An outage lasted longer than the client was to wait.
    #[error("{server} cannot be reached (tried for {:.0} s): {}", .waited.as_secs_f64(), causes(.last))]
    Unreachable {
        /// As configured.
        server: String,
        /// From the outage's first failure on.
        waited: Duration,
        /// The last failure.
        last: Status,
    },
    /// The server refused a batch for good. Nothing of it, and of what was sent after it, is stored.
    #[error("batch {sequence} was refused: {}", .status.message())]
    Rejected {
        /// The batch.
        sequence: u32,
        /// Why.
        status: Status,
    },
    /// A batch that no server would take; it was not sent.
    #[error("a batch must have 1 to {max_tasks} tasks and at most {max_bytes} bytes, this one has {tasks} and {bytes}")]
    BatchSize {
        /// Tasks of the batch.
        tasks: usize,
        /// Bytes of the batch.
        bytes: usize,
        /// The server's limit.
        max_tasks: u32,
        /// The server's limit.
        max_bytes: u32,
    },
    /// The submission ended, or was sealed, while batches were still to be stored.
    #[error("submission {submission_id} takes no more batches: it is {}", .state.name())]
    Closed {
        /// The submission.
        submission_id: String,
        /// Where it stands.
        state: SubmissionState,
    },
    /// The server broke the protocol.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
}

impl ClientError {
    /// The gRPC code that says it best.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::BadServer { .. } | Self::KeyInPlainText { .. } | Self::BatchSize { .. } => Code::InvalidArgument,
            Self::Refused(status) | Self::Rejected { status, .. } => status.code(),
            Self::Unreachable { .. } | Self::Tls { .. } => Code::Unavailable,
            Self::Closed { .. } => Code::FailedPrecondition,
            Self::Protocol(_) => Code::Internal,
        }
    }

    /// The server's reason, if the server gave one that this version knows.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Refused(status) | Self::Rejected { status, .. } => reason(status),
            Self::Unreachable { last, .. } => reason(last),
            Self::Closed { state: SubmissionState::Cancelled, .. } => Some(Reason::SubmissionCancelled),
            Self::Closed { state: SubmissionState::Completed, .. } => Some(Reason::SubmissionCompleted),
            Self::Closed { .. } => Some(Reason::SubmissionSealed),
            Self::BadServer { .. }
            | Self::KeyInPlainText { .. }
            | Self::Tls { .. }
            | Self::BatchSize { .. }
            | Self::Protocol(_) => None,
        }
    }
}

impl SubmissionState {
    /// The state's name in lower case, as commands and JSON show it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Open => "open",
            Self::Sealed => "sealed",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// True if the same call, or the same stream resumed, may succeed later.
///
/// A status with our `ErrorInfo` is the mesh's own word. One without is the transport's or a proxy's: a connection that
/// broke shows as `UNKNOWN`, `INTERNAL` or `CANCELLED` as well, depending on the moment.
pub(super) fn transient(status: &Status) -> bool {
    let ours = status.get_details_error_info().is_some_and(|info| info.domain == DOMAIN);
    if ours {
        return status.code() == Code::Unavailable || retry_after(status).is_some();
    }
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled)
        // The peer's HTTP/2 asked for calm, which is no answer to the call.
        || (status.code() == Code::ResourceExhausted && std::error::Error::source(status).is_some())
}

/// A status with the errors behind it, for people: the transport's own text seldom says what happened.
fn causes(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    match tls::hint(status) {
        Some(hint) => format!("{text}; {hint}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::StatusBuilder;

    #[test]
    fn what_is_unavailable_or_says_when_to_come_back_is_transient() {
        assert!(transient(&StatusBuilder::new(Reason::Draining, "stopping").build()));
        assert!(transient(&StatusBuilder::new(Reason::Recovering, "wait").build()));
        let overloaded = StatusBuilder::new(Reason::Overloaded, "full").retry_after(Duration::from_millis(10));
        assert!(transient(&overloaded.build()));
    }

    #[test]
    fn every_other_answer_of_the_mesh_is_final() {
        for reason in Reason::ALL {
            let status = StatusBuilder::new(*reason, "text").build();
            assert_eq!(transient(&status), reason.code() == Code::Unavailable, "{reason:?}");
        }
        assert!(!transient(&StatusBuilder::new(Reason::WriterReplaced, "another writer").build()));
    }

    #[test]
    fn a_failure_of_the_transport_is_transient_whatever_its_code() {
        for code in [Code::Unavailable, Code::Unknown, Code::Internal, Code::Cancelled] {
            assert!(transient(&Status::new(code, "transport error")), "{code:?}");
        }
        assert!(!transient(&Status::new(Code::Unimplemented, "no such method")));
        assert!(!transient(&Status::new(Code::OutOfRange, "message too large")));
    }
}
