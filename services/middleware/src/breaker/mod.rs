//! A circuit breaker: calls to something that fails are answered at once, instead of waiting for it one after another and
//! keeping it from getting up again.
//!
//! - [`policy`]: when it trips, who may try, when it closes. A state machine that is told the time.
//! - [`service`]: the tower layer around a channel. It answers refused calls itself, in `call`, never by an error of
//!   `poll_ready`, which would tell the client to throw the channel away.
//! - `body`: what is learned of a call after its headers. A gRPC failure is HTTP 200 with the status in the trailers.
//!
//! Two signals trip it. Several failures in a row tell of something that is gone, within a few calls and whatever happened
//! before. A share of failures within a window, among enough calls, tells of something that works now and then. It stays
//! open for a time that doubles with each failed probe and is spread at random, so that many clients do not come back at
//! once. Then exactly one call is let through. What calls of before say does not count: neither does a late success close
//! it, nor a late failure open it again.

mod body;
mod handle;
mod policy;
mod service;
#[cfg(test)]
mod tests;

pub use handle::{Attempt, Breaker, BreakerStats, Open};
pub use policy::{BreakerConfig, BreakerState};
pub use service::{BreakerLayer, BreakerService, Judge};
