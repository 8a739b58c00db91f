//! Digests of very many files, told in the order in which they were named, whatever is done first.
//!
//! - [`run`]: neighbouring entries, which one thread takes at once, and what became of each.
//! - [`board`]: what there is to do and what is done, shared by all threads; runs are told in order, and so many at most
//!   are under way that memory does not grow with the number of entries.
//! - [`crew`]: the threads. Each takes runs, reads their small files and digests them in one call, and leaves large ones to
//!   whoever is free.
//! - [`buffer`]: what is read to, and [`inputs`]: small inputs in one; also for the Worker.
//! - [`disk`]: reading what is in memory, and asking for the rest, also for the Worker.
//! - [`side_by_side`]: several large inputs that are digested as they are read; [`ahead`]: one, that other threads digest
//!   while it is read. Also for the Worker.
//! - [`open`]: opening files. [`small`]: reading one that is small. [`large`]: large ones, and streams.

mod ahead;
mod board;
mod buffer;
mod crew;
mod disk;
mod inputs;
mod large;
mod open;
mod run;
mod side_by_side;
mod small;

#[cfg(test)]
mod tests;

pub use self::{
    ahead::{Help, Helpers},
    buffer::Buffer,
    crew::digest_files,
    disk::{Foresight, ask_disk, must_wait, read_now},
    inputs::SmallInputs,
    run::{Entry, Input},
    side_by_side::{LargeInput, SideBySide},
};
