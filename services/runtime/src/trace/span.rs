//! A piece of work with a beginning and an end.

use std::{
    borrow::Cow,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

pub use opentelemetry::trace::SpanKind;
use opentelemetry::{
    InstrumentationScope, KeyValue, Value,
    trace::{Link, SpanId, Status},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::TraceContext;
use crate::metrics::catalogue::process::SPANS_DROPPED;

/// Of traces that are not sampled: enough to see what fails, and no flood when everything does.
pub(super) const KEPT_ERRORS_PER_SECOND: u64 = 100;

/// Where finished spans go.
static OUTPUT: OnceLock<Connection> = OnceLock::new();

/// Takes finished spans, and never waits.
pub(crate) type Output = Arc<dyn Fn(SpanData) + Send + Sync>;

struct Connection {
    output: Output,
    /// Of traces that begin here, how many are sampled: 0 to 1.
    ratio: f64,
    closed: AtomicBool,
    scope: InstrumentationScope,
    kept: KeptErrors,
}

/// From now on spans are exported.
pub(crate) fn connect(output: Output, ratio: f64) {
    let scope = InstrumentationScope::builder("hashmesh").with_version(env!("CARGO_PKG_VERSION")).build();
    let closed = AtomicBool::new(false);
    let _ = OUTPUT.set(Connection { output, ratio, closed, scope, kept: KeptErrors::default() });
}

/// From now on they are not.
pub(crate) fn disconnect() {
    if let Some(connection) = OUTPUT.get() {
        connection.closed.store(true, Ordering::Relaxed);
    }
}

fn connection() -> Option<&'static Connection> {
    OUTPUT.get().filter(|connection| !connection.closed.load(Ordering::Relaxed))
}

/// Whether what follows `parent` is sampled; where there is none, whether the trace that begins here is.
pub(crate) fn sampled(parent: Option<TraceContext>) -> bool {
    let Some(connection) = connection() else { return false };
    parent.map_or_else(|| rand::random::<f64>() < connection.ratio, TraceContext::sampled)
}

/// A piece of work under way. It ends when it is dropped.
///
/// Where this process exports no spans, all it does is to pass on its parent.
#[derive(Debug)]
#[must_use = "a span ends when it is dropped"]
pub struct Span {
    work: Option<Box<Work>>,
    /// Where there is no work.
    passed_on: Option<TraceContext>,
}

#[derive(Debug)]
struct Work {
    context: TraceContext,
    parent: Option<TraceContext>,
    remote_parent: bool,
    name: Cow<'static, str>,
    kind: SpanKind,
    began: SystemTime,
    attributes: Vec<KeyValue>,
    links: Vec<TraceContext>,
    failure: Option<Cow<'static, str>>,
}

impl Span {
    /// Work that `parent` caused, within its trace. Without a parent a trace begins, which is sampled or not.
    pub fn child(parent: Option<TraceContext>, name: impl Into<Cow<'static, str>>, kind: SpanKind) -> Self {
        Self::new(parent, sampled(parent), name.into(), kind)
    }

    /// Work on what `cause` has left in a queue, perhaps long ago: a trace of its own, linked to that. It is sampled if the
    /// other is.
    pub fn linked(cause: Option<TraceContext>, name: impl Into<Cow<'static, str>>, kind: SpanKind) -> Self {
        let Some(cause) = cause else { return Self { work: None, passed_on: None } };
        let mut span = Self::new(None, cause.sampled, name.into(), kind);
        span.link(Some(cause));
        span
    }

    fn new(parent: Option<TraceContext>, sampled: bool, name: Cow<'static, str>, kind: SpanKind) -> Self {
        if connection().is_none() {
            return Self { work: None, passed_on: parent };
        }
        let trace_id = parent.map_or_else(|| rand::random::<u128>().max(1).to_be_bytes(), |parent| parent.trace_id);
        let span_id = rand::random::<u64>().max(1).to_be_bytes();
        let work = Work {
            context: TraceContext { trace_id, span_id, sampled },
            parent,
            remote_parent: false,
            name,
            kind,
            began: SystemTime::now(),
            attributes: Vec::new(),
            links: Vec::new(),
            failure: None,
        };
        Self { work: Some(Box::new(work)), passed_on: None }
    }

    /// What caused it was told by another process.
    pub fn from_afar(mut self) -> Self {
        if let Some(work) = &mut self.work {
            work.remote_parent = work.parent.is_some();
        }
        self
    }

    /// Decided elsewhere: its trace, if it begins here, is not sampled.
    pub(crate) fn unsampled(&mut self) {
        if let Some(work) = &mut self.work {
            work.context.sampled = false;
        }
    }

    /// It began earlier than now.
    pub fn since(mut self, began: SystemTime) -> Self {
        if let Some(work) = &mut self.work {
            work.began = began;
        }
        self
    }

    /// It began so long ago.
    pub fn ago(self, elapsed: Duration) -> Self {
        let now = SystemTime::now();
        self.since(now.checked_sub(elapsed).unwrap_or(now))
    }

    /// What work that it causes is told.
    #[must_use]
    pub fn context(&self) -> Option<TraceContext> {
        self.work.as_ref().map_or(self.passed_on, |work| Some(work.context))
    }

    /// Whether what is said of it may be exported: worth computing attributes for.
    #[must_use]
    pub fn sampled(&self) -> bool {
        self.work.as_ref().is_some_and(|work| work.context.sampled)
    }

    /// Says something of it: names are those of OpenTelemetry's semantic conventions where these have one, else
    /// `hashmesh.…`. No payload, no secret, no client's text.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(work) = &mut self.work {
            work.attributes.push(KeyValue::new(name, value));
        }
    }

    /// Names something else that has caused it.
    pub fn link(&mut self, cause: Option<TraceContext>) {
        if let (Some(work), Some(cause)) = (&mut self.work, cause) {
            work.links.push(cause);
        }
    }

    /// It failed: it is exported even if its trace is not sampled.
    pub fn fail(&mut self, why: impl Into<Cow<'static, str>>) {
        if let Some(work) = &mut self.work {
            work.failure = Some(why.into());
        }
    }

    /// Ends it now.
    pub fn end(self) {
        drop(self);
    }

    /// Forgets it: it was no work after all.
    pub fn forget(mut self) {
        self.work = None;
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let (Some(work), Some(connection)) = (self.work.take(), connection()) else { return };
        if !work.context.sampled {
            if work.failure.is_none() {
                return;
            }
            if !connection.kept.take(SystemTime::now()) {
                SPANS_DROPPED.add(1, &["too_many_errors"]);
                return;
            }
        }
        (connection.output)(work.into_data(&connection.scope));
    }
}

