//! How a call ends: by its trailers, or without them.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tonic::{Code, Status};

/// Is told once, when the call is over. Dropped without a word: the caller went away.
pub(super) trait Ended {
    /// With its code, and more where it failed.
    fn ended(&mut self, code: Code, status: Option<&Status>);
}

/// Tells `call` if these headers or trailers end it.
pub(super) fn tell(call: &mut impl Ended, headers: &HeaderMap) -> bool {
    let Some(code) = headers.get("grpc-status") else { return false };
    if code == "0" {
        call.ended(Code::Ok, None);
    } else {
        let status = Status::from_header_map(headers);
        call.ended(status.as_ref().map_or(Code::Unknown, Status::code), status.as_ref());
    }
    true
}

pin_project_lite::pin_project! {
    /// A body that tells how the call ended.
    pub(super) struct Ending<B, E> {
        #[pin]
        inner: B,
        // `None` once it was told.
        call: Option<E>,
    }
}

impl<B, E> Ending<B, E> {
    pub(super) fn new(inner: B, call: E) -> Self {
        Self { inner, call: Some(call) }
    }
}

impl<B: Body<Data = Bytes, Error = Status>, E: Ended> Body for Ending<B, E> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref()
                    && let Some(mut call) = this.call.take()
                    && !tell(&mut call, trailers)
                {
                    call.ended(Code::Unknown, None);
                }
            }
            // Broken off.
            Some(Err(status)) => {
                if let Some(mut call) = this.call.take() {
                    call.ended(status.code(), Some(status));
                }
            }
            // Over without trailers.
            None => {
                if let Some(mut call) = this.call.take() {
                    call.ended(Code::Unknown, None);
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        // Asked for the trailers even where the data is over.
        self.call.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A code as gRPC's documentation writes it, and metrics and spans have it.
#[must_use]
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Whether a server has failed that answers so (OpenTelemetry's conventions for gRPC): the rest are its clients' mistakes.
#[must_use]
pub fn servers_fault(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}
