//! Logs: structured, on standard error, because standard output belongs to data.

use std::{env, error::Error, io, iter};

use opentelemetry_sdk::trace::SdkTracer;
use tracing::{Event, Level, Subscriber};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::filter_fn,
    fmt::MakeWriter,
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use super::{
    json::{TraceIds, WithTrace},
    panics,
};
use crate::{metrics::catalogue::process::LOG_LINES, trace};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    #[default]
    Text,
    /// One JSON object per line, for collectors.
    Json,
}

/// Variables that may hold the filter (`info,hashmesh_queue=debug`), the first one that is set wins.
const FILTER_VARIABLES: [&str; 2] = ["HASHMESH_LOG", "RUST_LOG"];
const DEFAULT_FILTER: &str = "info";
/// Comes before every filter, which may say otherwise: h2 warns of each connection that it ends because of what its peer
/// sends, so that any peer could fill the disk. We log the end of such a connection ourselves, for who asks for it.
const QUIET: &str = "h2=error";

/// An error with its causes, for one field of a log line: formats for collectors show the outermost only. What a cause
/// repeats is left out.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let causes = iter::successors(error.source(), |cause| (*cause).source()).map(ToString::to_string);
    causes.fold(error.to_string(), |text, cause| if text.contains(&cause) { text } else { format!("{text}: {cause}") })
}

/// Starts logging to standard error, panics included, and has the spans of calls that are sampled made by `tracer`. Once
/// per process; later calls do nothing.
pub(super) fn init(format: LogFormat, tracer: Option<SdkTracer>) {
    let (filter, complaint) = filter();
    let lines = match format {
        LogFormat::Text => {
            let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
            lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).boxed()
        }
        LogFormat::Json => json_lines(io::stderr).boxed(),
    };
    // Each with a filter of its own: spans are exported whatever is logged.
    let exported = tracer.map(|tracer| {
        let spans = OpenTelemetryLayer::new(tracer).with_location(false).with_threads(false).with_target(false);
        spans.with_tracked_inactivity(false).with_filter(filter_fn(|metadata| {
            // What is logged within an exported span is an event of it.
            metadata.target() == trace::TARGET || (metadata.is_event() && *metadata.level() <= Level::INFO)
        }))
    });
    let subscriber = tracing_subscriber::registry().with(lines.and_then(Counted).with_filter(filter)).with(exported);
    if subscriber.try_init().is_err() {
        return;
    }
    if let Some(complaint) = complaint {
        tracing::warn!("{complaint}");
    }
    panics::log();
}

/// A document per line: its own fields, those of the spans that it is within, and of these the trace at the top.
pub(super) fn json_lines<S, W>(writer: W) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).json().flatten_event(true);
    TraceIds.and_then(lines.map_event_format(WithTrace))
}

/// Counts lines.
struct Counted;

impl<S: Subscriber> Layer<S> for Counted {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        LOG_LINES.add(1, &[level]);
    }
}

/// The filter, and what was wrong with the variable that should have held it.
fn filter() -> (EnvFilter, Option<String>) {
    let found = FILTER_VARIABLES.iter().find_map(|name| Some((name, env::var(name).ok()?)));
    let Some((name, directives)) = found else {
        return (EnvFilter::new(format!("{QUIET},{DEFAULT_FILTER}")), None);
    };
    match EnvFilter::try_new(format!("{QUIET},{directives}")) {
        Ok(filter) => (filter, None),
        Err(error) => {
            let complaint = format!("{name} is not a log filter, using \"{DEFAULT_FILTER}\": {error}");
            (EnvFilter::new(format!("{QUIET},{DEFAULT_FILTER}")), Some(complaint))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_has_every_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("{text}")]
        struct Layer {
            text: &'static str,
            source: Option<Box<Layer>>,
        }
        let layer = |text, source| Box::new(Layer { text, source });
        let error = layer("no stream", Some(layer("stream", Some(layer("refused", None)))));
        assert_eq!(chain(&*error), "no stream: refused");
    }
}
