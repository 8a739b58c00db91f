//! How long statements wait for tables while a migration runs.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::support::Database;

/// Between two looks.
const POLL: Duration = Duration::from_millis(5);
/// The longest that anybody waits for a table now, in seconds.
const LONGEST: &str = "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - waitstart)), 0)::float8 FROM pg_locks \
    WHERE NOT granted AND locktype = 'relation' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// Looks until it is told that it is enough.
#[derive(Debug)]
pub(super) struct LockWaits {
    enough: watch::Sender<bool>,
    looking: AbortOnDropHandle<(u32, f64)>,
}

impl LockWaits {
    pub(super) async fn watch(database: &Database) -> Self {
        let client = database.client().await;
        let (enough, no_more) = watch::channel(false);
        let looking = AbortOnDropHandle::new(tokio::spawn(async move {
            let (mut looks, mut longest) = (0, 0.0_f64);
            while !*no_more.borrow() {
                let row = client.query_one(LONGEST, &[]).await.expect("Postgres answers");
                longest = longest.max(row.get(0));
                looks += 1;
                tokio::time::sleep(POLL).await;
            }
            (looks, longest)
        }));
        Self { enough, looking }
    }

    /// The longest wait that was seen.
    pub(super) async fn longest(self) -> Duration {
        self.enough.send_replace(true);
        let (looks, longest) = self.looking.await.expect("no look failed");
        assert!(looks > 0, "nobody looked");
        Duration::from_secs_f64(longest)
    }
}
