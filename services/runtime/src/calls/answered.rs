//! The layer of servers, outside of all others.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

use futures::future::BoxFuture;
use hashmesh::error::{Reason, reason};
use http::{Request, Response};
use opentelemetry::trace::TraceContextExt as _;
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{
    Method,
    end::{Ended, Ending, code_name, servers_fault, tell},
    methods,
};
use crate::{
    metrics::catalogue::rpc,
    trace::{self, Span, SpanKind, TraceContext},
};

static OPEN_UNARY: AtomicI64 = AtomicI64::new(0);
static OPEN_STREAMS: AtomicI64 = AtomicI64::new(0);

/// Counts, measures and traces the calls of a server.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    services: Arc<BTreeSet<&'static str>>,
}

impl Answered {
    /// For a server that has these services.
    pub(crate) fn new(services: &BTreeSet<&'static str>) -> Self {
        static WATCHED: std::sync::Once = std::sync::Once::new();
        WATCHED.call_once(|| {
            #[allow(clippy::cast_precision_loss)] // never that many
            for (kind, open) in [("unary", &OPEN_UNARY), ("stream", &OPEN_STREAMS)] {
                rpc::SERVER_OPEN.watch(&[kind], || open.load(Ordering::Relaxed) as f64).forever();
            }
        });
        for method in services.iter().flat_map(|service| methods().of(service)) {
            rpc::SERVER_CALLS.expect(&[method.name, code_name(Code::Ok)]);
            if !method.streams {
                rpc::SERVER_SECONDS.expect(&[method.name]);
            }
        }
        for reason in Reason::ALL {
            rpc::SERVER_ERRORS.expect(&[reason.as_str()]);
        }
        Self { services: Arc::new(services.clone()) }
    }

    /// The method of a path, if it is mounted. Health and reflection always are.
    fn method(&self, path: &str) -> Method {
        let method = methods().get(path);
        let mounted = self.services.contains(method.service) || method.service.starts_with("grpc.");
        if mounted { method } else { Method::UNKNOWN }
    }
}

impl<S> Layer<S> for Answered {
    type Service = AnsweredService<S>;

    fn layer(&self, inner: S) -> AnsweredService<S> {
        AnsweredService { inner, layer: self.clone() }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct AnsweredService<S> {
    inner: S,
    layer: Answered,
}

impl<S, B> Service<Request<B>> for AnsweredService<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let method = self.layer.method(request.uri().path());
        let mut call = Call::begin(method, trace::incoming(request.headers()));
        let (context, span) = (call.context, call.log_span());
        // What a handler asks for while it is called, too.
        let answering = trace::within_sync(context, || span.in_scope(|| self.inner.call(request)));
        let answering = trace::within(context, async move {
            let response = answering.await?;
            if tell(&mut call, response.headers()) {
                return Ok(response);
            }
            Ok(response.map(|body| Body::new(Ending::new(body, call))))
        });
        Box::pin(answering.instrument(span))
    }
}

/// A call that is being answered.
#[derive(Debug)]
struct Call {
    method: Method,
    began: Instant,
    /// What calls that it causes are told.
    context: Option<TraceContext>,
    trace: Trace,
    over: bool,
}

/// How a call is traced.
#[derive(Debug)]
enum Trace {
    /// A stream: its frames are.
    Not,
    /// By `tracing`, so that what is logged belongs to it.
    Exported(tracing::Span),
    /// In case that it fails.
    Kept(Span),
}

impl Call {
    fn begin(method: Method, parent: Option<TraceContext>) -> Self {
        open(method).fetch_add(1, Ordering::Relaxed);
        let (context, trace) = if method.streams {
            (parent, Trace::Not)
        } else if trace::sampled(parent) {
            let span = exported(method, parent);
            let context = TraceContext::of_otel(span.context().span().span_context());
            (context.or(parent), Trace::Exported(span))
        } else {
            let mut span = Span::child(parent, method.name, SpanKind::Server).from_afar();
            span.unsampled();
            span.set("rpc.system", "grpc");
            span.set("rpc.service", method.service);
            span.set("rpc.method", method.method);
            (span.context(), Trace::Kept(span))
        };
        Self { method, began: Instant::now(), context, trace, over: false }
    }

    /// What the lines of the log that belong to it say of it.
    fn log_span(&self) -> tracing::Span {
        match (&self.trace, self.context) {
            (Trace::Exported(span), _) => span.clone(),
            (_, Some(context)) => tracing::info_span!("call", method = self.method.name, trace_id = context.trace_id()),
            (_, None) => tracing::Span::none(),
        }
    }
}

impl Ended for Call {
    fn ended(&mut self, code: Code, status: Option<&Status>) {
        self.over = true;
        open(self.method).fetch_sub(1, Ordering::Relaxed);
        rpc::SERVER_CALLS.add(1, &[self.method.name, code_name(code)]);
        if !self.method.streams {
            rpc::SERVER_SECONDS.record_time(self.began.elapsed(), &[self.method.name]);
        }
        let reason = status.and_then(reason);
        if let Some(reason) = reason {
            rpc::SERVER_ERRORS.add(1, &[reason.as_str()]);
        }
        let why = reason.map_or_else(|| code_name(code), Reason::as_str);
        match &mut self.trace {
            Trace::Not => {}
            Trace::Exported(span) => {
                span.record("rpc.grpc.status_code", code as i64);
                if servers_fault(code) {
                    span.record("otel.status_code", "ERROR");
                    span.record("otel.status_description", why);
                }
            }
            Trace::Kept(span) => {
                if servers_fault(code) {
                    span.set("rpc.grpc.status_code", code as i64);
                    span.fail(why);
                }
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

fn open(method: Method) -> &'static AtomicI64 {
    if method.streams { &OPEN_STREAMS } else { &OPEN_UNARY }
}

/// A span that is exported when its last clone is dropped.
fn exported(method: Method, parent: Option<TraceContext>) -> tracing::Span {
    let span = tracing::info_span!(
        target: trace::TARGET,
        "call",
        otel.name = method.name,
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        otel.status_description = tracing::field::Empty,
        rpc.system = "grpc",
        rpc.service = method.service,
        rpc.method = method.method,
        rpc.grpc.status_code = tracing::field::Empty,
        trace_id = tracing::field::Empty,
    );
    if let Some(parent) = parent {
        let parent = opentelemetry::Context::new().with_remote_span_context(parent.to_otel(true));
        // Fails for a span that has begun, or where nobody exports it.
        let _ = span.set_parent(parent);
    }
    let context = span.context().span().span_context().clone();
    if context.is_valid() {
        span.record("trace_id", context.trace_id().to_string());
    }
    span
}
