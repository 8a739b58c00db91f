//! Listings that the queue asks for on this stream. They end with it: whoever is asked next goes on from the same cursor.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt as _;
use hashmesh::queue::v1::{ListSource, SourcePage, lease_tasks_request::Frame};
use hashmesh_runtime::trace::{self, Span, SpanKind, TraceContext};
use tokio::task::JoinSet;

use super::SessionError;
use crate::{
    outbox::Outbox,
    sources::{Failure, Sources, list},
};

/// More questions at once are none of a queue that keeps to the protocol: it asks four.
const MOST: usize = 16;

/// Answers on their way.
#[derive(Debug)]
pub(super) struct Listings {
    sources: Arc<Sources>,
    answers: JoinSet<()>,
}

impl Listings {
    pub(super) fn new(sources: Arc<Sources>) -> Self {
        Self { sources, answers: JoinSet::new() }
    }

    /// Begins to answer a question.
    pub(super) fn begin(&mut self, question: ListSource, outbox: &Outbox) -> Result<(), SessionError> {
        while self.answers.try_join_next().is_some() {}
        if self.answers.len() >= MOST {
            return Err(SessionError::Protocol(format!("more than {MOST} questions at once")));
        }
        let (sources, outbox) = (Arc::clone(&self.sources), outbox.clone());
        self.answers.spawn(async move {
            let page = answer(&sources, question).await;
            // If the stream is over, the queue asks another.
            let _ = outbox.send(Frame::Page(page)).await;
        });
        Ok(())
    }
}

/// The page, whose batch comes from the span of having listed it.
async fn answer(sources: &Arc<Sources>, question: ListSource) -> SourcePage {
    let (number, cause) = (question.question, TraceContext::parse(&question.traceparent));
    let mut span = page_span(cause);
    // Who exports nothing passes on what it was told.
    let context = span.context().or(cause);
    let listing = trace::within(context, list(sources, question));
    // Nothing that it leaves behind is used again.
    let mut page = AssertUnwindSafe(listing).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!("listing a source panicked");
        // A source that cannot be read is its owner's matter; this is ours.
        span.fail("listing a source panicked");
        let failure = Some(Failure::panicked().into_attempt(0));
        SourcePage { question: number, failure, ..SourcePage::default() }
    });
    if span.sampled() {
        describe(&mut span, &page);
    }
    if let (Some(batch), Some(context)) = (&mut page.batch, context) {
        batch.traceparent = context.to_string();
    }
    page
}

/// A trace of its own, as a listing has many pages: linked to what caused it, or else one that begins here.
fn page_span(cause: Option<TraceContext>) -> Span {
    match cause {
        Some(_) => Span::linked(cause, "worker list", SpanKind::Consumer),
        None => Span::child(None, "worker list", SpanKind::Consumer),
    }
}

fn describe(span: &mut Span, page: &SourcePage) {
    let tasks = page.batch.as_ref().map_or(0, |batch| batch.task_count);
    span.set("messaging.system", "hashmesh");
    span.set("messaging.operation.type", "process");
    span.set("messaging.batch.message_count", i64::from(tasks));
    span.set("hashmesh.last_page", page.end);
    if let Some(error) = page.failure.as_ref().and_then(|failure| failure.error.as_ref()) {
        span.set("error.type", error.reason.clone());
    }
}
