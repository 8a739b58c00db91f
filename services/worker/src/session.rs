//! One `LeaseTasks` stream, from `hello` to its end.

mod claims;
mod listings;
mod work;

use std::{
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use hashmesh::{
    limits::MAX_DECODED_MESSAGE_BYTES,
    queue::v1::{
        Hello, LeaseTasksResponse, Welcome, lease_tasks_response::Frame, queue_service_client::QueueServiceClient,
    },
};
use hashmesh_runtime::shutdown::Shutdown;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};
use tonic::{Status, Streaming, transport::Channel};

use self::{claims::Claiming, listings::Listings, work::Work};
use crate::{
    credit::CreditPool,
    execute::Executor,
    heartbeat::HeartbeatThread,
    outbox::outbox,
    shards::ShardSet,
    unclaimed::{Unclaimed, Waiting},
};

/// From the call to `welcome`. A queue that owns nothing refuses at once; one that takes longer hangs.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);
/// What may be asked for as an interval of heartbeats: a wrong value must neither flood nor kill.
const HEARTBEAT_INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(10);
/// How long a session that drains waits for `settled` after the last outcomes.
const SETTLE_GRACE: Duration = Duration::from_secs(3);
/// How long a session of a queue that drains waits for what is nearly done, before what is left is kept for the next.
const HANDOVER_GRACE: Duration = Duration::from_secs(1);
/// Leases given back that the session has not heard of yet; who gives back more waits for it.
const GIVEN_BACK: usize = 64;
/// How long the queue may take to end the stream after we did.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// What every session of a worker needs.
#[derive(Debug)]
pub(crate) struct SessionSettings {
    pub(crate) hello: Hello,
    /// What its streams share.
    pub(crate) credit: Arc<CreditPool>,
    pub(crate) drain_grace: Duration,
    /// When a worker that is stopping gives back what it has not done; set when it is told to stop.
    pub(crate) give_back_at: OnceLock<Instant>,
    pub(crate) executor: Arc<Executor>,
    /// What is held while no queue knows of it.
    pub(crate) unclaimed: Arc<Unclaimed>,
}

impl SessionSettings {
    /// When what is not done is given back, by a worker that has been told to stop: the same for all its streams, and for
    /// those that follow them.
    pub(crate) fn give_back_at(&self) -> Instant {
        *self.give_back_at.get_or_init(|| Instant::now() + self.drain_grace)
    }
}

/// How a session ended that ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionEnd {
    /// The worker is stopping.
    Stopped,
    /// The queue is stopping; another, or the next, will want us.
    QueueDrained,
}

