//! The layer of channels to other services, outside of the breaker: what it refuses counts as a call.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use http::{Request, Response};
use tonic::{Code, Status, body::Body};
use tower::Service;

use super::{
    Method,
    end::{Ended, Ending, code_name, servers_fault, tell},
    methods,
};
use crate::{
    metrics::catalogue::rpc,
    tls::Role,
    trace::{self, Span, SpanKind},
};

/// A channel whose calls tell whom they call what caused them.
#[derive(Clone, Debug)]
pub struct Made<S> {
    inner: S,
    service: &'static str,
}

impl<S> Made<S> {
    /// To services of this role.
    pub(crate) fn new(service: Role, inner: S) -> Self {
        rpc::CLIENT_CALLS.expect(&[service.name(), code_name(Code::Ok)]);
        rpc::CLIENT_SECONDS.expect(&[service.name()]);
        Self { inner, service: service.name() }
    }
}

impl<S> Service<Request<Body>> for Made<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let mut call = Call::begin(self.service, methods().get(request.uri().path()));
        let context = call.span.as_ref().map_or_else(trace::current, Span::context);
        trace::outgoing(context, request.headers_mut());
        let answering = self.inner.call(request);
        Box::pin(async move {
            match answering.await {
                Ok(response) if tell(&mut call, response.headers()) => Ok(response),
                Ok(response) => Ok(response.map(|body| Body::new(Ending::new(body, call)))),
                Err(error) => {
                    call.ended(Code::Unavailable, None);
                    Err(error)
                }
            }
        })
    }
}

#[derive(Debug)]
struct Call {
    service: &'static str,
    method: Method,
    began: Instant,
    /// Of a unary call within a trace.
    span: Option<Span>,
    over: bool,
}

impl Call {
    fn begin(service: &'static str, method: Method) -> Self {
        let caller = trace::current().filter(|_| !method.streams);
        let span = caller.map(|caller| {
            let mut span = Span::child(Some(caller), method.name, SpanKind::Client);
            span.set("rpc.system", "grpc");
            span.set("rpc.service", method.service);
            span.set("rpc.method", method.method);
            span
        });
        Self { service, method, began: Instant::now(), span, over: false }
    }
}

impl Ended for Call {
    fn ended(&mut self, code: Code, _: Option<&Status>) {
        self.over = true;
        rpc::CLIENT_CALLS.add(1, &[self.service, code_name(code)]);
        if !self.method.streams {
            rpc::CLIENT_SECONDS.record_time(self.began.elapsed(), &[self.service]);
        }
        if let Some(span) = &mut self.span {
            span.set("rpc.grpc.status_code", code as i64);
            if servers_fault(code) {
                span.fail(code_name(code));
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.over {
            self.ended(Code::Cancelled, None);
        }
    }
}
