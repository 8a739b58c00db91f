//! A worker's stream: frames in become commands, what the engine sends goes out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use hashmesh::{
    error::TaskReason,
    limits,
    queue::v1::{
        AttemptFailure, Drain, HeldLease, Hello, LeaseTasksRequest, LeaseTasksResponse, SourcePage, Welcome,
        lease_tasks_request::Frame as In, lease_tasks_response::Frame as Out,
    },
    v1::TaskError,
};
use hashmesh_runtime::telemetry::Repeated;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};
use uuid::Uuid;

use super::{Frames, Shared, convert};
use crate::{
    core::{AlgorithmSet, Claim, LeaseId, TaskRun, WorkerId, WorkerInfo},
    engine::{Command, EngineHandle, IncomingBatch, Listed, ListedPage, NewWorker, WorkerFrame, to_worker},
    error::QueueError,
};

/// A page is asked for again.
static MALFORMED: Repeated = Repeated::at_most(10);

/// Frames that wait for a worker. The bytes of the leases among them are bounded too (`core::unread`).
const WORKER_FRAMES: usize = 16 * 1024;
/// Leases of another owner that a worker may name.
const MAX_HELD_LEASES: usize = 4096;
/// Of a listing: more than any key or path takes.
const MAX_CURSOR_BYTES: usize = 8 * 1024;
/// How long a worker may keep silent before its hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves `LeaseTasks`.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    mut inbound: Streaming<LeaseTasksRequest>,
) -> Result<Frames<LeaseTasksResponse>, Status> {
    let engine = shared.engine()?;
    let first = tokio::time::timeout(HELLO_TIMEOUT, inbound.message()).await;
    let first = first.map_err(|_| QueueError::Protocol("no `hello` came in time"))??;
    let Some(In::Hello(hello)) = first.and_then(|request| request.frame) else {
        return Err(QueueError::Protocol("the first frame must be `hello`").into());
    };
    let (frames, outgoing) = to_worker(WORKER_FRAMES);
    let welcome = Welcome {
        lease_duration: Some(proto_duration(shared.config.lease_duration)),
        heartbeat_interval: Some(proto_duration(shared.config.heartbeat_interval)),
        adopted_leases: Vec::new(),
        owned_shards: None,
    };
    let info = worker_info(&hello)?;
    let claims = claims(&hello.held_leases, "hello.held_leases")?;
    let (sources, lists) = (hello.sources, hello.lists_sources);
    let drain = frames.downgrade();
    let new = |reply| NewWorker { info, claims, welcome, sources, lists, frames, reply };
    let worker = engine.ask(|reply| Command::WorkerConnected(Box::new(new(reply)))).await?;

    let planned = Arc::new(AtomicBool::new(false));
    let reader = Reader { engine, worker, planned: Arc::clone(&planned), shared: Arc::clone(shared), drain };
    tokio::spawn(reader.run(inbound));
    // When the engine lets go of the worker without the worker having closed, the ownership is over or the worker was
    // cut off: it must reconnect.
    let end = stream::once(async move {
        if planned.load(Ordering::Relaxed) { None } else { Some(Err(Status::from(QueueError::Recovering))) }
    });
    Ok(Box::pin(outgoing.map(Ok).chain(end.filter_map(futures::future::ready))))
}

fn proto_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(duration).unwrap_or_default()
}

fn worker_info(hello: &Hello) -> Result<WorkerInfo, QueueError> {
    if hello.worker_id.is_empty() || hello.worker_id.len() > 255 || hello.worker_id.contains('\0') {
        return Err(QueueError::invalid("hello.worker_id", "must be 1 to 255 bytes without NUL"));
    }
    let session = Uuid::from_slice(&hello.session);
    let session = session.map_err(|_| QueueError::invalid("hello.session", "must be a UUID's 16 bytes"))?;
    let well_formed = |root: &hashmesh::v1::SourceRoot| {
        root.uri_prefix.ends_with('/') && root.uri_prefix.len() <= limits::MAX_URI_BYTES
    };
    if !hello.sources.iter().all(well_formed) {
        return Err(QueueError::invalid("hello.sources", "each uri_prefix must end with `/`"));
    }
    Ok(WorkerInfo {
        name: hello.worker_id.clone(),
        session,
        slots: hello.slots,
        algorithms: AlgorithmSet::of(&convert::known_algorithms(&hello.algorithms)),
        source_prefixes: hello.sources.iter().map(|root| root.uri_prefix.clone()).collect(),
        begins_alone: hello.begins_alone,
    })
}

/// What a worker says it still holds.
fn claims(held_leases: &[HeldLease], field: &'static str) -> Result<Vec<Claim>, QueueError> {
    let invalid = |description: &str| QueueError::invalid(field, description);
    if held_leases.len() > MAX_HELD_LEASES {
        return Err(invalid("must have at most 4096"));
    }
    let claim = |held: &HeldLease| {
        Some(Claim {
            submission: Uuid::from_slice(&held.submission_id).ok()?,
            sequence: held.sequence,
            run: (held.task_count > 0 && held.first_task.checked_add(held.task_count).is_some())
                .then(|| TaskRun::new(held.first_task, held.task_count))?,
            attempt: held.attempt,
            fingerprint: held.fingerprint.as_ref().try_into().ok()?,
            cost_bytes: held.cost_bytes,
        })
    };
    let claims: Option<Vec<Claim>> = held_leases.iter().map(claim).collect();
    claims.ok_or_else(|| invalid("each must have a UUID's 16 bytes, a fingerprint's 32, and tasks"))
}

