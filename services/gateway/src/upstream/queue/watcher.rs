//! Keeps a `WatchShards` stream to one process of the Queue, and turns to another when it ends.
//!
//! A process that is stopped or cut off says nothing, and neither does one to whom nothing happens. So a stream that has been
//! silent for a while is followed by one to the next process, whose first frame is the whole picture.

use std::{sync::Arc, time::Duration};

use hashmesh::queue::v1::WatchShardsRequest;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status};

use super::{QueueUpstream, Target};
use crate::service::queue_client;

/// How long the first frame is waited for.
const FIRST_WITHIN: Duration = Duration::from_secs(2);
/// How long a stream may be silent until another is asked. Less than a shard takes to be taken over from a process that is
/// silent (5 s and a bit), so that who stops is not who tells of it.
const SILENCE: Duration = Duration::from_secs(4);
/// Between two streams, if the first ended by itself.
const PAUSE: Duration = Duration::from_millis(50);
/// The same, once everybody was asked and nobody told.
const PAUSE_AFTER_ALL: Duration = Duration::from_millis(250);
/// The same, where all are of a version that shares nothing.
const PAUSE_UNSHARED: Duration = Duration::from_secs(5);
/// How long what was told holds if those who answer do not tell any more. A process of the version before may stand by while
/// another is started.
const OUTLIVES: Duration = Duration::from_secs(10);

/// How a stream ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It had told, and said nothing for a while.
    Silent,
    /// It had told, and ended.
    Closed,
    /// The process does not share.
    Unshared,
    /// It never told.
    Failed,
}

/// Keeps what is known up to date, until dropped.
pub(super) async fn run(queue: &QueueUpstream) {
    let mut last: Option<Arc<Target>> = None;
    let mut told_at = Instant::now();
    // Of those that were asked since somebody told.
    let (mut asked, mut unshared) = (0, 0);
    let mut nobody_told = false;
    loop {
        let known = if nobody_told { queue.directory().known() } else { queue.directory().tellers() };
        let place = last.as_ref().and_then(|last| known.iter().position(|target| Arc::ptr_eq(target, last)));
        let target = &known[place.map_or(0, |place| (place + 1) % known.len())];
        let end = follow(queue, target).await;
        tracing::debug!(url = target.url(), ?end, "a stream of the queue's shards ended");
        last = Some(Arc::clone(target));
        match end {
            End::Silent | End::Closed => {
                (asked, unshared, told_at) = (0, 0, Instant::now());
                nobody_told = false;
                if end == End::Closed {
                    sleep(PAUSE).await;
                }
                continue;
            }
            End::Unshared => unshared += 1,
            End::Failed => {}
        }
        asked += 1;
        if asked < known.len() {
            continue;
        }
        let outlived = told_at.elapsed() >= OUTLIVES;
        if unshared > 0 && outlived && queue.directory().shared() {
            tracing::info!("the queue's processes share nothing any more");
            queue.directory().forget();
        }
        let settled = unshared == asked && !queue.directory().shared();
        (asked, unshared, nobody_told) = (0, 0, true);
        sleep(if settled { PAUSE_UNSHARED } else { PAUSE_AFTER_ALL }).await;
    }
}

async fn follow(queue: &QueueUpstream, target: &Target) -> End {
    let mut client = queue_client(target.shared());
    let first = async {
        let mut pictures = client.watch_shards(WatchShardsRequest {}).await?.into_inner();
        let first = pictures.message().await?;
        Ok::<_, Status>((pictures, first))
    };
    let (mut pictures, mut picture) = match timeout(FIRST_WITHIN, first).await {
        Ok(Ok((pictures, Some(first)))) => (pictures, first),
        Ok(Err(status)) => return refused(&status),
        Ok(Ok((_, None))) | Err(_) => return End::Failed,
    };
    loop {
        queue.take(&picture);
        picture = match timeout(SILENCE, pictures.message()).await {
            Ok(Ok(Some(next))) => next,
            Ok(Ok(None) | Err(_)) => return End::Closed,
            Err(_) => return End::Silent,
        };
    }
}

fn refused(status: &Status) -> End {
    match status.code() {
        // Who checks certificates refuses what it does not know: it does not know for whom that is.
        Code::Unimplemented | Code::PermissionDenied => End::Unshared,
        _ => End::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_the_version_before_shares_nothing_whether_it_checks_certificates_or_not() {
        assert_eq!(refused(&Status::unimplemented("no such method")), End::Unshared);
        assert_eq!(refused(&Status::permission_denied("not for this role")), End::Unshared);
        assert_eq!(refused(&Status::unavailable("it starts")), End::Failed);
    }
}
