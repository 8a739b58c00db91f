//! What is told of each call that is answered or made: its trace, and how it ended.
//!
//! - [`answered`]: the layer of servers.
//! - [`made`]: the layer of channels.
//! - [`end`]: how a call ends, which a gRPC answer says last.
//!
//! A unary call has a span; a stream has none, because it would be exported hours later: its frames have.

pub(crate) mod answered;
mod end;
pub(crate) mod made;
mod methods;
#[cfg(test)]
mod tests;

pub use end::{code_name, servers_fault};
pub(crate) use methods::{DESCRIPTOR_SETS, Method, methods};
