//! Details for the errors that tonic makes itself, before a handler is asked: a message above the limit, one that cannot
//! be decoded, a method that does not exist. Every error of the public API carries an `ErrorInfo`.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use hashmesh::{
    error::{Reason, StatusBuilder},
    limits::{MAX_BATCH_BYTES, MAX_DECODED_MESSAGE_BYTES},
};
use tonic::{
    Code, Status,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
};

/// A service whose bare errors get their details.
#[derive(Clone, Debug)]
pub(crate) struct Detailed<S> {
    inner: S,
}

impl<S> Detailed<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S: NamedService> NamedService for Detailed<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Detailed<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            // Only where no message was sent is the status among the headers.
            Ok(match Status::from_header_map(response.headers()) {
                Some(status) if status.code() != Code::Ok && status.details().is_empty() => {
                    detailed(&status).into_http()
                }
                _ => response,
            })
        })
    }
}

fn detailed(status: &Status) -> Status {
    let found = status.message();
    let invalid = |message: String| StatusBuilder::new(Reason::InvalidArgument, message).build();
    match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => invalid(format!(
            "a message may have {MAX_DECODED_MESSAGE_BYTES} bytes, and a batch {MAX_BATCH_BYTES}: send less at a time"
        )),
        Code::Internal | Code::InvalidArgument => {
            invalid(format!("the message could not be decoded; is the client's proto the server's? {found}"))
        }
        Code::Unimplemented => {
            let ours = invalid(format!("no such method or encoding; reflection lists the methods. {found}"));
            // This code is gRPC's own for the case, and clients know it.
            Status::with_details(Code::Unimplemented, ours.message(), ours.details().to_vec().into())
        }
        // The client is gone: nobody reads it.
        _ => status.clone(),
    }
}

#[cfg(test)]
mod tests {
    use hashmesh::error::reason;

    use super::*;

    #[test]
    fn errors_that_tonic_makes_get_a_reason_and_a_code_that_blames_the_caller() {
        for (bare, code) in [
            (Status::out_of_range("too large"), Code::InvalidArgument),
            (Status::internal("failed to decode"), Code::InvalidArgument),
            (Status::unimplemented(""), Code::Unimplemented),
        ] {
            let status = detailed(&bare);
            assert_eq!(status.code(), code);
            assert_eq!(reason(&status), Some(Reason::InvalidArgument));
        }
    }
}
