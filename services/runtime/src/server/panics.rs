//! A panic in a handler fails its call with INTERNAL, and nothing else.
//!
//! Also while a response streams: the stream ends with the status in its trailers, where a client expects it.

use std::{
    any::Any,
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use hashmesh::error::{Reason, StatusBuilder};
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Status, body::Body};
use tower::{Layer, Service, ServiceExt as _};

use crate::{metrics::catalogue::rpc::SERVER_PANICS, trace};

/// Wraps the assembled routes, once, so it may box.
#[derive(Clone, Copy, Debug)]
pub(super) struct CatchPanic;

impl<S> Layer<S> for CatchPanic {
    type Service = CatchPanicService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CatchPanicService { inner }
    }
}

#[derive(Clone, Debug)]
pub(super) struct CatchPanicService<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for CatchPanicService<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The clone is asked within the call, where its panic would be caught too.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let inner = self.inner.clone();
        Box::pin(async move {
            let answered = AssertUnwindSafe(inner.oneshot(request)).catch_unwind().await;
            let response = match answered {
                Ok(Ok(response)) => response.map(|body| Body::new(GuardedBody { inner: Some(body) })),
                Ok(Err(never)) => match never {},
                Err(panic) => status(&*panic).into_http(),
            };
            Ok(response)
        })
    }
}

/// A response body whose panics become trailers.
struct GuardedBody {
    /// `None` after a panic.
    inner: Option<Body>,
}

impl HttpBody for GuardedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(body) = self.inner.as_mut() else {
            return Poll::Ready(None);
        };
        match catch_unwind(AssertUnwindSafe(|| Pin::new(body).poll_frame(cx))) {
            Ok(polled) => polled,
            Err(panic) => {
                self.inner = None;
                let mut trailers = HeaderMap::new();
                Poll::Ready(Some(status(&*panic).add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

/// What the client is told. The panic's text is for the log only; the process' panic hook wrote it there.
fn status(_panic: &(dyn Any + Send)) -> Status {
    SERVER_PANICS.add(1, &[]);
    let status = StatusBuilder::new(Reason::Internal, "internal error: the cause is in the server's log");
    // What the log is to be searched for.
    match trace::current() {
        Some(context) => status.metadata("trace_id", context.trace_id()).build(),
        None => status.build(),
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, stream};
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    #[tokio::test]
    async fn a_panic_while_the_response_streams_ends_it_with_trailers() {
        let frames = stream::iter(0..2).map(|index| match index {
            0 => Ok::<_, Status>(Frame::data(Bytes::from_static(b"first"))),
            _ => panic!("as the test asked"),
        });
        let mut body = GuardedBody { inner: Some(Body::new(StreamBody::new(frames))) };
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        let status = Status::from_header_map(&trailers).unwrap();
        assert_eq!(hashmesh::error::reason(&status), Some(Reason::Internal));
        assert!(body.frame().await.is_none());
    }
}
