//! The Gateway: the public API, stateless.
