//! How every hashmesh process starts, serves and stops.
//!
//! A role builds a [`server::GrpcServer`] out of its services and a [`health::Health`], binds a listener, and serves
//! until its [`shutdown::Shutdown`] begins. Health and reflection are mounted by the builder that mounts the services,
//! so that they cannot drift from them.

pub mod admin;
pub mod channel;
pub mod envoy;
pub mod flights;
pub mod health;
pub mod metrics;
pub mod probe;
pub mod resources;
pub mod server;
pub mod shutdown;
pub mod tasks;
pub mod telemetry;
pub mod tls;
pub mod trace;

mod accept;
mod breakers;
mod calls;
mod places;
