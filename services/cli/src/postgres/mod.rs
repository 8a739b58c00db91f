//! A private PostgreSQL below a data directory: found or downloaded, initialised, started, watched, stopped, never deleted.
//!
//! ```text
//! DATA_DIR/postgres/       the cluster (PGDATA), owned by the user that Postgres runs as
//! DATA_DIR/postgres.json   port and password, 0600
//! DATA_DIR/postgres.log    what Postgres says; above 16 MiB it becomes postgres.log.1 at the next start
//! ```
//!
//! It listens on 127.0.0.1 only, asks for a password (SCRAM), and has no Unix socket: a socket's path may have 107 bytes
//! only, which a data directory need not respect, and loopback TCP is not measurably slower (LIMITS).

mod access;
mod binaries;
mod cluster;
mod orphan;
mod owner;
mod server;
mod settings;

pub(crate) use access::write_private;
pub(crate) use cluster::{Cluster, ClusterConfig};
pub(crate) use owner::Owner;
pub(crate) use server::Postgres;
