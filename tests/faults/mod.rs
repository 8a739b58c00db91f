//! Faults: each happens to a whole mesh of processes under load, once, and must lose, repeat and make up nothing (promises 1 to
//! 6, 9). [`matrix`] is how each is tried, [`stage`] the mesh, [`load`] what goes on meanwhile, [`judge`] what must be true of
//! the tables afterwards; the others are the faults. Each asserts that it has hit.
//!
//! `make faults` runs all of them in full; what is not ignored runs with `make test`, in a short version.

mod clock;
mod commit;
mod database;
mod disk;
#[cfg(feature = "mutants")]
mod failpoints;
mod judge;
mod links;
mod load;
mod matrix;
mod rescue;
mod roles;
mod stage;
