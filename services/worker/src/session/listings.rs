//! Listings that the queue asks for on this stream. They end with it: whoever is asked next goes on from the same cursor.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt as _;
use hashmesh::queue::v1::{ListSource, SourcePage, lease_tasks_request::Frame};
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
            let number = question.question;
            // Nothing that it leaves behind is used again.
            let page = AssertUnwindSafe(list(&sources, question)).catch_unwind().await.unwrap_or_else(|_| {
                tracing::error!("listing a source panicked");
                let failure = Some(Failure::panicked().into_attempt(0));
                SourcePage { question: number, failure, ..SourcePage::default() }
            });
            // If the stream is over, the queue asks another.
            let _ = outbox.send(Frame::Page(page)).await;
        });
        Ok(())
    }
}
