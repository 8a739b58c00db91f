//! Keeps a stream to one queue: opens it, and opens it again whenever it ends.
//!
//! A worker that is stopping opens streams too, while it holds work that no queue knows of: queues and workers may be
//! replaced at the same time, and what has begun is to end with whoever owns the queue then.

use std::sync::Arc;

use hashmesh::error::{Reason, reason};
use hashmesh_runtime::{health::Health, shutdown::Shutdown, telemetry};
use tokio::{
    sync::watch,
    time::{sleep, sleep_until},
};
use tonic::transport::Channel;

use crate::{
    backoff::Backoff,
    session::{Session, SessionEnd, SessionError, SessionSettings},
};

/// Counts the streams that are welcomed: a worker does its work while it has one.
#[derive(Debug)]
pub(crate) struct Presence {
    health: Health,
    welcomed: watch::Sender<usize>,
}

/// One welcomed stream, until dropped.
#[derive(Debug)]
struct Welcomed<'a>(&'a Presence);

impl Presence {
    pub(crate) fn new(health: Health) -> Self {
        let presence = Self { health, welcomed: watch::Sender::new(0) };
        presence.change(|welcomed| welcomed);
        presence
    }

    fn enter(&self) -> Welcomed<'_> {
        self.change(|welcomed| welcomed + 1);
        Welcomed(self)
    }

    /// Count and health change together, else two streams could leave the wrong one of two reports behind.
    fn change(&self, change: impl FnOnce(usize) -> usize) {
        self.welcomed.send_modify(|welcomed| {
            *welcomed = change(*welcomed);
            if *welcomed > 0 {
                self.health.serving();
            } else {
                self.health.not_serving("no queue has welcomed this worker");
            }
        });
    }

    /// Waits until no stream is welcomed.
    async fn nobody(&self) {
        // The sender lives as long as we do.
        let _ = self.welcomed.subscribe().wait_for(|welcomed| *welcomed == 0).await;
    }
}

impl Drop for Welcomed<'_> {
    fn drop(&mut self) {
        self.0.change(|welcomed| welcomed.saturating_sub(1));
    }
}

/// Keeps a stream to the queue at `url` until `shutdown` begins and nothing is held that a queue could want.
pub(crate) async fn keep(
    settings: Arc<SessionSettings>,
    presence: Arc<Presence>,
    url: String,
    channel: Channel,
    shutdown: Shutdown,
) {
    let mut backoff = Backoff::new();
    let mut failures: u32 = 0;
    loop {
        let opened = tokio::select! {
            biased;
            () = done(&settings, &presence, &shutdown) => return,
            opened = Session::open(Arc::clone(&settings), channel.clone(), shutdown.begun()) => opened,
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
            // The others may still hold something.
            Ok(SessionEnd::Stopped) => {}
            Err(SessionError::Outdated) => continue,
            Ok(SessionEnd::QueueDrained) => tracing::info!(queue = url, "the queue stopped; connecting again"),
            Err(error) => {
                log_failure(&url, &error, failures);
                failures = failures.saturating_add(1);
            }
        }
        let wait = backoff.next(&mut rand::rng());
        tokio::select! {
            biased;
            () = done(&settings, &presence, &shutdown) => return,
            () = sleep(wait) => {}
        }
    }
}

/// Waits until the worker is stopping and no further stream is of use: nothing is held that a queue could want, or there
/// is no time left for it.
async fn done(settings: &SessionSettings, presence: &Presence, shutdown: &Shutdown) {
    shutdown.wait().await;
    let nothing_held = async {
        loop {
            // What a stream leaves behind is kept before the stream counts as gone.
            presence.nobody().await;
            if settings.unclaimed.is_empty() {
                return;
            }
            settings.unclaimed.none().await;
        }
    };
    tokio::select! {
        biased;
        () = nothing_held => {}
        () = sleep_until(settings.give_back_at()) => {}
    }
}

/// The first failure of a row is worth a look; those that follow say nothing new; a queue that owns nothing, or is about
/// to stop, is normal.
fn log_failure(url: &str, error: &SessionError, failures_before: u32) {
    let refused = if let SessionError::Refused(status) = error { reason(status) } else { None };
    let normal = matches!(refused, Some(Reason::NotOwner | Reason::Draining));
    let error = telemetry::chain(error);
    if normal || failures_before > 0 {
        tracing::debug!(queue = url, error, "no stream; trying again");
    } else {
        tracing::warn!(queue = url, error, "the stream to the queue failed; what has begun goes on; trying again");
    }
}
