//! The Gateway: the public API, stateless.
//!
//! It validates what clients send, holds them to their windows, turns rows into columns and back, and passes everything
//! on to the Queue (what is durable) and to Hash (what is not). A Gateway that dies loses nothing: whatever it had not
//! acknowledged, the client sends again.
//!
//! A request's way: `auth` (who calls, and whether they may) → `limits` (how often) → `service` (the RPCs, delegating) → `unary`, `submit`, `results`, `digest`, `upload` (one family each) →
//! `validate` and `batch` (what is let through) → `upstream` (where it goes).

mod admin;
mod admission;
mod auth;
mod batch;
mod cache;
mod call;
mod config;
mod controls;
mod deadline;
mod detail;
mod digest;
mod ending;
mod error;
mod frames;
mod heavy;
mod limits;
mod metering;
mod outbound;
mod pings;
mod readiness;
mod reads;
mod results;
mod schedules;
mod serve;
mod service;
mod shed;
mod spans;
mod stats;
mod submit;
mod submit_batch;
mod unary;
mod upload;
mod upstream;
mod validate;
mod watch;

pub use auth::Auth;
pub use config::{GatewayConfig, RateLimits};
pub use error::GatewayError;
pub use serve::serve;
pub use upload::UploadConfig;

#[cfg(test)]
mod tests;
