//! The layer.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::{sync::Notify, time::Instant};
use tonic::{Status, body::Body, server::NamedService};
use tower::{Layer, Service};

use super::policy::{ConcurrencyConfig, Policy};
use crate::ready::take_ready;

/// A call that waits for a place is refused after this long: its caller is better off elsewhere, or later.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// What whoever mounts the layer knows and it does not.
pub trait Gate: Clone + Send + Sync + 'static {
    /// Whose place a call takes. `None`: it needs none.
    fn caller(&self, call: &Parts) -> Option<Arc<str>>;
    /// True for a status that tells of a service behind that takes no more.
    fn overloaded(&self, status: &Status) -> bool;
    /// What a refused caller is told.
    fn refused(&self) -> Status;
}

/// The places of one process. Clones share them.
#[derive(Clone, Debug)]
pub struct Concurrency {
    made: Instant,
    policy: Arc<Mutex<Policy>>,
    /// Told of every place that is given back.
    freed: Arc<Notify>,
}

impl Concurrency {
    /// All free.
    #[must_use]
    pub fn new(config: ConcurrencyConfig) -> Self {
        Self { made: Instant::now(), policy: Arc::new(Mutex::new(Policy::new(config))), freed: Arc::default() }
    }

    /// Calls under way, and how many there may be now.
    #[must_use]
    pub fn usage(&self) -> (usize, usize) {
        let policy = self.policy();
        (policy.taken(), policy.places())
    }

    fn enter(&self, caller: &Arc<str>) -> Option<Place> {
        let caller = self.policy().admit(self.made.elapsed(), caller)?;
        Some(Place { concurrency: self.clone(), caller, overloaded: false })
    }

    /// Who may wait for a place, does. `None`: there are as many already.
    fn queue(&self) -> Option<Waiter> {
        self.policy().wait().then(|| Waiter { concurrency: self.clone() })
    }

    fn policy(&self) -> MutexGuard<'_, Policy> {
        // No code panics while it holds the lock.
        self.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that waits for a place, until this is dropped.
struct Waiter {
    concurrency: Concurrency,
}

impl Waiter {
    /// A place, in the order of those who wait. `None`: none became free in time.
    async fn place(self, caller: &Arc<str>) -> Option<Place> {
        let place = async {
            loop {
                self.concurrency.freed.notified().await;
                if let Some(place) = self.concurrency.enter(caller) {
                    return place;
                }
            }
        };
        tokio::time::timeout(LONGEST_WAIT, place).await.ok()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.concurrency.policy().waited();
    }
}

/// A call's place, given back when this is dropped.
struct Place {
    concurrency: Concurrency,
    caller: Arc<str>,
    overloaded: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        let now = self.concurrency.made.elapsed();
        self.concurrency.policy().release(now, &self.caller, self.overloaded);
        self.concurrency.freed.notify_one();
    }
}

/// Bounds the calls to services. Services with the same [`Concurrency`] share its places.
#[derive(Clone, Debug)]
pub struct ConcurrencyLayer<G> {
    concurrency: Concurrency,
    gate: G,
}

impl<G> ConcurrencyLayer<G> {
    /// With these places.
    pub fn new(concurrency: Concurrency, gate: G) -> Self {
        Self { concurrency, gate }
    }
}

impl<S, G: Clone> Layer<S> for ConcurrencyLayer<G> {
    type Service = ConcurrencyService<S, G>;

    fn layer(&self, inner: S) -> Self::Service {
        ConcurrencyService { inner, layer: self.clone() }
    }
}

/// A service with places.
#[derive(Clone, Debug)]
pub struct ConcurrencyService<S, G> {
    inner: S,
    layer: ConcurrencyLayer<G>,
}

impl<S: NamedService, G> NamedService for ConcurrencyService<S, G> {
    const NAME: &'static str = S::NAME;
}

impl<S, G> Service<Request<Body>> for ConcurrencyService<S, G>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    G: Gate,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let ConcurrencyLayer { concurrency, gate } = self.layer.clone();
        let (parts, body) = request.into_parts();
        let mut inner = take_ready(&mut self.inner);
        let Some(caller) = gate.caller(&parts) else {
            return Box::pin(inner.call(Request::from_parts(parts, body)));
        };
        let place = concurrency.enter(&caller);
        // Decided here, not when the future is first polled: what is refused waits for nothing.
        let waiter = if place.is_none() { concurrency.queue() } else { None };
        Box::pin(async move {
            let place = match waiter {
                Some(waiter) => waiter.place(&caller).await,
                None => place,
            };
            let Some(mut place) = place else { return Ok(gate.refused().into_http()) };
            let response = inner.call(Request::from_parts(parts, body)).await?;
            // Only where no message was sent is the status among the headers.
            if let Some(status) = Status::from_header_map(response.headers()) {
                place.overloaded = gate.overloaded(&status);
            }
            Ok(response.map(|inner| Body::new(Held { inner, place, gate })))
        })
    }
}

pin_project_lite::pin_project! {
    /// An answer's body, with the place of its call.
    struct Held<G> {
        #[pin]
        inner: Body,
        place: Place,
        gate: G,
    }
}

impl<G: Gate> HttpBody for Held<G> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(status) = frame.trailers_ref().and_then(Status::from_header_map)
        {
            this.place.overloaded = this.gate.overloaded(&status);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
