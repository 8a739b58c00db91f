//! The crate against real Postgres clusters, one per test.

// clippy's exception for tests does not reach their helpers.
#![allow(clippy::unwrap_used)]

mod cluster;
mod outage;

use std::time::Duration;

use futures::FutureExt as _;
use hashmesh_database::{
    Database, DatabaseConfig, DatabaseError, Dedicated, Failure, classify, migrate, postgres::types::ToSql,
};
use tokio::net::TcpListener;

use self::cluster::{Cluster, PASSWORD};

/// For what must happen: long, so that a busy machine fails no test.
const PATIENCE: Duration = Duration::from_secs(30);

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it should not take that long")
}

/// Asks again and again until the answer is yes.
async fn until(connection: &Dedicated, question: &str, parameters: &[&(dyn ToSql + Sync)]) {
    within(async {
        while !connection.query_one(question, parameters).await.unwrap().get::<_, bool>(0) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn show(client: &hashmesh_database::postgres::Client, setting: &str) -> String {
    client.query_one(&format!("SHOW {setting}"), &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn sessions_have_names_and_timeouts_from_their_start() {
    let cluster = Cluster::start();
    let database = Database::connect(cluster.config()).await.unwrap();
    assert!(database.server_version().starts_with(|first: char| first.is_ascii_digit()));
    let pooled = database.pooled().await.unwrap();
    assert_eq!(show(&pooled, "statement_timeout").await, "30s");
    assert_eq!(show(&pooled, "lock_timeout").await, "5s");
    assert_eq!(show(&pooled, "idle_in_transaction_session_timeout").await, "30s");
    assert_eq!(show(&pooled, "application_name").await, "hashmesh/pool");
    let dedicated = database.dedicated("lane-0").await.unwrap();
    assert_eq!(show(&dedicated, "application_name").await, "hashmesh/lane-0");
    assert_eq!(show(&dedicated, "idle_in_transaction_session_timeout").await, "0");
}

#[tokio::test]
async fn waits_and_waiters_of_the_pool_are_bounded() {
    let cluster = Cluster::start();
    let config = DatabaseConfig { pool_max: 1, pool_wait: Duration::from_millis(200), ..cluster.config() };
    let database = Database::connect(config).await.unwrap();
    let held = database.pooled().await.unwrap();
    let waiters: Vec<_> = (0..100)
        .map(|_| {
            let database = database.clone();
            tokio::spawn(async move { database.pooled().await.map(drop) })
        })
        .collect();
    let (mut timed_out, mut refused) = (0, 0);
    for waiter in waiters {
        match within(waiter).await.unwrap() {
            Err(DatabaseError::PoolTimeout { .. }) => timed_out += 1,
            Err(DatabaseError::PoolBusy { max: 1, .. }) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((timed_out, refused), (32, 68));
    drop(held);
    database.pooled().await.unwrap();
    let stats = serde_json::to_value(database.pool_stats()).unwrap();
    assert_eq!(
        (&stats["max"], &stats["refused_total"], &stats["timed_out_total"]),
        (&1.into(), &68.into(), &32.into())
    );
}

#[tokio::test]
async fn who_has_stopped_waiting_for_a_connection_is_not_counted_as_waiting() {
    let cluster = Cluster::start();
    let database = Database::connect(DatabaseConfig { pool_max: 1, ..cluster.config() }).await.unwrap();
    let held = database.pooled().await.unwrap();
    let mut waiter = Box::pin(database.pooled());
    assert!(waiter.as_mut().now_or_never().is_none());
    assert_eq!(database.pool_stats().waiting, 1);
    drop(waiter);
    assert_eq!(database.pool_stats().waiting, 0);
    drop(held);
    assert_eq!(database.pool_stats().waiting, 0);
}

#[tokio::test]
async fn a_statement_whose_caller_has_gone_holds_up_nobody_and_is_cancelled() {
    const SLEEPING: &str = "SELECT EXISTS (SELECT FROM pg_stat_activity \
        WHERE application_name = 'hashmesh/pool' AND state = 'active' AND query LIKE '%pg_sleep%')";
    let cluster = Cluster::start();
    let database = Database::connect(DatabaseConfig { pool_max: 1, ..cluster.config() }).await.unwrap();
    let watcher = database.dedicated("test").await.unwrap();
    {
        let pooled = database.pooled().await.unwrap();
        tokio::select! {
            done = pooled.execute("SELECT pg_sleep(3600)", &[]) => panic!("{done:?}"),
            () = until(&watcher, SLEEPING, &[]) => {}
        }
    }
    let next = database.pooled().await.unwrap();
    assert_eq!(next.query_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0), 1);
    until(&watcher, &SLEEPING.replace("EXISTS", "NOT EXISTS"), &[]).await;
}

#[tokio::test]
async fn an_ended_session_is_noticed_and_its_statements_outcome_is_unknown() {
    let cluster = Cluster::start();
    let database = Database::connect(cluster.config()).await.unwrap();
    let (victim, other) = (database.dedicated("victim").await.unwrap(), database.dedicated("test").await.unwrap());
    let sleeping = victim.execute("SELECT pg_sleep(3600)", &[]);
    let ending = async {
        let active = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND state = 'active')";
        until(&other, active, &[&victim.backend_pid()]).await;
        other.execute("SELECT pg_terminate_backend($1)", &[&victim.backend_pid()]).await.unwrap();
    };
    let (ended, ()) = within(async { tokio::join!(sleeping, ending) }).await;
    assert_eq!(classify(&ended.unwrap_err()), Failure::Unknown);
    within(victim.closed()).await;
    // And what is sent later was never sent: still unknown, as the driver cannot tell.
    assert_eq!(classify(&victim.execute("SELECT 1", &[]).await.unwrap_err()), Failure::Unknown);
}

#[tokio::test]
async fn a_dropped_connection_is_closed_and_a_statement_can_be_cancelled() {
    let cluster = Cluster::start();
    let database = Database::connect(cluster.config()).await.unwrap();
    let watcher = database.dedicated("test").await.unwrap();
    let worker = database.dedicated("worker").await.unwrap();
    let pid = worker.backend_pid();
    let sleeping = worker.execute("SELECT pg_sleep(3600)", &[]);
    let cancelling = async {
        let active = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND query LIKE '%pg_sleep%' \
            AND wait_event = 'PgSleep')";
        until(&watcher, active, &[&pid]).await;
        worker.cancel().await.unwrap();
    };
    let (cancelled, ()) = within(async { tokio::join!(sleeping, cancelling) }).await;
    assert_eq!(classify(&cancelled.unwrap_err()), Failure::Definite);
    drop(worker);
    until(&watcher, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)", &[&pid]).await;
}

#[tokio::test]
async fn an_outage_is_named_and_the_pool_recovers_from_it() {
    let cluster = Cluster::start();
    let config = DatabaseConfig { pool_wait: Duration::from_secs(1), ..cluster.config() };
    let database = Database::connect(config.clone()).await.unwrap();
    drop(database.pooled().await.unwrap());
    cluster.stop();
    let error = database.pooled().await.unwrap_err();
    assert!(error.passes());
    assert!(matches!(&error, DatabaseError::PoolTimeout { last_failure: Some(_), .. }), "{error:?}");
    let error = Database::connect(config).await.unwrap_err();
    assert!(error.passes() && error.to_string().contains("cannot connect to Postgres at"), "{error}");
    cluster.restart();
    within(async { while database.pooled().await.is_err() {} }).await;
    assert_eq!(database.pool_stats().last_failure, None);
}

#[tokio::test]
async fn a_server_that_accepts_and_stays_silent_is_given_up_after_the_connect_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://u@{}/d", listener.local_addr().unwrap());
    let config = DatabaseConfig { url, connect_timeout: Duration::from_millis(50), ..DatabaseConfig::default() };
    let error = within(Database::connect(config)).await.unwrap_err();
    assert!(matches!(error, DatabaseError::ConnectTimeout { .. }), "{error:?}");
}

#[tokio::test]
async fn promise_1_a_server_that_may_lose_commits_is_refused_unless_allowed() {
    let cluster = Cluster::start();
    let database = Database::connect(cluster.config()).await.unwrap();
    let admin = database.dedicated("test").await.unwrap();
    for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
        admin.batch_execute(&format!("ALTER SYSTEM SET {setting} = off")).await.unwrap();
        admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        until(&admin, "SELECT setting = 'off' FROM pg_settings WHERE name = $1", &[&setting]).await;
        // New sessions follow the postmaster, which may read the file a little later than this session.
        let error = within(async {
            loop {
                if let Err(error) = Database::connect(cluster.config()).await {
                    break error;
                }
            }
        })
        .await;
        assert!(error.to_string().contains(&format!("found {setting} = off")), "{error}");
        let allowed = DatabaseConfig { allow_unsafe_durability: true, ..cluster.config() };
        Database::connect(allowed).await.unwrap();
        admin.batch_execute(&format!("ALTER SYSTEM RESET {setting}")).await.unwrap();
    }
}

#[tokio::test]
async fn certificates_are_verified_as_sslmode_asks() {
    let cluster = Cluster::start();
    let certificates = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates");
    let (root, other) = (format!("{certificates}/root.pem"), format!("{certificates}/other-root.pem"));
    let cases = [
        ("localhost", format!("sslmode=verify-full&sslrootcert={root}"), true),
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={root}"), false),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={root}"), true),
        ("localhost", format!("sslmode=verify-full&sslrootcert={other}"), false),
        ("localhost", format!("sslmode=verify-ca&sslrootcert={other}"), false),
        ("127.0.0.1", "sslmode=require".to_owned(), true),
        ("127.0.0.1", "sslmode=prefer".to_owned(), true),
        ("127.0.0.1", "sslmode=disable".to_owned(), true),
    ];
    for (host, parameters, expected) in cases {
        let config = DatabaseConfig { url: cluster.tcp_url(host, &parameters), ..DatabaseConfig::default() };
        let connected = Database::connect(config).await;
        assert_eq!(connected.is_ok(), expected, "{host} {parameters}: {connected:?}");
        let Ok(database) = connected else { continue };
        let question = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let encrypted: bool = database.pooled().await.unwrap().query_one(question, &[]).await.unwrap().get(0);
        assert_eq!(encrypted, !parameters.contains("disable"), "{parameters}");
        // A cancel request takes the same way.
        database.dedicated("test").await.unwrap().cancel().await.unwrap();
    }
}

