//! Brings the schema to what this program needs. Safe when several processes do it at once.

use std::{collections::BTreeMap, fmt, time::Duration};

use hashmesh_runtime::telemetry::{self, Repeated};
use refinery::{Migration, Runner, SchemaVersion, Target};
use tokio::time::Instant;

use crate::{
    config::DatabaseConfig,
    connection::{Connector, Dedicated, Session},
    error::DatabaseError,
    failure::{Failure, classify},
    requirements,
};

mod embedded {
    refinery::embed_migrations!("../../migrations");
}

/// The lock that one process at a time migrates under ("hmshmigr"). One key; the Queue's locks have two, so they never meet.
const LOCK: i64 = 0x686d_7368_6d69_6772;
/// How long all attempts together may take: others may be migrating, or hold a table.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one attempt waits for a lock, whatever the configuration says of other statements.
const STEP: Duration = Duration::from_millis(500);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// What [`migrate`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MigrationReport {
    /// The names of the migrations that were applied now, in order.
    pub applied: Vec<String>,
    /// The schema's version, which is that of its newest migration; 0 if there is none.
    pub version: u32,
    /// The newest version that this program knows. Lower than `version` while a newer program is being rolled out.
    pub known_version: u32,
}

/// What [`examine`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examination {
    /// As the server words it, for example `15.18 (Debian 15.18-0+deb12u1)`.
    pub server_version: String,
    /// False if the server is newer than those that the tests run with.
    pub tested: bool,
    /// The connection is encrypted.
    pub encrypted: bool,
    /// The version of the newest migration that was applied; 0 if none was.
    pub version: u32,
    /// The newest version that this program knows.
    pub known_version: u32,
}

impl fmt::Display for MigrationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.applied.as_slice() {
            [] => write!(f, "schema is up to date at version {}", self.version)?,
            names => write!(f, "schema is at version {} now, applied {}", self.version, names.join(", "))?,
        }
        if self.version > self.known_version {
            write!(f, " (newer than this program's {})", self.known_version)?;
        }
        Ok(())
    }
}

/// Applies what is missing, each migration in a transaction of its own. Does nothing if nothing is missing.
///
/// A lock that is held by others (a second process that migrates, a query on a table that changes) is waited for in
/// short steps, so that the wait itself does not block others: each up to half a second, all up to a minute.
/// Migrations that a newer program applied are left alone.
///
/// # Errors
/// If the server cannot be reached, a migration fails, or the schema was made from other migrations.
pub async fn migrate(config: &DatabaseConfig) -> Result<MigrationReport, DatabaseError> {
    migrate_with(config, embedded::migrations::runner()).await
}

/// Applies what is missing up to a version and nothing newer, as the program of that time did: for tests of upgrades.
///
/// # Errors
/// As [`migrate`].
pub async fn migrate_to(config: &DatabaseConfig, version: u32) -> Result<MigrationReport, DatabaseError> {
    let target = SchemaVersion::try_from(version).unwrap_or(SchemaVersion::MAX);
    migrate_with(config, embedded::migrations::runner().set_target(Target::Version(target))).await
}

/// Looks at a server and its schema, and changes nothing.
///
/// # Errors
/// If the server cannot be reached or may not be trusted with data, or the schema was made from other migrations.
pub async fn examine(config: &DatabaseConfig) -> Result<Examination, DatabaseError> {
    let connector = Connector::new(config)?;
    let mut connection = Dedicated::open(&connector, "doctor", Session::dedicated(config)).await?;
    let server = requirements::check(&connection, config.allow_unsafe_durability).await?;
    let runner = embedded::migrations::runner();
    let known = runner.get_migrations();
    let applied = applied(&mut connection, &runner).await?;
    check_history(known, &names(&applied))?;
    let differs = |applied: &&Migration| {
        known.iter().any(|known| known.version() == applied.version() && known.checksum() != applied.checksum())
    };
    if let Some(migration) = applied.iter().find(differs) {
        return Err(DatabaseError::Schema { problem: format!("{migration} was applied with another text") });
    }
    Ok(Examination {
        server_version: server.version,
        tested: server.tested,
        encrypted: server.encrypted,
        version: newest(applied.iter().map(Migration::version)),
        known_version: newest(known.iter().map(Migration::version)),
    })
}

async fn migrate_with(config: &DatabaseConfig, runner: Runner) -> Result<MigrationReport, DatabaseError> {
    let connector = Connector::new(config)?;
    let session = Session {
        // Building an index takes as long as it takes.
        statement_timeout: Duration::ZERO,
        // Everybody else's statements queue behind a lock that we wait for.
        lock_timeout: STEP,
        ..Session::dedicated(config)
    };
    // We check ourselves, in `check_history`: refinery has one switch for what must and what must not be refused.
    let runner = runner.set_abort_missing(false);
    run(&connector, session, &runner).await
}

