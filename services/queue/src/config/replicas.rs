//! Which replicas answer reads, from settings.

use std::time::Duration;

use hashmesh_database::{DatabaseConfig, DatabaseError, Replica};

/// Connections to each replica for reads. It has one more, which watches it.
const REPLICA_CONNECTIONS: u32 = 4;
/// A read that takes longer on a replica is repeated on the primary.
const REPLICA_STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// Reads wait as long for a replica that is behind.
const LONGEST_REPLICA_LAG: Duration = Duration::from_secs(10);

/// Which replicas answer reads, and when. None by default.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    pub(crate) replicas: Vec<Replica>,
    pub(crate) max_lag: Duration,
}

impl Default for ReplicaConfig {
    fn default() -> Self {
        Self { replicas: Vec::new(), max_lag: Self::DEFAULT_MAX_LAG }
    }
}

impl ReplicaConfig {
    /// Each is asked for its position once a second, and with every read that waits.
    pub const MAX_REPLICAS: usize = 5;
    /// What a read may wait unless it is told otherwise.
    pub const DEFAULT_MAX_LAG: Duration = Duration::from_millis(100);

    /// The replicas behind these URLs, up to [`Self::MAX_REPLICAS`] of one server each. None needs to be there yet.
    ///
    /// One that is further behind than `max_lag` is not read from; so a read waits at most this long for one.
    ///
    /// # Errors
    /// If a URL makes no sense or a server is named twice, there are too many, or `max_lag` is not above zero and at most
    /// 10 s.
    pub fn new(urls: &[String], max_lag: Duration) -> Result<Self, ReplicasRefused> {
        if urls.len() > Self::MAX_REPLICAS {
            return Err(ReplicasRefused::TooMany { found: urls.len() });
        }
        if max_lag.is_zero() || max_lag > LONGEST_REPLICA_LAG {
            return Err(ReplicasRefused::MaxLag { found: max_lag });
        }
        let mut replicas: Vec<Replica> = Vec::new();
        for (number, url) in (1..).zip(urls) {
            let config = DatabaseConfig {
                url: url.clone(),
                pool_max: REPLICA_CONNECTIONS,
                // A read that has to wait longer is better off at the primary.
                pool_wait: max_lag,
                statement_timeout: REPLICA_STATEMENT_TIMEOUT,
                lock_timeout: REPLICA_STATEMENT_TIMEOUT,
                ..DatabaseConfig::default()
            };
            let replica = Replica::new(&config).map_err(|source| ReplicasRefused::Url { number, source })?;
            if replicas.iter().any(|other| other.address() == replica.address()) {
                return Err(ReplicasRefused::Twice { number, address: replica.address() });
            }
            replicas.push(replica);
        }
        Ok(Self { replicas, max_lag })
    }
}

/// Why replicas cannot be read from as they are configured.
#[derive(Debug, thiserror::Error)]
pub enum ReplicasRefused {
    /// More than [`ReplicaConfig::MAX_REPLICAS`].
    #[error("replica_url: wanted up to {} replicas, found {found}: leave some out", ReplicaConfig::MAX_REPLICAS)]
    TooMany {
        /// How many there are.
        found: usize,
    },
    /// One that cannot be understood.
    #[error("replica_url: number {number} cannot be used")]
    Url {
        /// Which one, from 1.
        number: usize,
        /// What is wrong with it.
        #[source]
        source: DatabaseError,
    },
    /// One server twice.
    #[error("replica_url: number {number} is {address}, which is there already: name each replica once")]
    Twice {
        /// Which one, from 1.
        number: usize,
        /// Its address.
        address: String,
    },
    /// A lag that no read could wait for.
    #[error("replica_max_lag: wanted more than 0 and at most {LONGEST_REPLICA_LAG:?}, found {found:?}")]
    MaxLag {
        /// The lag.
        found: Duration,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(urls: &[&str], max_lag: Duration) -> Result<Vec<Replica>, String> {
        let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
        ReplicaConfig::new(&urls, max_lag).map(|config| config.replicas).map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            format!("{error}: {cause}")
        })
    }

    #[tokio::test]
    async fn replicas_that_cannot_be_read_from_are_refused_by_field_and_number() {
        let lag = ReplicaConfig::DEFAULT_MAX_LAG;
        let five = ["postgres://a/d", "postgres://b/d", "postgres://c/d", "postgres://d/d", "postgres://e/d"];
        assert_eq!(check(&five, lag).unwrap().len(), ReplicaConfig::MAX_REPLICAS);
        assert!(check(&[], lag).unwrap().is_empty());
        let six = [&five[..], &["postgres://f/d"]].concat();
        assert!(check(&six, lag).unwrap_err().contains("replica_url: wanted up to 5 replicas, found 6"));
        let text = check(&[five[0], "db2:s3cret"], lag).unwrap_err();
        assert!(text.contains("replica_url: number 2") && text.contains("postgres://USER@HOST"), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
        let text = check(&[five[0], "postgres://me@a/other"], lag).unwrap_err();
        assert!(text.contains("number 2 is a:5432"), "{text}");
        check(&five, LONGEST_REPLICA_LAG).unwrap();
        for lag in [Duration::ZERO, LONGEST_REPLICA_LAG + Duration::from_millis(1)] {
            assert!(check(&five, lag).unwrap_err().contains("replica_max_lag: wanted more than 0"));
        }
    }
}