#[tokio::test]
async fn a_password_is_in_no_text() {
    let cluster = Cluster::start();
    let config = DatabaseConfig { url: cluster.tcp_url("127.0.0.1", ""), ..DatabaseConfig::default() };
    let database = Database::connect(config.clone()).await.unwrap();
    let dedicated = database.dedicated("test").await.unwrap();
    let mut texts = format!("{config:?} {database:?} {dedicated:?} {:?}", database.pooled().await.unwrap());
    let wrong = DatabaseConfig { url: config.url.replace("s3cret", "wr0ng"), ..config };
    let error = Database::connect(wrong).await.unwrap_err();
    assert!(!error.passes());
    texts.push_str(&format!("{error} {error:?}"));
    for part in [PASSWORD, "s3cret", "wr0ng"] {
        assert!(!texts.contains(part), "{texts}");
    }
}

#[tokio::test]
async fn processes_that_migrate_at_once_apply_each_migration_once() {
    let cluster = Cluster::start();
    let migrating: Vec<_> = (0..4)
        .map(|_| {
            let config = cluster.config();
            tokio::spawn(async move { migrate(&config).await })
        })
        .collect();
    let mut applied = Vec::new();
    for migration in migrating {
        let report = within(migration).await.unwrap().unwrap();
        assert_eq!(report.version, report.known_version);
        applied.extend(report.applied);
    }
    let known = migrate(&cluster.config()).await.unwrap();
    assert_eq!(known.applied, Vec::<String>::new());
    assert!(known.version >= 1);
    assert_eq!(applied.len(), usize::try_from(known.version).unwrap());
}

