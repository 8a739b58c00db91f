//! The layer that stops whoever may not pass, before a byte of the call's body is read.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use hashmesh_middleware::take_ready;
use hashmesh_runtime::metrics::catalogue::gateway::REFUSED_CALLERS;
use tonic::{
    Code,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
};

use super::Authenticator;
use crate::limits::Limiter;

/// A call is turned away, or a caller cannot be looked up: only the first counts.
fn count(code: Code) {
    match code {
        Code::Unauthenticated => REFUSED_CALLERS.add(1, &["unauthenticated"]),
        Code::PermissionDenied => REFUSED_CALLERS.add(1, &["permission_denied"]),
        _ => {}
    }
}

/// A service whose calls all have a [`Caller`](super::Caller) among their extensions.
#[derive(Clone, Debug)]
pub(crate) struct Authenticated<S> {
    inner: S,
    authenticator: Authenticator,
    limiter: Limiter,
}

impl<S> Authenticated<S> {
    /// Whoever has no valid key is counted by `limiter`.
    pub(crate) fn new(inner: S, authenticator: Authenticator, limiter: Limiter) -> Self {
        Self { inner, authenticator, limiter }
    }
}

impl<S: NamedService> NamedService for Authenticated<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Authenticated<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let mut inner = take_ready(&mut self.inner);
        let (authenticator, limiter) = (self.authenticator.clone(), self.limiter.clone());
        Box::pin(async move {
            let authenticated = authenticator.authenticate(request.uri().path(), request.headers()).await;
            if let Err(status) = &authenticated {
                count(status.code());
            }
            match authenticated {
                Ok(caller) => {
                    // Nobody further in has a use for the secret.
                    request.headers_mut().remove(hashmesh::keys::HEADER);
                    request.extensions_mut().insert(caller);
                    inner.call(request).await
                }
                Err(status) if status.code() == Code::Unauthenticated => {
                    let one_too_many = limiter.count_stranger(request.headers(), request.extensions()).await;
                    Ok(one_too_many.unwrap_or(status).into_http())
                }
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}
