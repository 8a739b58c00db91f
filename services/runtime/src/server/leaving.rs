//! What a server says while it stops but still serves: time for those who send it calls to hear of it.
//!
//! A proxy hears of the health at its next check only, and opens calls until then; a server that closes its address at once
//! fails those. So it serves for a while after its health has turned, and says on each answer that it shall get no more.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Response};

use crate::{health::Health, shutdown::Shutdown};

/// Envoy takes whoever answers with it for unhealthy from then on, until a health check says otherwise.
const UNHEALTHY: HeaderName = HeaderName::from_static("x-envoy-immediate-health-check-fail");

/// Waits for the stop, turns the health, and gives `closing` once the delay is over.
pub(super) async fn leave(name: &str, health: &Health, shutdown: &Shutdown, delay: Duration, closing: &Shutdown) {
    shutdown.wait().await;
    health.stop("draining");
    if !delay.is_zero() {
        tracing::info!(server = name, ?delay, "leaving: no more calls are wanted");
        tokio::time::sleep(delay).await;
    }
    closing.begin();
}

/// Marks answers once the stop has begun.
pub(super) fn mark<B>(shutdown: &Shutdown, mut response: Response<B>) -> Response<B> {
    if shutdown.begun() {
        response.headers_mut().insert(UNHEALTHY, HeaderValue::from_static("true"));
    }
    response
}
