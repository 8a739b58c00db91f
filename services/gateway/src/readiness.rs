//! Whether this Gateway does its work. It begins to once a process of the Queue has answered and any of them owns shards, and
//! goes on for as long as it can reach any of them: one that says that it cannot work now, for want of Postgres for example, says so to every Gateway,
//! and if all of them were taken out for that, clients would find nobody who tells them to try again. Hash is not asked for:
//! without it, two calls of many fail, and they say why.

use std::time::Duration;

use hashmesh::queue::v1::GetQueueStatsRequest;
use hashmesh_runtime::health::Health;

use crate::{
    deadline::Deadline,
    service::{Gateway, queue_client},
    upstream::{Repeat, Route, ask_queue},
};

/// Between two questions while all is well.
const INTERVAL: Duration = Duration::from_secs(2);
/// Between two questions while it is not: a start should not wait for the clock.
const INTERVAL_UNTIL_SERVING: Duration = Duration::from_millis(100);
/// A Queue that takes longer to answer is not ready.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Questions without an answer until a Gateway that was ready is not: one lost connection is no outage.
const FAILURES: u32 = 2;

/// Asks the Queue until dropped, and says what is found.
pub(crate) async fn watch(gateway: Gateway, health: Health) {
    let mut failures = FAILURES;
    let mut began = false;
    loop {
        let deadline = Deadline::after(TIMEOUT);
        let request = GetQueueStatsRequest {};
        match ask_queue!(gateway.queue, queue_client, Route::Any, Repeat::Safe, deadline, get_queue_stats(request)) {
            Ok(_) if began || gateway.queue.owned() => {
                (failures, began) = (0, true);
                health.serving();
            }
            Err(_) if began && gateway.queue.reachable(TIMEOUT).await => {
                failures = 0;
                health.serving();
            }
            answer => {
                failures = failures.saturating_add(1);
                if failures >= FAILURES {
                    health.not_serving(match answer {
                        Ok(_) => "nobody owns the queue yet".to_owned(),
                        Err(status) => format!("the queue does not answer: {}", status.message()),
                    });
                }
            }
        }
        tokio::time::sleep(if failures == 0 { INTERVAL } else { INTERVAL_UNTIL_SERVING }).await;
    }
}
