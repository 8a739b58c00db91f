//! One `LeaseTasks` stream, from `hello` to its end.

mod listings;

use std::{
    io,
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::FutureExt as _;
use hashmesh::{
    limits::MAX_DECODED_MESSAGE_BYTES,
    queue::v1::{
        AdoptedLease, Hello, Lease, LeaseTasksResponse, NackReason, Welcome, lease_tasks_response::Frame,
        queue_service_client::QueueServiceClient,
    },
};
use hashmesh_runtime::{shutdown::Shutdown, trace};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tonic::{Status, Streaming, transport::Channel};
use tracing::Instrument as _;

use self::listings::Listings;
use crate::{
    config::CreditLimit,
    delivery::{Grant, Unclaimed},
    execute::{Executor, give_back},
    heartbeat::HeartbeatThread,
    leases::{HeldLease, HeldLeases},
    outbox::{Outbox, outbox},
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
    pub(crate) credit: CreditLimit,
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

/// The leases of a stream, and who works on them.
#[derive(Debug)]
struct Work {
    executor: Arc<Executor>,
    outbox: Outbox,
    held: Arc<HeldLeases>,
    unclaimed: Arc<Unclaimed>,
    given_back: mpsc::Sender<u64>,
    credit_left: CreditLeft,
}

/// What of the granted credit leases have not used up. Negative: the last one overdrew it.
#[derive(Clone, Copy, Debug, Default)]
struct CreditLeft {
    tasks: i64,
    bytes: i64,
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
        let claimed = unclaimed.borrow_and_update().clone();
        let held_leases = claimed.iter().map(|lease| lease.claim()).collect();
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
            // Another stream has ended: what it leaves must be named before this queue owns the work and gives it away.
            _ = unclaimed.changed() => return Err(SessionError::Outdated),
        };
        let Some(Frame::Welcome(welcome)) = first.frame else {
            return Err(SessionError::Protocol("its first frame is no welcome".to_owned()));
        };
        let interval = heartbeat_interval(&welcome)?;
        let held = Arc::new(HeldLeases::default());
        let heartbeat = HeartbeatThread::start(interval, Arc::clone(&held), outbox.urgent().clone())?;
        let listings = Listings::new(Arc::clone(&settings.executor.sources));
        let (executor, unclaimed) = (Arc::clone(&settings.executor), Arc::clone(&settings.unclaimed));
        let (sender, given_back) = mpsc::channel(GIVEN_BACK);
        let mut work =
            Work { executor, outbox, held, unclaimed, given_back: sender, credit_left: CreditLeft::default() };
        work.take_up(&claimed, welcome.adopted_leases)?;
        if !stopping {
            work.grant(settings.credit);
        }
        Ok(Self { settings, inbound, work, listings, given_back, drain: None, _heartbeat: heartbeat })
    }

    /// Works until the stream breaks, the queue drains, or `shutdown` begins and what is held is finished or given back.
    pub(crate) async fn run(mut self, shutdown: &Shutdown) -> Result<SessionEnd, SessionError> {
        loop {
            if let Some(drain) = self.drain
                && (self.work.idle() || Instant::now() >= drain.give_up_at)
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
                Some(lease_id) = self.given_back.recv() => self.let_go(&[lease_id]),
                () = shutdown.wait(), if self.drain.is_none() => self.begin_drain(SessionEnd::Stopped),
                () = sleep_until(deadline), if self.drain.is_some() => self.on_deadline(),
            }
        }
    }

    fn on_frame(&mut self, frame: Option<Frame>) -> Result<(), SessionError> {
        match frame {
            Some(Frame::Lease(lease)) => return self.on_lease(lease),
            Some(Frame::Settled(settled)) => self.let_go(&settled.lease_ids),
            Some(Frame::Revoke(revoke)) => {
                tracing::debug!(lease_id = revoke.lease_id, reason = revoke.reason, "lease revoked");
                self.let_go(&[revoke.lease_id]);
            }
            Some(Frame::Drain(drain)) => {
                tracing::info!(reason = drain.reason, "the queue drains");
                self.queue_drains();
            }
            Some(Frame::List(question)) => return self.listings.begin(question, &self.work.outbox),
            Some(Frame::Welcome(_)) => return Err(SessionError::Protocol("a second welcome".to_owned())),
            // Of a newer queue.
            None => tracing::debug!("ignoring a frame of an unknown kind"),
        }
        Ok(())
    }

    fn on_lease(&mut self, lease: Lease) -> Result<(), SessionError> {
        let grant = self.work.new_grant(lease.lease_id, lease.epoch);
        let held = Arc::new(HeldLease::new(&lease, grant));
        if !self.work.held.insert(lease.lease_id, Arc::clone(&held)) {
            return Err(SessionError::Protocol(format!("lease {} was granted twice", lease.lease_id)));
        }
        let room = self.work.credit_left.take(held.cost);
        if self.drain.is_some() {
            Work::give_back(held, NackReason::Draining);
        } else if room {
            self.work.execute(lease, held);
        } else {
            tracing::warn!(lease_id = lease.lease_id, "giving back a lease beyond the granted credit");
            Work::give_back(held, NackReason::Overloaded);
        }
        Ok(())
    }

    /// Nothing more is to be done for these leases: what they used of the credit is granted again.
    fn let_go(&mut self, lease_ids: &[u64]) {
        let mut freed = CreditLimit { tasks: 0, bytes: 0 };
        for lease in lease_ids.iter().filter_map(|lease_id| self.work.held.remove(*lease_id)) {
            freed.tasks = freed.tasks.saturating_add(lease.cost.tasks);
            freed.bytes = freed.bytes.saturating_add(lease.cost.bytes);
        }
        if self.drain.is_none() {
            self.work.grant(freed);
        }
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
        self.work.outbox.urgent().drain();
        // At once: others may do it now.
        for (_, lease) in self.work.held.untouched() {
            Work::give_back(lease, NackReason::Draining);
        }
        let now = Instant::now();
        self.drain = Some(match end {
            SessionEnd::Stopped => {
                let give_back_at = self.settings.give_back_at();
                Drain { end, give_back_at: Some(give_back_at), give_up_at: give_back_at + SETTLE_GRACE }
            }
            // What takes longer goes on, and is claimed from the next queue.
            SessionEnd::QueueDrained => Drain { end, give_back_at: None, give_up_at: now + HANDOVER_GRACE },
        });
    }

    fn next_deadline(&self) -> Instant {
        self.drain.map_or_else(Instant::now, |drain| drain.give_back_at.unwrap_or(drain.give_up_at))
    }

    /// The grace is over: what is not done goes back.
    fn on_deadline(&mut self) {
        if let Some(Drain { give_back_at, .. }) = &mut self.drain
            && give_back_at.take().is_some()
        {
            let unfinished = self.work.held.unfinished();
            tracing::warn!(leases = unfinished.len(), "giving back what was not done within the grace");
            for (_, lease) in unfinished {
                Work::give_back(lease, NackReason::Draining);
            }
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

impl Work {
    /// Goes on with what the queue has adopted of what it was told is held, and stops everything else that was.
    fn take_up(&mut self, claimed: &[Arc<HeldLease>], adopted: Vec<AdoptedLease>) -> Result<(), SessionError> {
        let mut kept = self.unclaimed.take();
        for AdoptedLease { held_lease, lease_id, epoch, ranges } in adopted {
            let place =
                claimed.get(held_lease as usize).and_then(|lease| kept.iter().position(|one| Arc::ptr_eq(one, lease)));
            let Some(place) = place else {
                return Err(SessionError::Protocol(format!("it adopted held lease {held_lease}, which there is not")));
            };
            let held = kept.swap_remove(place);
            if !self.held.insert(lease_id, Arc::clone(&held)) {
                return Err(SessionError::Protocol(format!("lease {lease_id} was granted twice")));
            }
            tracing::debug!(lease_id, "going on with a lease under another queue");
            // What it uses up, it used up before: more than there is now is no fault of the queue's.
            self.credit_left.take(held.cost);
            let grant = self.new_grant(lease_id, epoch);
            tokio::spawn(async move { held.delivery.resume(&held, &ranges, grant).await });
        }
        if !kept.is_empty() {
            // Recorded by now, most of them: their outcomes had been sent.
            tracing::info!(leases = kept.len(), "stopping what the queue has not adopted");
        }
        kept.iter().for_each(|lease| lease.cancel());
        Ok(())
    }

    fn new_grant(&self, lease_id: u64, epoch: u64) -> Grant {
        Grant { lease_id, epoch, outbox: self.outbox.clone(), given_back: self.given_back.clone() }
    }

    fn execute(&mut self, lease: Lease, held: Arc<HeldLease>) {
        let lease_id = lease.lease_id;
        let context = held.account.context();
        let span = match context {
            // Whoever follows a trace wants the lines of any level.
            Some(context) => tracing::info_span!("lease", lease_id, trace_id = context.trace_id()),
            None => tracing::debug_span!("lease", lease_id),
        };
        let executor = Arc::clone(&self.executor);
        let execution = async move {
            // Nothing that the work leaves behind is used again.
            let work = trace::within(context, executor.execute(lease, Arc::clone(&held)));
            if AssertUnwindSafe(work).catch_unwind().await.is_err() {
                tracing::error!(lease_id, "the work on a lease panicked; giving it back");
                held.account.failed("the work on the lease panicked");
                give_back(&held, NackReason::Unsupported).await;
            }
        };
        // Not the session's: it may go on under another. It ends with its work, or when the lease is cancelled.
        tokio::spawn(execution.instrument(span));
    }

    /// Not sent from here: the session must go on reading while the queue does not.
    fn give_back(held: Arc<HeldLease>, reason: NackReason) {
        tokio::spawn(async move { give_back(&held, reason).await });
    }

    fn grant(&mut self, credit: CreditLimit) {
        self.credit_left.tasks = self.credit_left.tasks.saturating_add(credit.tasks.into());
        let bytes = i64::try_from(credit.bytes).unwrap_or(i64::MAX);
        self.credit_left.bytes = self.credit_left.bytes.saturating_add(bytes);
        self.outbox.urgent().grant(credit);
    }

    fn idle(&self) -> bool {
        self.held.is_empty()
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        for lease in self.held.suspend_all() {
            self.unclaimed.keep(lease);
        }
    }
}

impl CreditLeft {
    /// Uses credit up. False if there was none left before.
    fn take(&mut self, cost: CreditLimit) -> bool {
        let room = self.tasks > 0 && self.bytes > 0;
        self.tasks = self.tasks.saturating_sub(cost.tasks.into());
        self.bytes = self.bytes.saturating_sub(i64::try_from(cost.bytes).unwrap_or(i64::MAX));
        room
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