#[tokio::test]
async fn a_migration_waits_for_a_lock_in_short_steps() {
    const LOCK: i64 = 0x686d_7368_6d69_6772;
    let cluster = Cluster::start();
    let database = Database::connect(cluster.config()).await.unwrap();
    let holder = database.dedicated("holder").await.unwrap();
    holder.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await.unwrap();
    let config = DatabaseConfig { lock_timeout: Duration::from_millis(20), ..cluster.config() };
    let migrating = tokio::spawn(async move { migrate(&config).await });
    // Two different waiters: the first one gave up, and came back.
    let waiter = "SELECT coalesce(max(pid), 0) FROM pg_stat_activity \
        WHERE application_name = 'hashmesh/migrate' AND wait_event_type = 'Lock' AND pid <> $1";
    let mut pid = 0_i32;
    for _ in 0..2 {
        let previous = pid;
        within(async {
            while pid == previous || pid == 0 {
                pid = holder.query_one(waiter, &[&previous]).await.unwrap().get(0);
            }
        })
        .await;
    }
    drop(holder);
    assert!(within(migrating).await.unwrap().unwrap().version >= 1);
}

#[tokio::test]
async fn a_newer_schema_is_left_alone_and_a_changed_one_is_refused() {
    let cluster = Cluster::start();
    let database = Database::connect(cluster.config()).await.unwrap();
    let ours = migrate(&cluster.config()).await.unwrap();
    let admin = database.dedicated("test").await.unwrap();
    let newer = "INSERT INTO refinery_schema_history VALUES (9999, 'of_tomorrow', '2030-01-01T00:00:00Z', '1')";
    admin.execute(newer, &[]).await.unwrap();
    let report = migrate(&cluster.config()).await.unwrap();
    assert_eq!((report.version, report.known_version), (9999, ours.known_version));
    assert!(report.to_string().contains("newer than this program's"), "{report}");

    admin.execute("UPDATE refinery_schema_history SET checksum = '1' WHERE version = 1", &[]).await.unwrap();
    let error = migrate(&cluster.config()).await.unwrap_err();
    assert!(!error.passes() && matches!(error, DatabaseError::Migration(_)), "{error:?}");
}
