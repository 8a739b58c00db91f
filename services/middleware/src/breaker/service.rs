//! The layer around a gRPC channel.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use super::{
    body::Watched,
    handle::{Breaker, Open},
};

/// What whoever mounts a breaker knows and it does not.
#[derive(Clone, Copy)]
pub struct Judge {
    /// True for a status that tells of a service that does not work, and not of a call that it refused.
    pub failed: fn(&Status) -> bool,
    /// What a refused caller is told.
    pub refused: fn(Open) -> Status,
}

impl fmt::Debug for Judge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Judge")
    }
}

/// Puts a breaker around channels. Those that lead to the same process share one.
#[derive(Clone, Debug)]
pub struct BreakerLayer {
    breaker: Arc<Breaker>,
    judge: Judge,
}

impl BreakerLayer {
    /// With this breaker.
    #[must_use]
    pub fn new(breaker: Arc<Breaker>, judge: Judge) -> Self {
        Self { breaker, judge }
    }
}

impl<S> Layer<S> for BreakerLayer {
    type Service = BreakerService<S>;

    fn layer(&self, inner: S) -> BreakerService<S> {
        BreakerService { inner, layer: self.clone() }
    }
}

/// A channel with a breaker in front.
#[derive(Clone, Debug)]
pub struct BreakerService<S> {
    inner: S,
    layer: BreakerLayer,
}

impl<S, B> Service<Request<Body>> for BreakerService<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    /// Always: whether the channel is, is found out by the calls that are let through.
    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let BreakerLayer { breaker, judge } = self.layer.clone();
        let mut inner = self.inner.clone();
        Box::pin(async move {
            let mut attempt = match breaker.enter() {
                Ok(attempt) => attempt,
                Err(open) => return Ok((judge.refused)(open).into_http()),
            };
            let answer = match std::future::poll_fn(|context| inner.poll_ready(context)).await {
                Ok(()) => inner.call(request).await,
                Err(error) => Err(error),
            };
            let response = answer.inspect_err(|_| attempt.failed())?;
            // Only where no message was sent is the status among the headers.
            let status = Status::from_header_map(response.headers());
            if status.as_ref().is_some_and(|status| (judge.failed)(status)) {
                attempt.failed();
            } else {
                // Streams go on for hours: that they have begun is a success.
                attempt.succeeded();
            }
            Ok(match status {
                Some(_) => response.map(Body::new),
                None => response.map(|body| Body::new(Watched::new(body, attempt, judge))),
            })
        })
    }
}
