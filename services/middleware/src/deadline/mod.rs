//! The deadline of a call: the `grpc-timeout` that its client sent, and the longest that the method may take.
//!
//! - [`policy`]: what a client asked for, and what it gets.
//! - [`service`]: the tower layer in front of a server's methods. It bounds the whole call: the request's body as well, which
//!   a client may send a byte at a time, and not the handler alone.
//! - `body`: the response's body, which a client may never read. Nobody asks for its next part then, so it ends by itself.
//!
//! A call that is too late is answered DEADLINE_EXCEEDED. tonic's own layer would end at the response's headers and answer
//! CANCELLED, which by gRPC is what a client says and not a server. Unary calls without a `grpc-timeout` get the longest
//! time of their method. Streams get none: they live as long as their peers answer pings, unless their client said
//! otherwise.
//!
//! What a handler puts among the extensions of its response is held until the response was read or is given up, such as the
//! permit for the memory that it takes.
//!
//! Handlers find their [`Deadline`] among the request's extensions, to tell those they ask how much time is left.

mod body;
mod policy;
mod service;
#[cfg(test)]
mod tests;

pub use policy::{Deadline, Limits, Longest};
pub use service::{DeadlineLayer, DeadlineService};
