//! The bridge between a client's stream and a scripted Queue, over real connections.

mod fake_queue;
mod mesh;
mod sharded;
mod submit;
mod trace;
mod unary;
mod watch;
