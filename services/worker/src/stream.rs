//! Keeps a stream to one Queue process: opens it, and opens it again whenever it ends, as long as there is such a process.
//!
//! A worker that is stopping opens streams too, while it holds work that no queue knows of: queues and workers may be
//! replaced at the same time, and what has begun is to end with whoever owns the queue then.

use std::sync::Arc;

use hashmesh::error::{Reason, reason};
use hashmesh_runtime::{
    health::Health,
    metrics::{Watch, catalogue::worker::STREAMS},
    shutdown::Shutdown,
    telemetry::{self, Repeated},
};
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
    _streams: Watch,
}

/// One welcomed stream, until dropped.
#[derive(Debug)]
struct Welcomed<'a>(&'a Presence);

impl Presence {
    pub(crate) fn new(health: Health) -> Self {
        let (welcomed, streams) = watch::channel(0);
        #[allow(clippy::cast_precision_loss)] // a few
        let streams = STREAMS.watch(&[], move || *streams.borrow() as f64);
        let presence = Self { health, welcomed, _streams: streams };
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

/// Keeps a stream to the queue at `url` until it is not `wanted` any more and has ended, or until `shutdown` begins and
/// nothing is held that a queue could want.
pub(crate) async fn keep(
    settings: Arc<SessionSettings>,
    presence: Arc<Presence>,
    url: String,
    channel: Channel,
    mut wanted: watch::Receiver<bool>,
    shutdown: Shutdown,
) {
    let mut backoff = Backoff::new();
    // Also of streams that are welcomed and break, by turns.
    let again = Repeated::new();
    let mut taken_leases = false;
    loop {
        let opened = tokio::select! {
            biased;
            () = done(&settings, &presence, &shutdown) => return,
            () = unwanted(&mut wanted) => return,
            opened = open(&settings, &channel, &shutdown) => opened,
        };
        let ended = match opened {
            Ok(session) => {
                if again.fine() || !std::mem::replace(&mut taken_leases, true) {
                    tracing::info!(queue = url, "taking leases");
                }
                backoff.reset();
                let _welcomed = presence.enter();
                session.run(&shutdown).await
            }
            Err(error) => Err(error),
        };
        match ended {
            // The others may still hold something.
            Ok(SessionEnd::Stopped) => {}
            Err(SessionError::Outdated) => continue,
            Ok(SessionEnd::QueueDrained) => {
                tracing::info!(queue = url, "the queue stopped; connecting again");
                taken_leases = false;
            }
            Err(error) => log_failure(&url, &error, &again),
        }
        let wait = backoff.next(&mut rand::rng());
        tokio::select! {
            biased;
            () = done(&settings, &presence, &shutdown) => return,
            () = unwanted(&mut wanted) => return,
            () = sleep(wait) => {}
        }
    }
}

/// Opens a stream. A worker that is stopping waits until it is of use.
async fn open(
    settings: &Arc<SessionSettings>,
    channel: &Channel,
    shutdown: &Shutdown,
) -> Result<Session, SessionError> {
    let stopping = shutdown.begun();
    if stopping {
        settings.unclaimed.some().await;
    }
    Session::open(Arc::clone(settings), channel.clone(), stopping).await
}

/// Waits until there is no such process any more.
async fn unwanted(wanted: &mut watch::Receiver<bool>) {
    // Without a sender nobody follows the processes: the worker ends.
    let _ = wanted.wait_for(|wanted| !*wanted).await;
}

/// Waits until the worker is stopping and no further stream is of use: nothing is held that a queue could want, or there
/// is no time left for it.
pub(crate) async fn done(settings: &SessionSettings, presence: &Presence, shutdown: &Shutdown) {
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

/// A queue that owns nothing, or is about to stop, is normal; else the first failure of a row is worth a look.
fn log_failure(url: &str, error: &SessionError, again: &Repeated) {
    let refused = if let SessionError::Refused(status) = error { reason(status) } else { None };
    let normal = matches!(refused, Some(Reason::NotOwner | Reason::Draining));
    let error = telemetry::chain(error);
    if !normal && let Some(left_out) = again.failed() {
        tracing::warn!(
            queue = url,
            error,
            left_out,
            "the stream to the queue failed; what has begun goes on; trying again"
        );
    } else {
        tracing::debug!(queue = url, error, "no stream; trying again");
    }
}