async fn run(connector: &Connector, session: Session, runner: &Runner) -> Result<MigrationReport, DatabaseError> {
    let (started, again) = (Instant::now(), Repeated::new());
    loop {
        let error = match attempt(connector, session, runner).await {
            Ok(report) => return Ok(report),
            Err(error) => error,
        };
        if !may_go_away(&error) || started.elapsed() >= PATIENCE {
            return Err(error);
        }
        if let Some(left_out) = again.failed() {
            tracing::info!(error = telemetry::chain(&error), left_out, "cannot migrate yet, trying again");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Locks that others hold, a server that starts, a connection that was lost. A migration is one transaction together
/// with its entry in the history, so one of unknown outcome can be tried again.
fn may_go_away(error: &DatabaseError) -> bool {
    match error {
        // A server that does not answer is rather a wrong URL, and its user wants to hear of it now.
        DatabaseError::Connect { source, .. } => classify(source) == Failure::Transient,
        DatabaseError::Statement { .. } | DatabaseError::Migration(_) => error.passes(),
        _ => false,
    }
}

async fn attempt(connector: &Connector, session: Session, runner: &Runner) -> Result<MigrationReport, DatabaseError> {
    let mut connection = Dedicated::open(connector, "migrate", session).await?;
    // Released when the connection closes, at the end of this function at the latest.
    connection
        .execute("SELECT pg_catalog.pg_advisory_lock($1)", &[&LOCK])
        .await
        .map_err(DatabaseError::statement("take the lock of the migrations"))?;

    let known = runner.get_migrations();
    let history = names(&applied(&mut connection, runner).await?);
    check_history(known, &history)?;
    let report = runner.run_async(&mut *connection).await.map_err(|error| DatabaseError::Migration(Box::new(error)))?;

    let known_version = newest(known.iter().map(Migration::version));
    let version = newest(history.keys().copied()).max(known_version);
    let applied = report.applied_migrations().iter().map(ToString::to_string).collect();
    Ok(MigrationReport { applied, version, known_version })
}

/// The migrations that were applied.
async fn applied(connection: &mut Dedicated, runner: &Runner) -> Result<Vec<Migration>, DatabaseError> {
    let exists: bool = connection
        .query_one("SELECT pg_catalog.to_regclass('refinery_schema_history') IS NOT NULL", &[])
        .await
        .map_err(DatabaseError::statement("look for the history of the migrations"))?
        .get(0);
    if !exists {
        return Ok(Vec::new());
    }
    runner
        .get_applied_migrations_async(&mut **connection)
        .await
        .map_err(|error| DatabaseError::Migration(Box::new(error)))
}

fn names(applied: &[Migration]) -> BTreeMap<SchemaVersion, String> {
    applied.iter().map(|migration| (migration.version(), migration.to_string())).collect()
}

/// The history must be ours, perhaps followed by that of a newer program. Contents are compared by refinery.
fn check_history(known: &[Migration], history: &BTreeMap<SchemaVersion, String>) -> Result<(), DatabaseError> {
    let newest_known = newest(known.iter().map(Migration::version));
    for (version, name) in history {
        let unknown = !known.iter().any(|migration| migration.version() == *version);
        match unknown {
            true if to_unsigned(*version) > newest_known => {
                tracing::warn!(migration = name, "a newer program applied this migration");
            }
            true => {
                return Err(DatabaseError::Schema { problem: format!("{name} was applied, which this program lacks") });
            }
            false => {}
        }
    }
    let newest_applied = newest(history.keys().copied());
    let skipped = known.iter().find(|migration| {
        to_unsigned(migration.version()) < newest_applied && !history.contains_key(&migration.version())
    });
    match skipped {
        Some(migration) => Err(DatabaseError::Schema {
            problem: format!("{migration} was never applied, but a later one was (version {newest_applied})"),
        }),
        None => Ok(()),
    }
}

fn newest(versions: impl Iterator<Item = SchemaVersion>) -> u32 {
    versions.map(to_unsigned).max().unwrap_or(0)
}

/// Versions come from file names and are never negative.
fn to_unsigned(version: SchemaVersion) -> u32 {
    u32::try_from(version).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<Migration> {
        ["V1__one", "V2__two"].map(|name| Migration::unapplied(name, "SELECT 1").unwrap()).into()
    }

    fn history(names: &[(SchemaVersion, &str)]) -> BTreeMap<SchemaVersion, String> {
        names.iter().map(|(version, name)| (*version, (*name).to_owned())).collect()
    }

    #[test]
    fn a_history_that_is_shorter_equal_or_newer_is_ours() {
        for names in [&[][..], &[(1, "V1__one")], &[(1, "V1__one"), (2, "V2__two"), (3, "V3__three")]] {
            check_history(&known(), &history(names)).unwrap();
        }
    }

    #[test]
    fn a_history_with_a_hole_or_a_stranger_is_refused() {
        let hole = check_history(&known(), &history(&[(2, "V2__two")])).unwrap_err();
        assert!(hole.to_string().contains("V1__one was never applied"), "{hole}");
        let mut gapped = known();
        gapped.remove(0);
        let stranger = check_history(&gapped, &history(&[(1, "V1__other")])).unwrap_err();
        assert!(stranger.to_string().contains("V1__other was applied"), "{stranger}");
    }

    #[test]
    fn the_embedded_migrations_have_versions_without_gaps() {
        let mut versions: Vec<_> =
            embedded::migrations::runner().get_migrations().iter().map(Migration::version).collect();
        versions.sort_unstable();
        let expected: Vec<SchemaVersion> = (1..).take(versions.len()).collect();
        assert_eq!(versions, expected);
    }
}
