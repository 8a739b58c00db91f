//! Lines as JSON, with the id of the trace that they belong to where every collector looks for it: at the top.

use std::fmt;

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::Context,
    registry::LookupSpan,
};

/// The field of spans.
const FIELD: &str = "trace_id";

/// Of a span that has one, for all that is logged within it.
#[derive(Clone, Debug)]
struct TraceId(String);

/// Keeps what spans say of their traces.
pub(super) struct TraceIds;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for TraceIds {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        keep(id, &context, |found| attributes.record(found));
    }

    // A span that is exported gets its trace after it was made.
    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        keep(id, &context, |found| values.record(found));
    }
}

fn keep<S: Subscriber + for<'a> LookupSpan<'a>>(id: &Id, context: &Context<'_, S>, record: impl FnOnce(&mut Found)) {
    let mut found = Found(None);
    record(&mut found);
    if let (Some(trace_id), Some(span)) = (found.0, context.span(id)) {
        span.extensions_mut().replace(TraceId(trace_id));
    }
}

/// The value of the field.
struct Found(Option<String>);

impl Visit for Found {
    fn record_str(&mut self, field: &Field, value: &str) {
        // Nothing else gets into a line unescaped.
        if field.name() == FIELD && value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// Adds the trace to the lines of a format that makes objects.
pub(super) struct WithTrace<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for WithTrace<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let trace_id = context.event_scope().and_then(|mut spans| {
            // From within.
            spans.find_map(|span| span.extensions().get::<TraceId>().cloned())
        });
        let Some(TraceId(trace_id)) = trace_id else { return self.0.format_event(context, writer, event) };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let object = line.trim_end();
        writeln!(writer, "{},\"{FIELD}\":\"{trace_id}\"}}", object.strip_suffix('}').unwrap_or(object))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use serde_json::Value;
    use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt as _};

    use super::super::logs::json_lines;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Captured {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// What was logged, a document each.
    fn lines(log: impl FnOnce()) -> Vec<Value> {
        let captured = Captured::default();
        let subscriber = tracing_subscriber::registry().with(json_lines(captured.clone()));
        tracing::subscriber::with_default(subscriber, log);
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    const ONE: &str = "0af7651916cd43dd8448eb211c80319c";
    const OTHER: &str = "1af7651916cd43dd8448eb211c80319c";

    #[test]
    fn a_line_within_a_trace_has_its_id_at_the_top_beside_its_own_fields() {
        let lines = lines(|| {
            tracing::info!(value = 1, "before");
            let call = tracing::info_span!("call", trace_id = ONE, method = "m");
            call.in_scope(|| {
                tracing::warn!(value = 2, text = "a \"}\n", "within");
                // Which has none of its own.
                tracing::info_span!("task", name = "t").in_scope(|| tracing::info!("deeper"));
                tracing::info_span!("lease", trace_id = OTHER).in_scope(|| tracing::info!("of another"));
            });
            let late = tracing::info_span!("call", trace_id = tracing::field::Empty);
            late.record("trace_id", OTHER);
            late.in_scope(|| tracing::info!("known later"));
        });
        let ids: Vec<_> = lines.iter().map(|line| line["trace_id"].as_str()).collect();
        assert_eq!(ids, [None, Some(ONE), Some(ONE), Some(OTHER), Some(OTHER)]);
        assert_eq!((&lines[1]["message"], &lines[1]["value"]), (&"within".into(), &2.into()));
        assert_eq!((&lines[1]["text"], &lines[1]["level"]), (&"a \"}\n".into(), &"WARN".into()));
        assert_eq!(lines[1]["span"]["method"], "m");
    }

    #[test]
    fn what_is_no_id_is_none() {
        let lines = lines(|| tracing::info_span!("call", trace_id = "\",\"x\":\"").in_scope(|| tracing::info!("line")));
        assert_eq!(lines[0].get("trace_id"), None);
    }
}
