//! Manifests: which name has which digest, byte for byte as coreutils writes and reads them.

mod escape;
mod read;
mod write;

pub(super) use escape::escape;
pub(super) use read::{Entry, Hints, ReadError, parse};
pub(super) use write::{write_line, write_tagged};
