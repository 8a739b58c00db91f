//! The moment of COMMIT, in which the most is open: a backend that is ended in it.

use std::time::Duration;

use tokio_postgres::Client;

use super::{
    load::Load,
    matrix::{Fault, withstands},
    stage::Stage,
};
use crate::support::wait::{PATIENCE, until};

/// How a COMMIT is held up, so that its backend can be ended in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// Before it counts: a deferred trigger waits for a lock. Its transaction is rolled back.
    Before,
    /// After it counts: it waits for a standby that does not exist. Its transaction is committed, and nobody is told.
    After,
}

const TRIGGER: &str = "
CREATE FUNCTION hold_commit() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER hold_commit AFTER INSERT ON batches DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION hold_commit();";

#[derive(Debug)]
struct EndedInCommit {
    held: Held,
    holder: Option<Client>,
}

impl EndedInCommit {
    fn new(held: Held) -> Self {
        Self { held, holder: None }
    }

    /// The backends that are in COMMIT and wait there.
    const fn waiting(&self) -> &'static str {
        match self.held {
            Held::Before => {
                "SELECT pid FROM pg_stat_activity WHERE query = 'COMMIT' AND state = 'active' AND wait_event = 'advisory'"
            }
            Held::After => {
                "SELECT pid FROM pg_stat_activity WHERE query = 'COMMIT' AND state = 'active' AND wait_event = 'SyncRep'"
            }
        }
    }
}

impl Fault for EndedInCommit {
    fn lasts(&self) -> Duration {
        Duration::ZERO
    }

    async fn begin(&mut self, stage: &mut Stage, _: &mut Load) {
        let holder = stage.database().client().await;
        match self.held {
            Held::Before => {
                holder.batch_execute("SELECT pg_advisory_lock(42)").await.expect("nobody else has it");
                holder.batch_execute(TRIGGER).await.expect("a trigger");
            }
            Held::After => {
                let set = "ALTER SYSTEM SET synchronous_standby_names = 'nobody'";
                holder.batch_execute(set).await.expect("it may");
                holder.batch_execute("SELECT pg_reload_conf()").await.expect("it may");
            }
        }
        self.holder = Some(holder);
    }

    async fn hit(&mut self, _: &mut Stage, _: &mut Load) -> String {
        let holder = self.holder.as_ref().expect("it began");
        let waiting = async || {
            let rows = holder.query(self.waiting(), &[]).await.expect("it answers");
            rows.first().map(|row| row.get::<_, i32>(0))
        };
        let backend = until("a COMMIT to be held up", PATIENCE, waiting).await;
        let ended = holder.query_one("SELECT pg_terminate_backend($1, 10000)", &[&backend]).await.expect("it answers");
        assert!(ended.get::<_, bool>(0), "the backend {backend} did not end");
        format!("backend {backend} ended in COMMIT, {:?} it counted", self.held)
    }

    async fn end(&mut self, _: &mut Stage) {
        let holder = self.holder.as_ref().expect("it began");
        match self.held {
            Held::Before => holder.batch_execute("SELECT pg_advisory_unlock(42)").await.expect("it has it"),
            Held::After => {
                holder.batch_execute("ALTER SYSTEM RESET synchronous_standby_names").await.expect("it may");
                holder.batch_execute("SELECT pg_reload_conf()").await.expect("it may");
            }
        }
    }

    fn recovers_within(&self) -> Option<Duration> {
        Some(Duration::from_secs(5))
    }

    async fn after(&mut self, stage: &mut Stage) {
        let log = stage.postgres.log();
        let said = match self.held {
            Held::Before => "terminating connection due to administrator command",
            Held::After => "canceling the wait for synchronous replication and terminating connection",
        };
        assert!(log.contains(said), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make faults"]
async fn a_backend_is_ended_in_commit_before_it_counts() {
    withstands("a_backend_is_ended_in_commit_before_it_counts", || EndedInCommit::new(Held::Before)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_is_ended_in_commit_after_it_counts() {
    withstands("a_backend_is_ended_in_commit_after_it_counts", || EndedInCommit::new(Held::After)).await;
}
