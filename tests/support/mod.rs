//! What the tests stand on: real processes of the built command, a real Postgres, and ways to wait for facts.
//!
//! Everything of a run lives below one directory, [`rundir`], which goes away with the run, however it ends; so do the
//! processes, which die with us. Nothing sleeps to let something happen: [`wait::until`] asks until it has.

pub(crate) mod any_rpc;
pub(crate) mod authority;
pub(crate) mod black_hole;
pub(crate) mod calls;
pub(crate) mod cli;
pub(crate) mod collector;
pub(crate) mod database;
pub(crate) mod disk;
pub(crate) mod dns;
pub(crate) mod edge;
pub(crate) mod envoy;
pub(crate) mod guarded;
pub(crate) mod heavy;
pub(crate) mod mesh;
pub(crate) mod oracle;
pub(crate) mod panics;
pub(crate) mod peer;
pub(crate) mod pgbouncer;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod prometheus;
pub(crate) mod proxy;
pub(crate) mod raw;
pub(crate) mod redis;
pub(crate) mod redis_cluster;
pub(crate) mod reflect;
pub(crate) mod rundir;
pub(crate) mod s3;
pub(crate) mod scripted_web;
pub(crate) mod scripted_worker;
pub(crate) mod sentinel;
pub(crate) mod shared;
pub(crate) mod standby;
pub(crate) mod tree;
pub(crate) mod up;
pub(crate) mod wait;
pub(crate) mod wire;

pub(crate) use database::Database;
pub(crate) use guarded::Guarded;
pub(crate) use mesh::{Mesh, MeshOptions, Role};
pub(crate) use raw::{Gateway, SubmitStream};
pub(crate) use up::Up;
