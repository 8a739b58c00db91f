//! Logs: structured, on standard error, because standard output belongs to data.

use std::{env, error::Error, io, iter, panic};

use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

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

/// Starts logging to standard error, panics included. Once per process; later calls do nothing.
pub fn init(format: LogFormat) {
    let (filter, complaint) = filter();
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_err() {
        return;
    }
    if let Some(complaint) = complaint {
        tracing::warn!("{complaint}");
    }
    log_panics();
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

/// Panics become events with the span they happened in, in the format that a collector expects.
fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        let message = info.payload_as_str().unwrap_or("a panic without a text");
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(panic = message, location, %backtrace, "panicked");
    }));
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
