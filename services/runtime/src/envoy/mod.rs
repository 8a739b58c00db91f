//! What the Envoy in front says of us: which Gateways it knows, how it chooses among them, who is left out. Read from its admin
//! interface, which is a socket file that is shared with whoever may read it.

mod admin;
mod stats;

pub use admin::EnvoyError;
pub use stats::{Ejections, Endpoint, LbStats, Policy, Requests, UnknownPolicy, lb_stats};

/// The cluster of the Gateways, in `envoy/lb/`.
const CLUSTER: &str = "gateway";
