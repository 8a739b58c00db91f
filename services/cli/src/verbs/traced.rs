//! The spans of a verb: one for all of it, one for each batch that it sends, one for each frame of outcomes that it gets.
//!
//! The verb's own is the context that it runs within ([`trace::current`]). Where nothing is exported, that is the `TRACEPARENT`
//! of the environment, by which scripts and build systems say what a command belongs to; then it is all that is passed on.

use hashmesh::{
    client::{BatchTrace, Client},
    v1::PackedTasks,
};
use hashmesh_runtime::trace::{self, Span, SpanKind, TraceContext};

use super::{Verb, failure::Failure, output::Format, reporter::Reporter};

/// What causes commands, by convention.
const VARIABLE: &str = "TRACEPARENT";

/// A verb under way.
#[derive(Debug)]
pub(super) struct Root {
    span: Option<Span>,
    context: Option<TraceContext>,
}

impl Root {
    /// Begins, within what the environment says.
    pub(super) fn begin(verb: &Verb) -> Self {
        let parent = std::env::var(VARIABLE).ok().and_then(|text| TraceContext::parse(&text));
        Self::within(parent, name(verb))
    }

    fn within(parent: Option<TraceContext>, name: Option<&'static str>) -> Self {
        let span = name.map(|name| Span::child(parent, name, SpanKind::Client).from_afar());
        let context = span.as_ref().map_or(parent, Span::context);
        Self { span, context }
    }

    /// What the verb does its work within.
    pub(super) fn context(&self) -> Option<TraceContext> {
        self.context
    }

    /// Ends with the exit code. A task that failed is no failure of the command, which has said so.
    pub(super) fn end(mut self, done: &Result<u8, Failure>) {
        let Some(span) = &mut self.span else { return };
        let code = done.as_ref().map_or_else(Failure::exit_code, |code| *code);
        span.set("process.exit.code", i64::from(code));
        if done.is_err() {
            span.fail(format!("exit code {code}"));
        }
    }
}

/// Verbs that do one thing and end. The others watch, or measure: what they ask for would be one endless trace.
fn name(verb: &Verb) -> Option<&'static str> {
    Some(match verb {
        Verb::Submit(_) => "hashmesh submit",
        Verb::Upload(_) => "hashmesh upload",
        Verb::Verify(_) => "hashmesh verify",
        Verb::Compare(_) => "hashmesh compare",
        Verb::Results(_) => "hashmesh results",
        Verb::Get(_) => "hashmesh get",
        Verb::List(_) => "hashmesh list",
        Verb::Cancel(_) => "hashmesh cancel",
        Verb::Retry(_) => "hashmesh retry",
        Verb::Schedule(_) => "hashmesh schedule",
        Verb::Changes(_) => "hashmesh changes",
        _ => return None,
    })
}

/// A client whose calls belong to the verb.
pub(super) fn client(client: Client) -> Client {
    match trace::current() {
        Some(verb) => client.traced(&verb.to_string()),
        None => client,
    }
}

/// A batch that is sent now: until it is stored.
pub(super) fn batch(submission_id: &str, sequence: u32, tasks: &PackedTasks) -> Option<BatchTrace> {
    let verb = trace::current()?;
    let mut span = Span::child(Some(verb), "submit batch", SpanKind::Producer);
    span.set("hashmesh.submission_id", submission_id.to_owned());
    span.set("hashmesh.sequence", i64::from(sequence));
    span.set("messaging.batch.message_count", i64::try_from(tasks.lengths.len()).unwrap_or(i64::MAX));
    let context = span.context()?;
    Some(BatchTrace::new(context.to_string(), span))
}

/// Outcomes that came from these: until they are printed. `None`: they are not traced, or the verb is not.
pub(super) fn received(traceparents: &[String]) -> Option<Span> {
    let verb = trace::current().filter(|_| !traceparents.is_empty())?;
    let mut span = Span::child(Some(verb), "receive results", SpanKind::Consumer);
    traceparents.iter().for_each(|cause| span.link(TraceContext::parse(cause)));
    Some(span)
}

/// Says what to look for, where somebody reads it and there is something to find.
pub(super) fn tell(reporter: &Reporter, format: Format) {
    if let Some(context) = trace::current().filter(|context| context.sampled())
        && format == Format::Text
    {
        reporter.inform(&format!("trace {}", context.trace_id()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[tokio::test]
    async fn where_nothing_is_exported_what_the_environment_says_is_passed_on_unchanged() {
        // No test of this crate connects an exporter.
        let given = TraceContext::parse(GIVEN);
        for name in [Some("hashmesh submit"), None] {
            let root = Root::within(given, name);
            assert_eq!(root.context(), given);
            let passed_on = async { format!("{:?}", batch("id", 0, &PackedTasks::default())) };
            assert!(trace::within(root.context(), passed_on).await.contains(GIVEN));
            root.end(&Ok(0));
        }
        let root = Root::within(None, Some("hashmesh submit"));
        let nothing =
            async { batch("id", 0, &PackedTasks::default()).is_none() && received(&[GIVEN.to_owned()]).is_none() };
        assert!(trace::within(root.context(), nothing).await);
    }
}
