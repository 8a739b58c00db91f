//! A response's body that tells the breaker how the call ended.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

use super::{handle::Attempt, service::Judge};

pin_project_lite::pin_project! {
    /// The headers have said that there is an answer; what comes after may say that it is none.
    pub(super) struct Watched<B> {
        #[pin]
        inner: B,
        attempt: Attempt,
        judge: Judge,
        trailers: bool,
    }
}

impl<B> Watched<B> {
    pub(super) fn new(inner: B, attempt: Attempt, judge: Judge) -> Self {
        Self { inner, attempt, judge, trailers: false }
    }
}

impl<B: Body<Data = Bytes>> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    *this.trailers = true;
                    if Status::from_header_map(trailers).is_some_and(|status| (this.judge.failed)(&status)) {
                        this.attempt.failed();
                    }
                }
            }
            Some(Err(_)) => this.attempt.failed(),
            // Without trailers it ended in its middle.
            None if !*this.trailers => this.attempt.failed(),
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        // Asked for the trailers even where the data is over.
        self.trailers && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
