//! How long statements wait for tables while a migration runs.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::support::{
    Database,
    wait::{PATIENCE, soon, until},
};

/// Between two looks.
const POLL: Duration = Duration::from_millis(5);
/// The longest that anybody waits for a table now, in seconds.
const LONGEST: &str = "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - waitstart)), 0)::float8 FROM pg_locks \
    WHERE NOT granted AND locktype = 'relation' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// Looks until it is told that it is enough.
#[derive(Debug)]
pub(super) struct LockWaits {
    enough: watch::Sender<bool>,
    /// How often it looked, and the longest wait that it saw, in seconds.
    seen: watch::Receiver<(u32, f64)>,
    looking: AbortOnDropHandle<()>,
}

impl LockWaits {
    pub(super) async fn watch(database: &Database) -> Self {
        let client = database.client().await;
        let (enough, no_more) = watch::channel(false);
        let (seen_sender, seen) = watch::channel((0, 0.0_f64));
        let looking = AbortOnDropHandle::new(tokio::spawn(async move {
            while !*no_more.borrow() {
                let row = client.query_one(LONGEST, &[]).await.expect("Postgres answers");
                let longest: f64 = row.get(0);
                seen_sender.send_modify(|seen| *seen = (seen.0 + 1, seen.1.max(longest)));
                tokio::time::sleep(POLL).await;
            }
        }));
        Self { enough, seen, looking }
    }

    /// The longest wait that was seen, once it has looked so often from now on.
    pub(super) async fn looked_on(mut self, looks: u32) -> Duration {
        let wanted = self.seen.borrow().0 + looks;
        let seen = soon("looks at locks", self.seen.wait_for(|seen| seen.0 >= wanted)).await;
        let longest = seen.expect("no look failed").1;
        self.enough.send_replace(true);
        self.looking.await.expect("no look failed");
        Duration::from_secs_f64(longest)
    }
}

#[tokio::test]
async fn whoever_waits_for_a_table_is_seen() {
    let database = Database::create().await;
    let (holder, waiter) = (database.client().await, database.client().await);
    holder.batch_execute("BEGIN; LOCK TABLE shards").await.unwrap();
    let waits = LockWaits::watch(&database).await;
    let waiting = tokio::spawn(async move { waiter.batch_execute("SELECT count(*) FROM shards").await });
    let granted = "SELECT bool_and(granted) FROM pg_locks WHERE relation = 'shards'::regclass";
    let asker = database.client().await;
    until("somebody to wait", PATIENCE, async || {
        (!asker.query_one(granted, &[]).await.unwrap().get::<_, bool>(0)).then_some(())
    })
    .await;
    let seen = waits.looked_on(20).await;
    holder.batch_execute("COMMIT").await.unwrap();
    waiting.await.unwrap().unwrap();
    assert!(seen > Duration::from_millis(20), "{seen:?}");
}
