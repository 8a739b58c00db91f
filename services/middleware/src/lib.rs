//! Layers that calls pass. Each is a policy, which is told the time and does no I/O, and a tower service around it. Nothing
//! here knows of hashmesh: what counts as a failure, and what a refused caller is told, is said by whoever mounts it.

pub mod breaker;
pub mod concurrency;
pub mod deadline;
pub mod rate_limit;
mod ready;
pub mod retry;

pub use ready::take_ready;
