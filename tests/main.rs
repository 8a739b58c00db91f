//! Every test that needs the whole workspace or real servers, in one binary.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod adoption;
mod architecture;
mod attack;
mod backlog;
mod breaker;
mod cache;
mod cli;
mod coalescing;
mod compare;
mod edge;
mod end_to_end;
mod expansion;
mod faults;
mod graceful;
mod health_reflection;
mod history;
mod inventory;
mod kills;
mod limits;
mod manifests;
mod observability;
mod order;
mod ownership;
mod pgbouncer;
mod poison;
mod pressure;
mod protocol;
mod receipts;
mod redis_failover;
mod replicas;
mod retries;
mod rolling;
mod schedules;
mod sources;
mod sql;
mod sum;
mod support;
mod tls;
mod top;
mod traces;
mod upgrade;
mod uploads;
mod workers;
