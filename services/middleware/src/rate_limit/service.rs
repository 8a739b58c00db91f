//! The layer.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderValue, Request, Response, request::Parts};
use tonic::{Status, body::Body, server::NamedService};
use tower::{Layer, Service};

use super::window::State;
use crate::ready::take_ready;

/// Says what becomes of calls.
pub trait Decide: Clone + Send + Sync + 'static {
    /// Of the call with these headers. Refused calls are answered with the status.
    fn decide(&self, call: &Parts) -> impl Future<Output = Verdict> + Send;
}

/// What becomes of a call.
#[derive(Debug)]
pub enum Verdict {
    /// It goes on. Its answer says what is left, where there is a limit.
    Admit(Option<State>),
    /// It does not.
    Refuse(State, Status),
}

/// Puts a rate limit in front of a service.
#[derive(Clone, Debug)]
pub struct RateLimitLayer<D> {
    decide: D,
}

impl<D> RateLimitLayer<D> {
    /// This one decides.
    pub fn new(decide: D) -> Self {
        Self { decide }
    }
}

impl<S, D: Clone> Layer<S> for RateLimitLayer<D> {
    type Service = RateLimitService<S, D>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimitService { inner, decide: self.decide.clone() }
    }
}

/// A service with a rate limit in front. Answers say what is left by `ratelimit-limit`, `ratelimit-remaining` and
/// `ratelimit-reset` (in seconds, rounded up).
#[derive(Clone, Debug)]
pub struct RateLimitService<S, D> {
    inner: S,
    decide: D,
}

impl<S: NamedService, D> NamedService for RateLimitService<S, D> {
    const NAME: &'static str = S::NAME;
}

impl<S, D> Service<Request<Body>> for RateLimitService<S, D>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    D: Decide,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut inner = take_ready(&mut self.inner);
        let decide = self.decide.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let (state, mut response) = match decide.decide(&parts).await {
                Verdict::Admit(state) => (state, inner.call(Request::from_parts(parts, body)).await?),
                Verdict::Refuse(state, status) => (Some(state), status.into_http()),
            };
            for (name, value) in state.iter().flat_map(State::headers) {
                response.headers_mut().insert(name, HeaderValue::from(value));
            }
            Ok(response)
        })
    }
}
