//! A Postgres that is killed, stopped, out of connections, locked, or kept from cleaning up.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio_postgres::{Client, error::SqlState};

use super::{
    load::Load,
    matrix::{Fault, withstands},
    stage::{Needs, Stage},
};
use crate::support::{
    heavy,
    wait::{PATIENCE, until},
};

/// Every writer has an acknowledgement this soon after Postgres takes connections again.
const BACK: Duration = Duration::from_secs(5);

/// Ended by a signal to its first process, and started again after a while.
#[derive(Debug)]
struct Ended(Signal);

impl Fault for Ended {
    fn lasts(&self) -> Duration {
        if heavy::long() { Duration::from_secs(10) } else { Duration::from_millis(500) }
    }

    async fn begin(&mut self, stage: &mut Stage, _: &mut Load) {
        stage.postgres.end(self.0).await;
    }

    async fn hit(&mut self, stage: &mut Stage, _: &mut Load) -> String {
        let status = stage.postgres.ended().expect("it has ended");
        assert!(stage.postgres.try_connect().await.is_err(), "it takes connections");
        format!("Postgres ended with {status}")
    }

    async fn end(&mut self, stage: &mut Stage) {
        stage.postgres.restart().await;
    }

    fn recovers_within(&self) -> Option<Duration> {
        Some(BACK)
    }

    async fn after(&mut self, stage: &mut Stage) {
        let log = stage.postgres.log();
        assert!(log.contains("was not properly shut down"), "there was nothing to recover:\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_killed_and_started_again() {
    withstands("postgres_is_killed_and_started_again", || Ended(Signal::KILL)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make faults"]
async fn postgres_is_stopped_at_once_and_started_again() {
    withstands("postgres_is_stopped_at_once_and_started_again", || Ended(Signal::QUIT)).await;
}

/// All connections that it takes are somebody else's, and the Queues' are ended.
#[derive(Debug, Default)]
struct NoConnections {
    taken: Vec<Client>,
    /// How often we were refused one.
    refused: usize,
}

impl NoConnections {
    /// Takes what is free. True: nothing is.
    async fn take(&mut self, stage: &Stage) -> bool {
        match stage.postgres.try_connect().await {
            Ok(client) => self.taken.push(client),
            Err(error) => {
                assert_eq!(error.code(), Some(&SqlState::TOO_MANY_CONNECTIONS), "{error:?}");
                self.refused += 1;
                return true;
            }
        }
        false
    }
}

/// Ends the connections of all Queues.
const END_OURS: &str = "SELECT count(*) FROM (SELECT pg_terminate_backend(pid) AS ended FROM pg_stat_activity
                        WHERE application_name LIKE 'hashmesh%') backends WHERE ended";

impl Fault for NoConnections {
    fn needs(&mut self, _seed: u64) -> Needs {
        Needs { settings: vec!["max_connections=40"], ..Needs::default() }
    }

    async fn begin(&mut self, stage: &mut Stage, _: &mut Load) {
        while !self.take(stage).await {}
        let ended = self.taken[0].query_one(END_OURS, &[]).await.expect("it answers");
        assert!(ended.get::<_, i64>(0) > 0, "the queues had no connections");
        // What became free is taken by whoever is faster: taken again and again while the fault lasts.
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline {
            if self.take(stage).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    async fn hit(&mut self, stage: &mut Stage, _: &mut Load) -> String {
        let (taken, ours) = (self.taken.len(), self.refused);
        let postgres = &stage.postgres;
        let refused = async || {
            let refused = postgres.log().matches("FATAL:  sorry, too many clients already").count();
            (refused > ours).then_some(refused - ours)
        };
        let refused = until("a queue to be refused a connection", PATIENCE, refused).await;
        format!("{taken} connections taken, the queues were refused {refused}")
    }

    async fn end(&mut self, _: &mut Stage) {
        self.taken.clear();
    }

    fn recovers_within(&self) -> Option<Duration> {
        Some(BACK)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make faults"]
async fn postgres_takes_no_more_connections() {
    withstands("postgres_takes_no_more_connections", NoConnections::default).await;
}

/// Somebody holds a table that every outcome goes to.
#[derive(Debug, Default)]
struct Locked {
    holder: Option<Client>,
}

impl Fault for Locked {
    fn lasts(&self) -> Duration {
        if heavy::long() { Duration::from_secs(60) } else { Duration::from_secs(2) }
    }

    async fn begin(&mut self, stage: &mut Stage, _: &mut Load) {
        let holder = stage.database().client().await;
        holder.batch_execute("BEGIN; LOCK TABLE results IN ACCESS EXCLUSIVE MODE").await.expect("it gets the lock");
        self.holder = Some(holder);
    }

    async fn hit(&mut self, stage: &mut Stage, _: &mut Load) -> String {
        let client = stage.database().client().await;
        let waiting = "SELECT count(*) FROM pg_stat_activity
                       WHERE application_name LIKE 'hashmesh%' AND wait_event_type = 'Lock'";
        let count = async || {
            let count: i64 = client.query_one(waiting, &[]).await.expect("it answers").get(0);
            (count > 0).then_some(count)
        };
        let count = until("a queue to wait for the table", PATIENCE, count).await;
        format!("{count} of the queues' connections waited for the table")
    }

    async fn end(&mut self, _: &mut Stage) {
        let holder = self.holder.take().expect("it began");
        holder.batch_execute("ROLLBACK").await.expect("it held the lock until now");
    }

    fn recovers_within(&self) -> Option<Duration> {
        Some(BACK)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_results_are_locked() {
    withstands("the_results_are_locked", Locked::default).await;
}

/// A transaction that is open from before the load to its end: nothing that is dead can be cleaned up. Within it an owner is
/// killed. What it costs is measured by `make bench-pinned`.
#[derive(Debug, Default)]
struct Pinned {
    holder: Option<Client>,
    xmin: String,
}

const PINNED: &str = "SELECT backend_xmin::text FROM pg_stat_activity WHERE application_name = 'pin'";

impl Fault for Pinned {
    async fn begin(&mut self, stage: &mut Stage, _: &mut Load) {
        let holder = stage.database().client().await;
        let pin = "SET application_name = 'pin'; SET idle_in_transaction_session_timeout = 0;
                   BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current()";
        holder.batch_execute(pin).await.expect("a transaction");
        self.holder = Some(holder);
        self.xmin = stage.database().value(PINNED).await;
    }

    async fn hit(&mut self, stage: &mut Stage, load: &mut Load) -> String {
        load.goes_on(50).await;
        stage.queues[0].process.kill();
        stage.lost_by(0).await;
        load.goes_on(50).await;
        format!("xmin {} pinned", self.xmin)
    }

    async fn end(&mut self, stage: &mut Stage) {
        stage.queues[0].restart().await;
    }

    async fn after(&mut self, stage: &mut Stage) {
        assert_eq!(stage.database().value(PINNED).await, self.xmin, "it was not pinned to the end");
        let dead = "SELECT count(*) FROM txid_current_snapshot() WHERE txid_snapshot_xmax(txid_current_snapshot()) >
                    (SELECT backend_xmin::text::bigint FROM pg_stat_activity WHERE application_name = 'pin') + 100";
        assert_eq!(stage.database().value(dead).await, "1", "hardly a transaction was behind it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make faults"]
async fn xmin_is_pinned_for_the_whole_run() {
    withstands("xmin_is_pinned_for_the_whole_run", Pinned::default).await;
}
