//! What can go wrong in a Gateway, and what clients are told of it.

use std::time::Duration;

use hashmesh::error::{self, Reason, StatusBuilder};
use hashmesh_runtime::{
    channel::ChannelError,
    server::ServeError,
    telemetry::Repeated,
    trace::{self, TraceContext},
};
use tonic::{Code, Status};

/// Why a Gateway did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// No URL was given for a service.
    #[error("no URL of the {service} service was given; at least one is needed")]
    NoUpstream {
        /// `queue` or `hash`.
        service: &'static str,
    },
    /// A URL is not the address of a service.
    #[error("a URL of the {service} service is not usable")]
    Upstream {
        /// `queue` or `hash`.
        service: &'static str,
        /// Why not.
        source: ChannelError,
    },
    /// The server did not start.
    #[error("the gRPC server failed")]
    Serve(#[from] ServeError),
}

/// After which a service that could not be reached is worth another try: about a takeover's or a restart's time.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Failures of one service behind us as the log has them. Each call may find one, so that not every one is a line.
#[derive(Debug)]
pub(crate) struct UpstreamLog {
    service: &'static str,
    unreached: Thinned,
    broken: Thinned,
}

/// Lines of one kind. Calls within sampled traces have lines of their own: whoever follows such a trace finds its cause, however
/// many others fail.
#[derive(Debug)]
struct Thinned {
    sampled: Repeated,
    others: Repeated,
}

/// Of each kind, in a minute.
const MOST_LINES: u32 = 10;

impl UpstreamLog {
    /// Of a service that has not failed yet.
    pub(crate) const fn new(service: &'static str) -> Self {
        Self { service, unreached: Thinned::new(), broken: Thinned::new() }
    }
}

impl Thinned {
    const fn new() -> Self {
        Self { sampled: Repeated::at_most(MOST_LINES), others: Repeated::at_most(MOST_LINES) }
    }

    fn failed(&self) -> Option<u64> {
        let sampled = trace::current().is_some_and(TraceContext::sampled);
        if sampled { self.sampled.failed() } else { self.others.failed() }
    }
}

/// What a client is told of an error from a service behind us: our own errors pass, with their details; what the
/// transport says is logged, and means that the service cannot be reached.
pub(crate) fn from_upstream(log: &UpstreamLog, status: &Status) -> Status {
    match error::reason(status) {
        Some(Reason::NotOwner) => unavailable("the queue is changing hands; try again"),
        // Without the headers of the inner call.
        Some(_) => Status::with_details(status.code(), status.message(), status.details().to_vec().into()),
        None if status.code() == Code::DeadlineExceeded => deadline_exceeded(),
        None if lost(status) => {
            if let Some(left_out) = log.unreached.failed() {
                let (service, error) = (log.service, error_chain(status));
                tracing::warn!(service, error, left_out, "a service behind the gateway cannot be reached");
            }
            unavailable("a service behind the gateway cannot be reached; try again")
        }
        None => {
            if let Some(left_out) = log.broken.failed() {
                let (service, error) = (log.service, error_chain(status));
                tracing::error!(service, error, left_out, "a service behind the gateway broke the protocol");
            }
            internal()
        }
    }
}

/// True if the transport, and not the service, is the likely cause: nobody knows whether the call was executed.
pub(crate) fn lost(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal)
}

