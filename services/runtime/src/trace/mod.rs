//! Where a piece of work comes from, told from process to process (W3C Trace Context), and the spans that say how long its
//! parts took.
//!
//! - A [`TraceContext`] travels in the metadata of calls, in frames of streams, and with batches and outcomes through
//!   Postgres. It is passed on whether or not this process exports spans.
//! - A [`Span`] is one piece of work with a beginning and an end: a call, a frame, a lease. Never a stream or a task. It is a
//!   value that may travel between tasks and threads, and costs nothing to speak of where it is not sampled.
//! - What a call is answered by is also a span of `tracing` ([`crate::server`]), so that what is logged within it becomes its
//!   events, and log lines have its `trace_id`.
//!
//! Whether a trace is sampled is decided once, where it begins, and everybody follows. A span that fails is exported
//! although its trace is not sampled, up to [`span::KEPT_ERRORS_PER_SECOND`].

mod context;
mod span;

use std::future::Future;

use http::{HeaderMap, HeaderValue};

pub use self::{
    context::TraceContext,
    span::{Span, SpanKind},
};
pub use crate::calls::{code_name, servers_fault};
pub(crate) use span::{connect, disconnect, sampled};

/// The header, as W3C and gRPC metadata have it.
pub const HEADER: &str = "traceparent";
/// The target of the spans of `tracing` that are exported.
pub(crate) const TARGET: &str = "hashmesh::trace";

tokio::task_local! {
    /// Of the call that is being answered.
    static CURRENT: Option<TraceContext>;
}

/// What the caller says of itself, if it is well-formed.
#[must_use]
pub fn incoming(headers: &HeaderMap) -> Option<TraceContext> {
    TraceContext::parse(headers.get(HEADER)?.to_str().ok()?)
}

/// Tells whoever is called. What a caller has said itself stays.
pub fn outgoing(context: Option<TraceContext>, headers: &mut HeaderMap) {
    if let Some(context) = context
        && !headers.contains_key(HEADER)
        && let Ok(value) = HeaderValue::from_str(&context.to_string())
    {
        headers.insert(HEADER, value);
    }
}

/// The context of the call that this task answers. Tasks that a handler spawns must be told it.
#[must_use]
pub fn current() -> Option<TraceContext> {
    CURRENT.try_with(|context| *context).ok().flatten()
}

/// Does something within a context: calls that it makes tell it to whom they call.
pub async fn within<F: Future>(context: Option<TraceContext>, work: F) -> F::Output {
    CURRENT.scope(context, work).await
}

/// The same while a future is made.
pub(crate) fn within_sync<T>(context: Option<TraceContext>, work: impl FnOnce() -> T) -> T {
    CURRENT.sync_scope(context, work)
}
