//! A response's body that ends at the deadline, whether anybody reads it or not.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Extensions, HeaderMap};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, body::Body};

/// A frame of data at most: HTTP/2's own, by default. What is handed to the connection waits there for the client's window,
/// out of our reach, so it is handed over in parts that small.
const MAX_DATA_BYTES: usize = 16 * 1024;

/// The body. A client whose window stays closed does not let anybody ask for the next frame: so a timer of its own takes
/// away what is behind it.
#[derive(Debug)]
pub(super) struct Bounded {
    shared: Arc<Mutex<State>>,
    _timer: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    reader: Option<Waker>,
}

#[derive(Debug)]
enum Phase {
    /// The body, what is left of its last frame of data, and what is held for it.
    Open {
        body: Body,
        left: Bytes,
        _held: Extensions,
    },
    /// Its time is over, and the client is to be told.
    Exceeded,
    Told,
}

impl Bounded {
    /// The body until `end`, and as long what its handler put among the extensions of the response: permits for what it
    /// holds. One that has nothing to say is left as it is.
    pub(super) fn wrap(body: Body, held: Extensions, end: Instant, exceeded: fn() -> Status) -> Body {
        if body.is_end_stream() {
            return body;
        }
        let shared =
            Arc::new(Mutex::new(State { phase: Phase::Open { body, left: Bytes::new(), _held: held }, reader: None }));
        let timer = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                tokio::time::sleep_until(end).await;
                let (left, reader) = {
                    let mut state = lock(&shared);
                    (std::mem::replace(&mut state.phase, Phase::Exceeded), state.reader.take())
                };
                // Not under the lock: it may be a whole handler that ends here.
                drop(left);
                if let Some(reader) = reader {
                    reader.wake();
                }
            }
        });
        Body::new(BoundedBody { bounded: Self { shared, _timer: AbortOnDropHandle::new(timer) }, exceeded })
    }
}

fn lock(shared: &Mutex<State>) -> MutexGuard<'_, State> {
    // No code panics while it holds the lock but the body itself, which is then asked no more.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct BoundedBody {
    bounded: Bounded,
    exceeded: fn() -> Status,
}

impl http_body::Body for BoundedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut state = lock(&self.bounded.shared);
        let State { phase, reader } = &mut *state;
        match phase {
            Phase::Open { left, .. } if !left.is_empty() => Poll::Ready(Some(Ok(part_of(left)))),
            Phase::Open { body, left, .. } => match Pin::new(body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(match frame.into_data() {
                    Ok(data) => {
                        *left = data;
                        part_of(left)
                    }
                    Err(trailers) => trailers,
                }))),
                Poll::Ready(end) => Poll::Ready(end),
                Poll::Pending => {
                    *reader = Some(context.waker().clone());
                    Poll::Pending
                }
            },
            Phase::Exceeded => {
                *phase = Phase::Told;
                let mut trailers = HeaderMap::new();
                let told = (self.exceeded)().add_header(&mut trailers);
                Poll::Ready(Some(told.map(|()| Frame::trailers(trailers))))
            }
            Phase::Told => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &lock(&self.bounded.shared).phase {
            Phase::Open { body, left, .. } => left.is_empty() && body.is_end_stream(),
            Phase::Exceeded => false,
            Phase::Told => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

fn part_of(data: &mut Bytes) -> Frame<Bytes> {
    Frame::data(data.split_to(data.len().min(MAX_DATA_BYTES)))
}