/// True if no connection was made: the call was not executed.
pub(crate) fn not_connected(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A service behind us cannot be reached.
pub(crate) fn unavailable(message: &str) -> Status {
    StatusBuilder::new(Reason::UpstreamUnavailable, message).retry_after(RETRY_AFTER).build()
}

/// The caller's deadline passed.
pub(crate) fn deadline_exceeded() -> Status {
    StatusBuilder::new(Reason::DeadlineExceeded, "the call's deadline passed; what it asked for may still happen")
        .build()
}

/// A defect of ours.
pub(crate) fn internal() -> Status {
    let status = StatusBuilder::new(Reason::Internal, "internal error: the cause is in the gateway's log");
    // What the log is to be searched for.
    match trace::current() {
        Some(context) => status.metadata("trace_id", context.trace_id()).build(),
        None => status.build(),
    }
}

/// The process is stopping.
pub(crate) fn draining() -> Status {
    StatusBuilder::new(Reason::Draining, "this gateway is stopping; try again, elsewhere")
        .retry_after(RETRY_AFTER)
        .build()
}

/// A frame came out of turn.
pub(crate) fn protocol_violation(message: impl Into<String>) -> Status {
    StatusBuilder::new(Reason::ProtocolViolation, message).build()
}

/// What a client is told of an error in what it sent itself, as the transport put it. None if the client is gone.
pub(crate) fn from_client(status: &Status) -> Option<Status> {
    let limit = hashmesh::limits::MAX_DECODED_MESSAGE_BYTES;
    match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => Some(protocol_violation(format!(
            "a frame may have {limit} bytes, and a batch {}: send smaller batches",
            hashmesh::limits::MAX_BATCH_BYTES
        ))),
        Code::Internal | Code::InvalidArgument | Code::Unimplemented => Some(protocol_violation(format!(
            "a frame could not be decoded: {}; is the client's proto the server's?",
            status.message()
        ))),
        _ => None,
    }
}

/// An error with its causes, for the log.
fn error_chain(status: &Status) -> String {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let further = error.to_string();
        if !text.contains(&further) {
            text.push_str(": ");
            text.push_str(&further);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    static LOG: UpstreamLog = UpstreamLog::new("queue");

    #[tokio::test]
    async fn of_many_calls_that_fail_some_are_logged_and_one_of_a_sampled_trace_is_beside_all_others() {
        let log = UpstreamLog::new("queue");
        let failed = async || log.unreached.failed();
        let logged = (0..1_000).filter_map(|_| log.unreached.failed()).count();
        assert_eq!(logged, MOST_LINES as usize);

        let context =
            |flags| TraceContext::parse(&format!("00-1bf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}"));
        assert_eq!(trace::within(context("00"), failed()).await, None);
        assert_eq!(trace::within(context("01"), failed()).await, Some(0));
        let mut logged = 1;
        for _ in 0..1_000 {
            logged += u32::from(trace::within(context("01"), failed()).await.is_some());
        }
        assert_eq!(logged, MOST_LINES, "whoever sends samples as he likes");
        assert_eq!(log.broken.failed(), Some(0), "another kind of failure");
    }

    #[test]
    fn our_own_errors_pass_with_their_details() {
        let inner = StatusBuilder::new(Reason::SequenceGap, "expected 3").metadata("expected", 3).build();
        let outer = from_upstream(&LOG, &inner);
        assert_eq!(outer.code(), Code::OutOfRange);
        assert_eq!(outer.details(), inner.details());
    }

    #[test]
    fn what_the_transport_says_becomes_a_reason_with_a_delay() {
        for code in [Code::Unavailable, Code::Unknown, Code::Cancelled] {
            let outer = from_upstream(&LOG, &Status::new(code, "h2 broke"));
            assert_eq!(error::reason(&outer), Some(Reason::UpstreamUnavailable));
            assert_eq!(error::retry_after(&outer), Some(RETRY_AFTER));
            assert!(!outer.message().contains("h2"));
        }
    }

    #[test]
    fn an_inner_owner_is_never_shown_to_clients() {
        let inner = StatusBuilder::new(Reason::NotOwner, "ask 10.0.0.1").metadata("owner", "http://10.0.0.1").build();
        let outer = from_upstream(&LOG, &inner);
        assert_eq!(error::reason(&outer), Some(Reason::UpstreamUnavailable));
        assert!(!String::from_utf8_lossy(outer.details()).contains("10.0.0.1"));
    }

    #[test]
    fn a_client_that_is_gone_is_told_nothing() {
        assert!(from_client(&Status::cancelled("reset")).is_none());
        assert_eq!(error::reason(&from_client(&Status::out_of_range("")).unwrap()), Some(Reason::ProtocolViolation));
    }
}
