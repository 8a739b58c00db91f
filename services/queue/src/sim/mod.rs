//! The Queue in a simulated world: the real engine and the real core, with tables, time, workers, clients and readers that
//! one seed decides about. Each seed is a schedule; the same seed is the same schedule, event by event.
//!
//! - [`world`] has the time and the events; [`plan`] what a seed makes of it, [`chance`] and [`faults`] what goes wrong.
//! - [`owners`] drive engines through takeovers; [`commits`] carry their transactions; [`tables`] and [`reads`] are Postgres.
//! - [`workers`], [`sending`] and [`wire`] are the workers and their streams; [`clients`] and [`readers`] the other side.
//! - [`content`] is what they bring; [`check`] is what must hold of all this.
//!
//! What is modelled and not run: Postgres and its fence, gRPC, the Gateway, and the few lines of `rpc` that pass a tail on.
//!
//! A violation names its seed. `HASHMESH_SIM_SEED=… HASHMESH_SIM_SCHEDULES=1` runs that one again with its trace, and a line
//! in `simulation/regressions.txt` runs it with every test from then on.

mod chance;
mod check;
mod clients;
mod commits;
mod content;
mod faults;
#[cfg(feature = "mutants")]
mod mutants;
mod owners;
mod plan;
mod readers;
mod reads;
mod schedules;
mod sending;
mod tables;
mod tests;
mod wire;
mod workers;
mod world;
