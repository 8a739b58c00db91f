//! The store against a real Postgres: a cluster per test process, a database per test.

mod cluster;
mod commit;
mod elision;
mod fixture;
mod owners;
mod partitions;
mod previous;
mod random;
mod reading;
mod replicas;
mod retention;
mod standby;
mod takeover;
mod traces;
mod view;
