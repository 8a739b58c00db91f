//! What a server must be like before anything is entrusted to it.

use std::collections::BTreeMap;

use tokio_postgres::{Client, SimpleQueryMessage};

use crate::error::DatabaseError;

const OLDEST_VERSION: u32 = 15;
/// The newest version that the tests run with. Newer ones are used, and logged.
const NEWEST_TESTED_VERSION: u32 = 18;

/// One row for each: the settings, whether it is a standby, whether the connection is encrypted.
const QUESTIONS: &str = "SELECT name, setting FROM pg_catalog.pg_settings \
    WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'server_version', 'server_version_num') \
    UNION ALL SELECT 'standby', pg_catalog.pg_is_in_recovery()::text \
    UNION ALL SELECT 'encrypted', ssl::text FROM pg_catalog.pg_stat_ssl WHERE pid = pg_catalog.pg_backend_pid()";

/// Without these a commit that was acknowledged may be lost: promise 1.
const DURABILITY: [&str; 3] = ["fsync", "full_page_writes", "synchronous_commit"];

/// What was found of a server that will do.
#[derive(Debug)]
pub(crate) struct Server {
    /// As the server words it, for example `15.18 (Debian 15.18-0+deb12u1)`.
    pub(crate) version: String,
    pub(crate) encrypted: bool,
    /// False of one that is newer than those of the tests.
    pub(crate) tested: bool,
}

/// Asks the server, and refuses it when it would not keep what it accepts.
pub(crate) async fn check(client: &Client, allow_unsafe_durability: bool) -> Result<Server, DatabaseError> {
    let answers =
        client.simple_query(QUESTIONS).await.map_err(DatabaseError::statement("ask the server for its settings"))?;
    let answers = answers.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((row.get(0)?.to_owned(), row.get(1)?.to_owned())),
        _ => None,
    });
    judge(&answers.collect(), allow_unsafe_durability)
}

fn judge(answers: &BTreeMap<String, String>, allow_unsafe_durability: bool) -> Result<Server, DatabaseError> {
    let answer = |name: &str| answers.get(name).map_or("", String::as_str);
    let version = answer("server_version").to_owned();
    // 150018 is 15.18.
    let major = answer("server_version_num").parse::<u32>().unwrap_or(0) / 10_000;
    if major < OLDEST_VERSION {
        return Err(DatabaseError::Version { wanted: OLDEST_VERSION, found: version });
    }
    if major > NEWEST_TESTED_VERSION {
        tracing::warn!(version, newest_tested = NEWEST_TESTED_VERSION, "this PostgreSQL is newer than what was tested");
    }
    if answer("standby") != "false" {
        return Err(DatabaseError::Standby);
    }
    for setting in DURABILITY {
        let found = answer(setting);
        // synchronous_commit has several values that wait for the local flush at least.
        if found != "off" && !found.is_empty() {
            continue;
        }
        if !allow_unsafe_durability {
            return Err(DatabaseError::UnsafeDurability { setting, found: found.to_owned() });
        }
        tracing::warn!(setting, found, "accepted batches may be lost in a crash, as allow_unsafe_durability permits");
    }
    Ok(Server { version, encrypted: answer("encrypted") == "true", tested: major <= NEWEST_TESTED_VERSION })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(changed: &[(&str, &str)]) -> BTreeMap<String, String> {
        let usual = [
            ("fsync", "on"),
            ("full_page_writes", "on"),
            ("synchronous_commit", "on"),
            ("server_version", "15.18 (Debian)"),
            ("server_version_num", "150018"),
            ("standby", "false"),
            ("encrypted", "false"),
        ];
        usual.iter().chain(changed).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn promise_1_a_server_that_may_lose_commits_is_refused_by_the_name_of_the_setting() {
        for setting in DURABILITY {
            let error = judge(&server(&[(setting, "off")]), false).unwrap_err();
            assert!(error.to_string().contains(&format!("found {setting} = off")), "{error}");
            judge(&server(&[(setting, "off")]), true).unwrap();
        }
    }

    #[test]
    fn commits_that_wait_for_replicas_are_durable_too() {
        for value in ["on", "local", "remote_write", "remote_apply"] {
            judge(&server(&[("synchronous_commit", value)]), false).unwrap();
        }
    }

    #[test]
    fn old_servers_and_standbys_are_refused_and_new_ones_taken() {
        let old = [("server_version", "14.9"), ("server_version_num", "140009")];
        assert!(judge(&server(&old), true).unwrap_err().to_string().contains("found 14.9"));
        assert!(matches!(judge(&server(&[("standby", "true")]), true), Err(DatabaseError::Standby)));
        judge(&server(&[("server_version_num", "190000")]), false).unwrap();
    }
}
