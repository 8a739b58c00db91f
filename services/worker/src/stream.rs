//! Keeps a stream to one queue: opens it, and opens it again whenever it ends.

use std::sync::{Arc, Mutex, PoisonError};

use hashmesh::error::{Reason, reason};
use hashmesh_runtime::{health::Health, shutdown::Shutdown};
use tokio::time::sleep;
use tonic::transport::Channel;

use crate::{
    backoff::Backoff,
    session::{Session, SessionEnd, SessionError, SessionSettings},
};

/// Counts the streams that are welcomed: a worker does its work while it has one.
#[derive(Debug)]
pub(crate) struct Presence {
    health: Health,
    welcomed: Mutex<usize>,
}

/// One welcomed stream, until dropped.
#[derive(Debug)]
struct Welcomed<'a>(&'a Presence);

impl Presence {
    pub(crate) fn new(health: Health) -> Self {
        let presence = Self { health, welcomed: Mutex::new(0) };
        presence.change(|welcomed| welcomed);
        presence
    }

    fn enter(&self) -> Welcomed<'_> {
        self.change(|welcomed| welcomed + 1);
        Welcomed(self)
    }

    /// Count and health change together, else two streams could leave the wrong one of two reports behind.
    fn change(&self, change: impl FnOnce(usize) -> usize) {
        let mut welcomed = self.welcomed.lock().unwrap_or_else(PoisonError::into_inner);
        *welcomed = change(*welcomed);
        if *welcomed > 0 {
            self.health.serving();
        } else {
            self.health.not_serving("no queue has welcomed this worker");
        }
    }
}

impl Drop for Welcomed<'_> {
    fn drop(&mut self) {
        self.0.change(|welcomed| welcomed.saturating_sub(1));
    }
}

/// Keeps a stream to the queue at `url` until `shutdown` begins and the stream is drained.
pub(crate) async fn keep(
    settings: Arc<SessionSettings>,
    presence: Arc<Presence>,
    url: String,
    channel: Channel,
    shutdown: Shutdown,
) {
    let mut backoff = Backoff::new();
    let mut failures: u32 = 0;
    while !shutdown.begun() {
        let opened = tokio::select! {
            opened = Session::open(Arc::clone(&settings), channel.clone()) => opened,
            () = shutdown.wait() => return,
        };
        let ended = match opened {
            Ok(session) => {
                tracing::info!(queue = url, "taking leases");
                backoff.reset();
                failures = 0;
                let _welcomed = presence.enter();
                session.run(&shutdown).await
            }
            Err(error) => Err(error),
        };
        match ended {
            Ok(SessionEnd::Stopped) => return,
            Ok(SessionEnd::QueueDrained) => tracing::info!(queue = url, "the queue stopped; connecting again"),
            Err(error) => {
                log_failure(&url, &error, failures);
                failures = failures.saturating_add(1);
            }
        }
        let wait = backoff.next(&mut rand::rng());
        tokio::select! {
            () = sleep(wait) => {}
            () = shutdown.wait() => return,
        }
    }
}

/// The first failure of a row is worth a look; those that follow say nothing new; a queue that owns nothing is normal.
fn log_failure(url: &str, error: &SessionError, failures_before: u32) {
    let not_owner = matches!(error, SessionError::Refused(status) if reason(status) == Some(Reason::NotOwner));
    let error = error as &dyn std::error::Error;
    if not_owner || failures_before > 0 {
        tracing::debug!(queue = url, error, "no stream; trying again");
    } else {
        tracing::warn!(queue = url, error, "the stream to the queue failed; its leases are dropped; trying again");
    }
}
