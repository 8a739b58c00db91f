//! The mesh's Postgres: its tables, and whether it may be trusted with data.

use hashmesh_database::{DatabaseConfig, DatabaseError, Examination, examine};
use hashmesh_runtime::telemetry::chain;

use super::check::Check;

const NAME: &str = "schema";

/// Looks, and changes nothing.
pub(super) async fn ask(url: Option<String>) -> Check {
    let Some(url) = url else {
        return Check::skipped(NAME, "say --database-url (or DATABASE_URL) to have the tables looked at");
    };
    match examine(&DatabaseConfig { url, ..DatabaseConfig::default() }).await {
        Ok(examination) => judge(&examination),
        Err(error) => Check::fail(NAME, chain(&error), remedy(&error)),
    }
}

fn judge(found: &Examination) -> Check {
    let Examination { server_version, tested, version, known_version, .. } = found;
    let at = format!(
        "tables at version {version}, this command knows {known_version}; PostgreSQL {server_version}, durable"
    );
    let check = if *version == 0 {
        Check::fail(
            NAME,
            format!("no tables; PostgreSQL {server_version}"),
            "hashmesh migrate; or is it another database?",
        )
    } else if version < known_version {
        Check::fail(NAME, at, "hashmesh migrate; processes of the version before go on with the new tables")
    } else if version > known_version {
        Check::warn(NAME, at, "fine during a roll-out; later, bring this command and what else is older up to date")
    } else if !tested {
        Check::warn(NAME, at, "this PostgreSQL is newer than those that hashmesh is tested with (15 to 18)")
    } else {
        Check::ok(NAME, at)
    };
    check.with("version", *version).with("known_version", *known_version).with("server_version", &**server_version)
}

fn remedy(error: &DatabaseError) -> &'static str {
    match error {
        DatabaseError::Connect { .. } | DatabaseError::ConnectTimeout { .. } => {
            "does it run, is the URL right, and may this machine and user connect (pg_hba.conf)?"
        }
        DatabaseError::Version { .. } => "upgrade the server",
        DatabaseError::Standby => "name the primary",
        DatabaseError::UnsafeDurability { .. } => "turn the setting on for the server, the database and the role",
        DatabaseError::Schema { .. } => "is it another program's database? nothing of it was changed",
        _ => "see what it says",
    }
}

#[cfg(test)]
mod tests {
    use super::{super::check::State, *};

    fn examination(version: u32, tested: bool) -> Examination {
        Examination { server_version: "15.18".into(), tested, encrypted: false, version, known_version: 9 }
    }

    #[test]
    fn older_tables_are_migrated_and_newer_ones_mean_that_we_are_old() {
        assert_eq!(judge(&examination(9, true)).state, State::Ok);
        assert_eq!(judge(&examination(9, false)).state, State::Warn);
        for version in [0, 8] {
            let check = judge(&examination(version, true));
            assert!(
                check.state == State::Fail && check.remedy.as_ref().unwrap().contains("hashmesh migrate"),
                "{check:?}"
            );
        }
        let check = judge(&examination(10, true));
        assert!(check.state == State::Warn && check.remedy.as_ref().unwrap().contains("up to date"), "{check:?}");
    }

    #[tokio::test]
    async fn without_a_url_it_is_said_how_to_ask() {
        let check = ask(None).await;
        assert_eq!(check.state, State::Skipped);
        assert!(check.found.contains("--database-url"));
    }
}
