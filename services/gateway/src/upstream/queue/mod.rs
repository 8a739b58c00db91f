//! The Queue: any number of processes that share the shards, and a way to whom a call is for.
//!
//! Who owns what is known by [`watcher`], which keeps a stream to one of them. In between, `NOT_OWNER` names the owner, which is
//! believed until the next picture says more. Shards change hands: in well under a second if that is planned, in about 6 s
//! after a crash. Calls that certainly were not executed, or may be repeated, wait for that for [`PATIENCE`], so that planned
//! changes fail none.
//!
//! A Queue of the version before shares nothing and tells of no shards: then one process is kept to while it answers, and
//! `NOT_OWNER` leads to another.

mod directory;
mod each;
mod route;
mod table;
mod watcher;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::select_ok;
use hashmesh::{
    error::{Reason, StatusBuilder},
    queue::v1::WatchShardsResponse,
};
use hashmesh_middleware::retry::RetryBudget;
use hashmesh_runtime::{channel::Guarded, metrics::catalogue::rpc::CLIENT_RETRIES, tls::Tls};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tonic::{Response, Status, Streaming};

use self::directory::Directory;
pub(crate) use self::{
    each::{Asked, ask_each},
    route::{Route, Routed},
};
use super::{
    MAX_ATTEMPTS, Pace, Repeat, StreamSlot,
    target::Target,
    verdict::{Verdict, judge},
};
use crate::{
    deadline::{self, Deadline},
    error::{self, GatewayError, UpstreamLog},
};

const SERVICE: &str = "queue";
/// What failed, of all of its processes.
static LOG: UpstreamLog = UpstreamLog::new(SERVICE);
/// How long a call waits for a shard that changes hands.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two attempts, if nothing is heard of the shard meanwhile; by chance, so that those who wait do not come together.
const PAUSE_MILLIS: std::ops::Range<u64> = 100..250;
/// How long the answer of a process is waited for whose shard somebody else owns by now.
const SUPERSEDED_PATIENCE: Duration = Duration::from_secs(1);

/// The Queue's processes.
#[derive(Debug)]
pub(crate) struct QueueUpstream {
    directory: Mutex<Directory>,
    /// Something of the directory's table has changed.
    changes: watch::Sender<()>,
    /// Of calls that nobody knows the end of.
    repeats: RetryBudget,
}

/// A process of the Queue that owns or takes shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueProcess {
    /// A UUID. Empty: it is of a version that shares nothing.
    pub(crate) id: String,
    pub(crate) address: String,
    /// How many it owns.
    pub(crate) shards: u32,
    /// Whether it owns the first one, and with it what there is once.
    pub(crate) first: bool,
}

/// A stream's place: on a connection, and at a process that was asked as this shard's owner.
#[derive(Debug)]
pub(crate) struct QueueSlot {
    route: Route,
    target: Arc<Target>,
    _slot: StreamSlot,
}

/// Asks the Queue by a client that is made of each channel; the request is kept, so that it can be sent again. It learns how
/// much time is left.
macro_rules! ask_queue {
    ($queue:expr, $client:path, $route:expr, $repeat:expr, $deadline:expr, $method:ident($request:expr)) => {{
        let (route, message, deadline): (_, _, $crate::deadline::Deadline) = ($route, $request, $deadline);
        let send = |channel| {
            let request = deadline.forward(message.clone());
            async move { $client(channel).$method(request).await }
        };
        $queue.call(route, $repeat, deadline, send).await
    }};
}
pub(crate) use ask_queue;

/// What follows an attempt that failed.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Another, at once.
    Now,
    /// Another, once the shard's owner may be there.
    Later,
    /// The error is the answer.
    Stop,
}

impl QueueUpstream {
    /// The Queue at these URLs; over TLS if they say so. Connects on first use.
    pub(crate) fn new(urls: &[String], tls: Option<Tls>) -> Result<Self, GatewayError> {
        Ok(Self {
            directory: Mutex::new(Directory::new(urls, tls)?),
            changes: watch::Sender::default(),
            repeats: RetryBudget::default(),
        })
    }