/// Passes a worker's frames to the engine until its stream ends. The end of the stream gives its leases back.
#[derive(Debug)]
struct Reader {
    engine: EngineHandle,
    worker: WorkerId,
    planned: Arc<AtomicBool>,
    shared: Arc<Shared>,
    drain: mpsc::WeakSender<LeaseTasksResponse>,
}

impl Reader {
    async fn run(self, mut inbound: Streaming<LeaseTasksRequest>) {
        let mut draining = false;
        loop {
            let message = tokio::select! {
                message = inbound.message() => message,
                () = self.shared.shutdown.wait(), if !draining => {
                    draining = true;
                    self.planned.store(true, Ordering::Relaxed);
                    self.say_drain();
                    continue;
                }
                // The engine is gone, and with it everything a frame could refer to.
                () = self.engine.closed() => return,
            };
            let frame = match message {
                Ok(Some(request)) => request.frame,
                Ok(None) => {
                    self.planned.store(true, Ordering::Relaxed);
                    break;
                }
                Err(status) => {
                    tracing::debug!(code = ?status.code(), "a worker's stream broke");
                    break;
                }
            };
            if let Some(In::Claims(held)) = frame {
                let Ok(claims) = claims(&held.held_leases, "claims.held_leases") else {
                    tracing::warn!("a worker sent claims that make no sense; cutting it off");
                    break;
                };
                let frame = WorkerFrame::Claims(claims);
                if self.engine.tell(Command::WorkerFrame { worker: self.worker, frame }).await.is_err() {
                    return;
                }
                continue;
            }
            if let Some(In::Page(page)) = frame {
                self.page(page);
                continue;
            }
            let Some(frame) = frame.and_then(worker_frame) else {
                tracing::warn!("a worker sent a frame out of turn; cutting it off");
                break;
            };
            if self.engine.tell(Command::WorkerFrame { worker: self.worker, frame }).await.is_err() {
                return;
            }
        }
        // If the engine is gone, it has let go of the worker already.
        let gone = Command::WorkerDisconnected { worker: self.worker, handed_over: draining };
        let _ = self.engine.tell(gone).await;
    }

    /// A page waits for memory like any batch, and meanwhile the worker's other frames go on.
    fn page(&self, page: SourcePage) {
        let (engine, worker) = (self.engine.clone(), self.worker);
        tokio::spawn(async move {
            let question = page.question;
            let listed = match listed(page) {
                Ok((Some(batch), cursor, end)) => {
                    let Ok(permit) = engine.admission().admit(batch.memory_bytes()).await else { return };
                    Ok(Listed { batch: Some((batch, permit)), cursor, end })
                }
                Ok((None, cursor, end)) => Ok(Listed { batch: None, cursor, end }),
                Err(failure) => Err(failure),
            };
            let page = Box::new(ListedPage { question, listed });
            // If the engine is gone, whoever owns the queue next asks again.
            let _ = engine.tell(Command::Page { worker, page }).await;
        });
    }

    fn say_drain(&self) {
        if let Some(frames) = self.drain.upgrade() {
            let drain = Drain { reason: "the queue is stopping".to_owned() };
            // A worker that does not read is cut off by the engine.
            let _ = frames.try_send(LeaseTasksResponse { frame: Some(Out::Drain(drain)) });
        }
    }
}

/// What a page has: its batch, how far the listing is, and whether that was all.
fn listed(page: SourcePage) -> Result<(Option<IncomingBatch>, Bytes, bool), AttemptFailure> {
    if let Some(failure) = page.failure {
        return Err(failure);
    }
    let malformed = |what: String| {
        if let Some(left_out) = MALFORMED.failed() {
            tracing::error!(what, left_out, "a worker sent a malformed page of a listing; it is refused");
        }
        let message = "the worker sent a malformed page; the queue's log says why".to_owned();
        let error = TaskError { reason: TaskReason::SourceUnreadable.as_str().to_owned(), message };
        AttemptFailure { error: Some(error), retryable: true, ..AttemptFailure::default() }
    };
    if page.cursor.len() > MAX_CURSOR_BYTES {
        return Err(malformed(format!("a cursor of {} bytes", page.cursor.len())));
    }
    let batch = page
        .batch
        .map(|batch| convert::batch(batch, None))
        .transpose()
        .map_err(|error| malformed(error.to_string()))?;
    Ok((batch, page.cursor, page.end))
}

fn worker_frame(frame: In) -> Option<WorkerFrame> {
    match frame {
        In::Hello(_) | In::Page(_) | In::Claims(_) => None,
        In::Credit(credit) => Some(WorkerFrame::Credit { tasks: credit.tasks, bytes: credit.bytes }),
        In::Outcomes(outcomes) => Some(WorkerFrame::Outcomes(Box::new(outcomes), Instant::now())),
        In::Nack(nack) => {
            let retry_after = nack.retry_after.and_then(|delay| Duration::try_from(delay).ok()).unwrap_or_default();
            Some(WorkerFrame::Nack { lease: LeaseId(nack.lease_id), retry_after })
        }
        In::Heartbeat(heartbeat) => Some(WorkerFrame::Heartbeat(heartbeat)),
        In::Begin(begin) => Some(WorkerFrame::Begin { lease: LeaseId(begin.lease_id) }),
        In::Draining(_) => Some(WorkerFrame::Draining),
    }
}