impl Work {
    fn into_data(self, scope: &InstrumentationScope) -> SpanData {
        // Exporters leave out what is not sampled; what gets here is to be sent.
        let context = TraceContext { sampled: true, ..self.context };
        let link = |cause: TraceContext| Link::new(cause.to_otel(true), Vec::new(), 0);
        let mut links = SpanLinks::default();
        links.links = self.links.into_iter().map(link).collect();
        SpanData {
            span_context: context.to_otel(false),
            parent_span_id: self.parent.map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.span_id)),
            parent_span_is_remote: self.remote_parent,
            span_kind: self.kind,
            name: self.name,
            start_time: self.began,
            end_time: SystemTime::now().max(self.began),
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links,
            status: self.failure.map_or(Status::Unset, |why| Status::Error { description: why }),
            instrumentation_scope: scope.clone(),
        }
    }
}

/// Counts failures of traces that are not sampled, second by second.
#[derive(Debug, Default)]
struct KeptErrors {
    second: AtomicU64,
    kept: AtomicU64,
}

impl KeptErrors {
    /// Whether one more may be kept. Where two threads meet at a second's turn, a few more are.
    fn take(&self, now: SystemTime) -> bool {
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.kept.store(0, Ordering::Relaxed);
        }
        self.kept.fetch_add(1, Ordering::Relaxed) < KEPT_ERRORS_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_outside_of_samples_are_kept_up_to_a_rate() {
        let kept = KeptErrors::default();
        let at = |second| UNIX_EPOCH + Duration::from_secs(second);
        let of_second = |second| (0..150).filter(|_| kept.take(at(second))).count() as u64;
        assert_eq!(of_second(7), KEPT_ERRORS_PER_SECOND);
        assert_eq!(of_second(8), KEPT_ERRORS_PER_SECOND);
    }

    #[test]
    fn without_an_exporter_a_span_passes_its_parent_on() {
        // No test of this crate connects one.
        let parent = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let span = Span::child(parent, "test", SpanKind::Internal);
        assert_eq!(span.context(), parent);
        assert!(!span.sampled());
        assert_eq!(Span::linked(parent, "test", SpanKind::Consumer).context(), None);
        assert_eq!(Span::child(None, "test", SpanKind::Internal).context(), None);
    }
}
