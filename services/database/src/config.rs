//! What a process must know about its Postgres.

use std::{fmt, time::Duration};

/// How to reach Postgres, and how long to wait for what.
#[derive(Clone)]
pub struct DatabaseConfig {
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE?…`, or `postgres:///DATABASE?host=/DIRECTORY&user=USER` for a
    /// socket.
    ///
    /// `sslmode` is one of `disable`, `prefer` (the default, as in libpq; plain text over a network is logged),
    /// `require` (encrypted, anyone may answer), `verify-ca` and `verify-full` (the certificate is verified against the
    /// system's roots, or those in the PEM file that `sslrootcert` names; `verify-full` checks the host name too).
    /// As in libpq, `require` with `sslrootcert` means `verify-ca`.
    pub url: String,
    /// Where the pool's connections go instead: PgBouncer in transaction mode, say, in front of the same database. What needs
    /// a session of its own goes to `url`. Sessions behind it get no timeouts from us, because the next statement may run in
    /// another one: set `statement_timeout` and `lock_timeout` for the role.
    pub pool_url: Option<String>,
    /// Connections of the pool. 10 by default; at least 1.
    pub pool_max: u32,
    /// For a connection with all its handshakes. 5 s by default.
    pub connect_timeout: Duration,
    /// For each statement; zero is no limit. 30 s by default.
    pub statement_timeout: Duration,
    /// For each lock that a statement waits for; zero is no limit. 5 s by default.
    pub lock_timeout: Duration,
    /// For a free connection of the pool. 5 s by default.
    pub pool_wait: Duration,
    /// Serve though Postgres runs with `fsync`, `full_page_writes` or `synchronous_commit` off, so that accepted batches
    /// may be lost. For throw-away data only. Off by default.
    pub allow_unsafe_durability: bool,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: "postgres://localhost/postgres".to_owned(),
            pool_url: None,
            pool_max: 10,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(5),
            pool_wait: Duration::from_secs(5),
            allow_unsafe_durability: false,
        }
    }
}

impl fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseConfig")
            // It may hold a password.
            .field("url", &"…")
            .field("pool_max", &self.pool_max)
            .field("connect_timeout", &self.connect_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("lock_timeout", &self.lock_timeout)
            .field("pool_wait", &self.pool_wait)
            .field("allow_unsafe_durability", &self.allow_unsafe_durability)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_not_in_the_debug_text() {
        let config = DatabaseConfig { url: "postgres://u:secret@h/d".to_owned(), ..DatabaseConfig::default() };
        assert!(!format!("{config:?}").contains("secret"));
    }
}
