//! The spans of streams, one for each frame: a stream itself has none, for it would be exported hours later.
//!
//! What a frame belongs to it says itself, or else the metadata of its stream did ([`trace::current`], which the stream's task
//! was told by [`crate::outbound::respond`]).

use hashmesh::{error::reason, limits::MAX_TRACEPARENTS, v1::Results};
use hashmesh_runtime::trace::{self, Span, SpanKind, TraceContext};
use tonic::Status;

/// A frame of `SubmitTasks` that a client has sent, and what it says of its cause.
pub(crate) fn received(name: &'static str, traceparent: &str) -> Span {
    let parent = TraceContext::parse(traceparent).or_else(trace::current);
    let mut span = Span::child(parent, name, SpanKind::Server).from_afar();
    describe(&mut span, "SubmitTasks");
    span
}

/// The frame was refused. Only where we are at fault has its span failed.
pub(crate) fn refused(span: &mut Span, status: &Status) {
    let why = reason(status).map_or("unknown", |reason| reason.as_str());
    if trace::servers_fault(status.code()) {
        span.fail(why);
    } else {
        span.set("hashmesh.rejected", why);
    }
}

/// Outcomes on their way from the Queue to the client of a stream, if any of them is traced. The span belongs to the client's
/// trace, or to one of its own, and is linked to the leases that the outcomes come from.
///
/// Its kind is Producer, as OpenTelemetry has it for who makes the context that goes with a message and that its receiver links
/// to: the frame names this span first, then the leases. So a client's own span leads to both at once.
pub(crate) fn sent(method: &'static str, results: &mut Results) -> Option<Span> {
    const NAME: &str = "gateway results";
    let mut leases = results.traceparents.iter().map(|lease| TraceContext::parse(lease));
    let first = leases.next()?;
    let stream = trace::current().filter(|stream| stream.sampled());
    let mut span = match stream {
        Some(_) => {
            let mut span = Span::child(stream, NAME, SpanKind::Producer).from_afar();
            span.link(first);
            span
        }
        None => Span::linked(first, NAME, SpanKind::Producer),
    };
    leases.for_each(|lease| span.link(lease));
    describe(&mut span, method);
    span.set("messaging.batch.message_count", i64::try_from(results.outcome_count()).unwrap_or(i64::MAX));
    if span.sampled() {
        results.traceparents.insert(0, text(span.context()));
        results.traceparents.truncate(MAX_TRACEPARENTS);
    }
    Some(span)
}

/// What the batch of a unary call comes from: the call, unless the batch itself names another trace.
pub(crate) fn of_unary(traceparent: &str) -> Option<TraceContext> {
    let call = trace::current();
    let own = TraceContext::parse(traceparent);
    let same_trace = |own: TraceContext| call.is_some_and(|call| call.trace_id() == own.trace_id());
    own.filter(|own| !same_trace(*own)).or(call)
}

/// As frames have it: empty where there is nothing to tell.
pub(crate) fn text(context: Option<TraceContext>) -> String {
    context.map(|context| context.to_string()).unwrap_or_default()
}

fn describe(span: &mut Span, method: &'static str) {
    span.set("rpc.system", "grpc");
    span.set("rpc.service", "hashmesh.gateway.v1.GatewayService");
    span.set("rpc.method", method);
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const CALL: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const WITHIN: &str = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";
    const OTHER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn within<T>(call: &str, work: impl FnOnce() -> T) -> T {
        trace::within(TraceContext::parse(call), async { work() }).now_or_never().unwrap()
    }

    #[test]
    fn a_batch_of_a_unary_call_belongs_to_the_call_unless_it_names_another_trace() {
        let of = |call: &str, own: &str| within(call, || text(of_unary(own)));
        assert_eq!(of(CALL, ""), CALL);
        assert_eq!(of(CALL, "malformed"), CALL);
        assert_eq!(of(CALL, WITHIN), CALL);
        assert_eq!(of(CALL, OTHER), OTHER);
        assert_eq!(of("", OTHER), OTHER);
        assert_eq!(of("", ""), "");
    }

    #[test]
    fn where_nothing_is_exported_frames_pass_on_what_they_were_told() {
        // No test of this crate connects an exporter.
        let of = |stream: &str, own: &str| within(stream, || text(received("gateway batch", own).context()));
        assert_eq!(of(CALL, ""), CALL);
        assert_eq!(of(CALL, OTHER), OTHER);
        assert_eq!(of("", ""), "");
        let mut results = Results { traceparents: vec![CALL.to_owned(), OTHER.to_owned()], ..Default::default() };
        let untouched = results.clone();
        within(WITHIN, || sent("StreamResults", &mut results).unwrap().end());
        assert_eq!(results, untouched);
        assert!(sent("StreamResults", &mut Results::default()).is_none());
    }
}