/// How a session ended that did not end well. The remedy is always the same: connect again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("the queue refused the stream")]
    Refused(#[source] Box<Status>),
    #[error("the queue sent no welcome within {WELCOME_TIMEOUT:?}")]
    NoWelcome,
    #[error("the stream broke")]
    Broken(#[source] Box<Status>),
    #[error("the queue ended the stream")]
    Closed,
    #[error("the queue broke the protocol: {0}")]
    Protocol(String),
    /// Nothing is wrong: the hello must be said again, for what it named is not what is held.
    #[error("what is held by no queue changed before the queue answered")]
    Outdated,
    #[error("the heartbeat's thread could not be started")]
    Heartbeat(#[from] io::Error),
}

/// A stream that the queue has welcomed. When it is dropped, what has begun on its leases goes on, unclaimed; the rest stops.
#[derive(Debug)]
pub(crate) struct Session {
    settings: Arc<SessionSettings>,
    inbound: Streaming<LeaseTasksResponse>,
    work: Work,
    claiming: Claiming,
    /// What no queue knows of.
    unclaimed: watch::Receiver<Waiting>,
    listings: Listings,
    /// Leases that were given back.
    given_back: mpsc::Receiver<u64>,
    /// Set while the session drains.
    drain: Option<Drain>,
    /// Ends with the session.
    _heartbeat: HeartbeatThread,
}

/// How far a drain is.
#[derive(Clone, Copy, Debug)]
struct Drain {
    end: SessionEnd,
    /// When what is not done is given back; none once it is.
    give_back_at: Option<Instant>,
    /// When even `settled` is not waited for any longer.
    give_up_at: Instant,
}

impl Session {
    /// Opens a stream, says hello and waits for the welcome. While the worker is stopping it gives no credit: it takes
    /// nothing but what the queue adopts.
    pub(crate) async fn open(
        settings: Arc<SessionSettings>,
        channel: Channel,
        stopping: bool,
    ) -> Result<Self, SessionError> {
        let mut unclaimed = settings.unclaimed.watch();
        let (named, arrivals) = {
            let waiting = unclaimed.borrow_and_update();
            (waiting.of(ShardSet::ALL), waiting.arrivals)
        };
        let held_leases = named.iter().map(|lease| lease.claim()).collect();
        let (outbox, frames) = outbox(Hello { held_leases, ..settings.hello.clone() });
        let mut client = QueueServiceClient::new(channel).max_decoding_message_size(MAX_DECODED_MESSAGE_BYTES);
        let opened = timeout(WELCOME_TIMEOUT, async {
            let refused = |status| SessionError::Refused(Box::new(status));
            let mut inbound = client.lease_tasks(frames).await.map_err(refused)?.into_inner();
            let first = inbound.message().await.map_err(refused)?.ok_or(SessionError::Closed)?;
            Ok((inbound, first))
        });
        let (inbound, first) = tokio::select! {
            biased;
            opened = opened => opened.unwrap_or(Err(SessionError::NoWelcome))?,
            // What another stream leaves must be named before this queue owns the work and gives it away.
            _ = unclaimed.wait_for(|waiting| waiting.arrivals != arrivals) => return Err(SessionError::Outdated),
        };
        let Some(Frame::Welcome(welcome)) = first.frame else {
            return Err(SessionError::Protocol("its first frame is no welcome".to_owned()));
        };
        let interval = heartbeat_interval(&welcome)?;
        let (sender, given_back) = mpsc::channel(GIVEN_BACK);
        let work = Work::new(&settings, outbox, sender);
        let heartbeat = HeartbeatThread::start(interval, work.held(), work.urgent().clone())?;
        let listings = Listings::new(Arc::clone(&settings.executor.sources));
        let owned = welcome.owned_shards.map(ShardSet::from_bits);
        work.take_up(&named, welcome.adopted_leases, owned)?;
        if !stopping {
            work.open_credit();
        }
        let claiming = Claiming::new(owned);
        let mut session = Self {
            settings,
            inbound,
            work,
            claiming,
            unclaimed,
            listings,
            given_back,
            drain: None,
            _heartbeat: heartbeat,
        };
        // What came up since the hello.
        session.claim();
        Ok(session)
    }

    /// Works until the stream breaks, the queue drains, or `shutdown` begins and what is held is finished or given back.
    pub(crate) async fn run(mut self, shutdown: &Shutdown) -> Result<SessionEnd, SessionError> {
        loop {
            if let Some(drain) = self.drain
                && (self.idle() || Instant::now() >= drain.give_up_at)
            {
                self.close().await;
                return Ok(drain.end);
            }
            let deadline = self.next_deadline();
            tokio::select! {
                frame = self.inbound.message() => match frame {
                    Ok(Some(LeaseTasksResponse { frame })) => self.on_frame(frame)?,
                    // While draining this is what was about to happen, and what is lost goes back to the queue.
                    Ok(None) => return self.drain.map_or(Err(SessionError::Closed), |drain| Ok(drain.end)),
                    Err(status) => return Err(SessionError::Broken(Box::new(status))),
                },
                Some(lease_id) = self.given_back.recv() => self.work.let_go(&[lease_id]),
                Ok(()) = self.unclaimed.changed(), if self.may_claim() => self.claim(),
                () = shutdown.wait(), if self.drain.is_none() => self.begin_drain(SessionEnd::Stopped),
                () = sleep_until(deadline), if self.drain.is_some() => self.on_deadline(),
            }
        }
    }

    fn on_frame(&mut self, frame: Option<Frame>) -> Result<(), SessionError> {
        match frame {
            Some(Frame::Lease(lease)) => return self.work.begin(lease, self.drain.is_some()),
            Some(Frame::Settled(settled)) => self.work.let_go(&settled.lease_ids),
            Some(Frame::Revoke(revoke)) => {
                tracing::debug!(lease_id = revoke.lease_id, reason = revoke.reason, "lease revoked");
                self.work.let_go(&[revoke.lease_id]);
            }
            Some(Frame::Drain(drain)) => {
                tracing::info!(reason = drain.reason, "the queue drains");
                self.queue_drains();
            }
            Some(Frame::List(question)) => return self.listings.begin(question, self.work.outbox()),
            Some(Frame::Welcome(_)) => return Err(SessionError::Protocol("a second welcome".to_owned())),
            Some(Frame::OwnedShards(owned)) => self.on_owned_shards(ShardSet::from_bits(owned.shards)),
            Some(Frame::Claimed(claimed)) => return self.on_claimed(claimed),
            Some(Frame::Begun(begun)) => self.work.may_begin(begun.lease_id),
            // Of a newer queue.
            None => tracing::debug!("ignoring a frame of an unknown kind"),
        }
        Ok(())
    }

    /// Of both that may be stopping, the queue has less time: what takes longer is for the next one.
    fn queue_drains(&mut self) {
        match &mut self.drain {
            None => self.begin_drain(SessionEnd::QueueDrained),
            Some(drain) => {
                let give_up_at = drain.give_up_at.min(Instant::now() + HANDOVER_GRACE);
                *drain = Drain { end: SessionEnd::QueueDrained, give_back_at: None, give_up_at };
            }
        }
    }

    fn begin_drain(&mut self, end: SessionEnd) {
        let now = Instant::now();
        let drain = match end {
            SessionEnd::Stopped => {
                // Before another stream is granted what this one will not use.
                self.settings.credit.end();
                let give_back_at = self.settings.give_back_at();
                Drain { end, give_back_at: Some(give_back_at), give_up_at: give_back_at + SETTLE_GRACE }
            }
            // What takes longer goes on, and is claimed from the next queue.
            SessionEnd::QueueDrained => Drain { end, give_back_at: None, give_up_at: now + HANDOVER_GRACE },
        };
        self.work.drain();
        self.drain = Some(drain);
    }

    fn next_deadline(&self) -> Instant {
        self.drain.map_or_else(Instant::now, |drain| drain.give_back_at.unwrap_or(drain.give_up_at))
    }

    /// The grace is over: what is not done goes back.
    fn on_deadline(&mut self) {
        if let Some(Drain { give_back_at, .. }) = &mut self.drain
            && give_back_at.take().is_some()
        {
            self.work.give_back_unfinished();
        }
    }

    /// Ends our half after all that was put into it, and waits for the queue's.
    async fn close(self) {
        let Self { work, listings, mut inbound, .. } = self;
        // With the last outbox.
        drop((work, listings));
        let ended = async { while let Ok(Some(_)) = inbound.message().await {} };
        if timeout(CLOSE_GRACE, ended).await.is_err() {
            tracing::debug!("the queue did not end the stream in time");
        }
    }
}

fn heartbeat_interval(welcome: &Welcome) -> Result<Duration, SessionError> {
    let interval = welcome.heartbeat_interval.and_then(|interval| Duration::try_from(interval).ok());
    let interval = interval.filter(|interval| !interval.is_zero());
    let interval =
        interval.ok_or_else(|| SessionError::Protocol("its welcome has no heartbeat interval".to_owned()))?;
    Ok(interval.clamp(*HEARTBEAT_INTERVALS.start(), *HEARTBEAT_INTERVALS.end()))
}

#[cfg(test)]
mod tests;