    /// Keeps what is known of the shards up to date, until dropped.
    pub(crate) async fn watch(self: Arc<Self>) {
        watcher::run(&self).await;
    }

    /// A unary call, on the connection that all of them share.
    pub(crate) async fn call<T, F>(
        &self,
        route: Route,
        repeat: Repeat,
        deadline: Deadline,
        mut send: impl FnMut(Guarded) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let answer = self.attempt(route, repeat, false, |target| send(target.shared()));
        deadline.limit(answer).await.map(Response::into_inner)
    }

    /// Opens a stream, on a connection that few others share; within [`deadline::DEFAULT`]. The slot must be held as long as the
    /// stream.
    pub(crate) async fn open<T, F>(
        &self,
        route: Route,
        repeat: Repeat,
        pace: Pace,
        mut open: impl FnMut(Guarded) -> F,
    ) -> Result<(T, QueueSlot), Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let opened = self.attempt(route, repeat, true, |target| {
            let opening = target.open(pace, &mut open);
            async move { Ok((opening.await?, target)) }
        });
        // Nothing else ends the wait for an answer that is lost with its connection (README, "Decisions").
        let ((opened, slot), target) = Deadline::after(deadline::DEFAULT).limit(opened).await?;
        Ok((opened, QueueSlot { route, target, _slot: slot }))
    }

    /// Whether any process can be reached, whatever it says of its work.
    pub(crate) async fn reachable(&self, within: Duration) -> bool {
        let targets = self.directory().known();
        let asked =
            targets.into_iter().map(|target| Box::pin(async move { target.answers().await.then_some(()).ok_or(()) }));
        tokio::time::timeout(within, select_ok(asked)).await.is_ok_and(|any| any.is_ok())
    }

    /// Whether anybody owns shards; true as long as nobody tells.
    pub(crate) fn owned(&self) -> bool {
        self.directory().owned()
    }

    /// What comes next on a stream. One that says nothing although somebody else owns its shard by now is over, and its client
    /// opens another: a process that is stopped or cut off never says so.
    pub(crate) async fn message<T>(&self, slot: &QueueSlot, frames: &mut Streaming<T>) -> Result<Option<T>, Status> {
        let status = tokio::select! {
            biased;
            message = frames.message() => match message {
                Ok(message) => return Ok(message),
                Err(status) => status,
            },
            () = self.superseded(slot.route, &slot.target) => silent(),
        };
        Err(self.status(slot, &status))
    }

    /// A status of the Queue, as clients see it; for what arrives on a stream once it is open.
    fn status(&self, slot: &QueueSlot, status: &Status) -> Status {
        // So that the client's next attempt finds the owner.
        if let Verdict::NotExecuted { owner } = judge(status) {
            let _other = self.failed(slot.route, &slot.target, owner.as_deref());
        }
        error::from_upstream(&LOG, status)
    }

    async fn attempt<T, F>(
        &self,
        route: Route,
        repeat: Repeat,
        opens: bool,
        mut send: impl FnMut(Arc<Target>) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        self.repeats.earn();
        let began = Instant::now();
        let (mut repeated, mut at_once) = (false, 1);
        let mut failed: Option<Arc<Target>> = None;
        loop {
            let (target, shared) = {
                let mut directory = self.directory();
                (directory.target(route, failed.as_ref()), directory.shared())
            };
            let (status, next) = match target {
                // Nobody owns it now.
                None => (changing_hands(), Next::Later),
                Some(target) => {
                    let status = match self.answer(route, repeat, &target, send(Arc::clone(&target))).await {
                        Ok(answer) => return Ok(answer),
                        Err(status) => status,
                    };
                    let next = self.next(route, repeat, opens, &target, &status, &mut repeated);
                    tracing::debug!(service = SERVICE, url = target.url(), code = ?status.code(), ?next, "an attempt failed");
                    failed = Some(target);
                    (status, next)
                }
            };
            let again = match next {
                Next::Now if at_once < MAX_ATTEMPTS => {
                    at_once += 1;
                    true
                }
                // Who shares nothing has one owner, which takes longer to replace than anybody should wait.
                Next::Now | Next::Later if shared && began.elapsed() < PATIENCE => {
                    self.pause(route, failed.as_deref()).await;
                    true
                }
                Next::Now | Next::Later | Next::Stop => false,
            };
            if !again {
                return Err(error::from_upstream(&LOG, &status));
            }
            if failed.is_some() {
                CLIENT_RETRIES.add(1, &[SERVICE]);
            }
        }
    }

    fn next(
        &self,
        route: Route,
        repeat: Repeat,
        opens: bool,
        target: &Arc<Target>,
        status: &Status,
        repeated: &mut bool,
    ) -> Next {
        match judge(status) {
            Verdict::Answered => Next::Stop,
            Verdict::Recovering if opens || repeat == Repeat::Safe => Next::Later,
            Verdict::Recovering => Next::Stop,
            Verdict::NotExecuted { owner } => {
                if self.failed(route, target, owner.as_deref()) {
                    Next::Now
                } else {
                    Next::Later
                }
            }
            // Once: on another process if there is one, else on a new connection.
            Verdict::Unknown => {
                let first = !std::mem::replace(repeated, true);
                let _other = self.failed(route, target, None);
                if first && repeat == Repeat::Safe && self.repeats.spend() { Next::Now } else { Next::Stop }
            }
        }
    }

    /// An answer; or, if somebody else is to be asked by now and the process says nothing, that it does not own what it was
    /// asked about: one that is stopped or cut off never says so. Only of calls that may be repeated.
    async fn answer<T>(
        &self,
        route: Route,
        repeat: Repeat,
        target: &Arc<Target>,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        if repeat == Repeat::Unsafe {
            return answer.await;
        }
        tokio::select! {
            biased;
            answer = answer => answer,
            () = self.superseded(route, target) => Err(silent()),
        }
    }

    /// Waits until somebody else than `target` is to be asked, and as long as that one may still be answering.
    async fn superseded(&self, route: Route, target: &Target) {
        self.moved(route, Some(target)).await;
        sleep(SUPERSEDED_PATIENCE).await;
    }

    /// Waits a little, and not once the shard is said to have another owner.
    async fn pause(&self, route: Route, from: Option<&Target>) {
        let pause = sleep(Duration::from_millis(rand::random_range(PAUSE_MILLIS)));
        match route {
            Route::Shard(_) => tokio::select! {
                () = self.moved(route, from) => {}
                () = pause => {}
            },
            Route::Any | Route::AnyOwner => pause.await,
        }
    }

    /// Waits until it is known that somebody else than `from` is to be asked.
    async fn moved(&self, route: Route, from: Option<&Target>) {
        let mut changes = self.changes.subscribe();
        while !self.directory().moved(route, from) {
            if changes.changed().await.is_err() {
                // Cannot be: the sender is ours.
                return;
            }
        }
    }

    /// Notes that a process has not executed a call. True if there is somebody else to ask.
    fn failed(&self, route: Route, from: &Arc<Target>, owner: Option<&str>) -> bool {
        let other = self.directory().failed(route, from, owner);
        if owner.is_some() {
            self.changes.send_replace(());
        }
        other
    }

    /// Takes a picture.
    fn take(&self, picture: &WatchShardsResponse) {
        let taken = self.directory().take(picture);
        match taken {
            Ok(true) => {
                self.changes.send_replace(());
            }
            Ok(false) | Err(table::PictureError::Empty) => {}
            Err(error) => tracing::error!(%error, "a picture of the queue's shards is not usable"),
        }
    }

    fn directory(&self) -> MutexGuard<'_, Directory> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process says nothing, and its shard has another owner.
fn silent() -> Status {
    StatusBuilder::new(Reason::NotOwner, "silent, and superseded").build()
}

/// Nobody owns a shard.
fn changing_hands() -> Status {
    StatusBuilder::new(Reason::NotOwner, "nobody owns the shard").build()
}

#[cfg(test)]
mod tests;
