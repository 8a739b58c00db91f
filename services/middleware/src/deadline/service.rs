//! The layer in front of a server's methods.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use tonic::body::Body;
use tower::{Layer, Service};

use super::{
    body::Bounded,
    policy::{self, Deadline, Limits},
};

/// By how much a handler is ahead: one that keeps its deadline by itself may know what the caller has to know (under which
/// id its work goes on), and then has the last word. Longer than a tick of the timer, which is 1 ms.
const LAST_WORD: Duration = Duration::from_millis(5);

/// Puts a deadline on every call.
#[derive(Clone, Debug)]
pub struct DeadlineLayer {
    limits: Limits,
}

impl DeadlineLayer {
    /// With these limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = DeadlineService<S>;

    fn layer(&self, inner: S) -> DeadlineService<S> {
        DeadlineService { inner, limits: self.limits.clone() }
    }
}

/// A server whose calls end in time.
#[derive(Clone, Debug)]
pub struct DeadlineService<S> {
    inner: S,
    limits: Limits,
}

impl<S, B> Service<Request<B>> for DeadlineService<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let Limits { longest, exceeded } = &self.limits;
        let exceeded = *exceeded;
        let Some(time) = policy::time(policy::asked(request.headers()), longest(request.uri().path())) else {
            return Box::pin(self.inner.call(request));
        };
        let deadline = Deadline::after(time);
        // A handler might be done at once, and its client is gone all the same.
        if deadline.remaining() == Duration::ZERO {
            return Box::pin(std::future::ready(Ok(exceeded().into_http())));
        }
        request.extensions_mut().insert(deadline);
        let answer = self.inner.call(request);
        let end = deadline.at() + LAST_WORD;
        Box::pin(async move {
            // Asks the handler first: an answer that is there is not thrown away.
            match tokio::time::timeout_at(end, answer).await {
                Ok(response) => {
                    let (head, body) = response?.into_parts();
                    let body = Bounded::wrap(body, head.extensions.clone(), end, exceeded);
                    Ok(Response::from_parts(head, body))
                }
                Err(_) => Ok(exceeded().into_http()),
            }
        })
    }
}
