//! A worker's stream: frames in become commands, what the engine sends goes out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt as _, stream};
use hashmesh::{
    limits,
    queue::v1::{
        Drain, HeldLease, Hello, LeaseTasksRequest, LeaseTasksResponse, Welcome, lease_tasks_request::Frame as In,
        lease_tasks_response::Frame as Out,
    },
};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};
use uuid::Uuid;

use super::{Frames, Shared, convert};
use crate::{
    core::{AlgorithmSet, Claim, LeaseId, TaskRun, WorkerId, WorkerInfo},
    engine::{Command, EngineHandle, NewWorker, WorkerFrame, to_worker},
    error::QueueError,
};

/// Frames that wait for a worker. The bytes of the leases among them are bounded too (`core::unread`).
const WORKER_FRAMES: usize = 16 * 1024;
/// Leases of another owner that a worker may name.
const MAX_HELD_LEASES: usize = 4096;
/// How long a worker may keep silent before its hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves `LeaseTasks`.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    mut inbound: Streaming<LeaseTasksRequest>,
) -> Result<Frames<LeaseTasksResponse>, Status> {
    let engine = shared.engine().await?;
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
    };
    let info = worker_info(&hello)?;
    let claims = claims(&hello)?;
    let sources = hello.sources;
    let drain = frames.downgrade();
    let new = |reply| NewWorker { info, claims, welcome, sources, frames, reply };
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
    let invalid = |field, description: &str| QueueError::Invalid { field, description: description.to_owned() };
    if hello.worker_id.is_empty() || hello.worker_id.len() > 255 || hello.worker_id.contains('\0') {
        return Err(invalid("hello.worker_id", "must be 1 to 255 bytes without NUL"));
    }
    let session = Uuid::from_slice(&hello.session);
    let session = session.map_err(|_| invalid("hello.session", "must be a UUID's 16 bytes"))?;
    let well_formed = |root: &hashmesh::v1::SourceRoot| {
        root.uri_prefix.ends_with('/') && root.uri_prefix.len() <= limits::MAX_URI_BYTES
    };
    if !hello.sources.iter().all(well_formed) {
        return Err(invalid("hello.sources", "each uri_prefix must end with `/`"));
    }
    Ok(WorkerInfo {
        name: hello.worker_id.clone(),
        session,
        slots: hello.slots,
        algorithms: AlgorithmSet::of(&convert::known_algorithms(&hello.algorithms)),
        source_prefixes: hello.sources.iter().map(|root| root.uri_prefix.clone()).collect(),
    })
}

/// What a worker says it still holds.
fn claims(hello: &Hello) -> Result<Vec<Claim>, QueueError> {
    let invalid =
        |description: &str| QueueError::Invalid { field: "hello.held_leases", description: description.to_owned() };
    if hello.held_leases.len() > MAX_HELD_LEASES {
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
    let claims: Option<Vec<Claim>> = hello.held_leases.iter().map(claim).collect();
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

    fn say_drain(&self) {
        if let Some(frames) = self.drain.upgrade() {
            let drain = Drain { reason: "the queue is stopping".to_owned() };
            // A worker that does not read is cut off by the engine.
            let _ = frames.try_send(LeaseTasksResponse { frame: Some(Out::Drain(drain)) });
        }
    }
}

fn worker_frame(frame: In) -> Option<WorkerFrame> {
    match frame {
        In::Hello(_) => None,
        In::Credit(credit) => Some(WorkerFrame::Credit { tasks: credit.tasks, bytes: credit.bytes }),
        In::Outcomes(outcomes) => Some(WorkerFrame::Outcomes(Box::new(outcomes))),
        In::Nack(nack) => {
            let retry_after = nack.retry_after.and_then(|delay| Duration::try_from(delay).ok()).unwrap_or_default();
            Some(WorkerFrame::Nack { lease: LeaseId(nack.lease_id), retry_after })
        }
        In::Heartbeat(heartbeat) => Some(WorkerFrame::Heartbeat(heartbeat)),
        In::Draining(_) => Some(WorkerFrame::Draining),
    }
}
