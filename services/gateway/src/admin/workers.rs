//! Workers: listed, and drained.

use std::time::Duration;

use hashmesh::{
    admin::v1 as api,
    error::{Reason, bad_field, reason},
    queue::v1 as queue,
    v1::WorkerStats,
};
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};

use super::audit;
use crate::{
    call::Call,
    error,
    service::{Gateway, queue_client},
    stats,
    upstream::{Asked, ask_each},
};

/// Bytes of a worker's name.
const MAX_NAME: usize = 255;
/// How long a process of the Queue is waited for that has not answered, and until it is asked again.
const PATIENCE: Duration = Duration::from_secs(2);
const AGAIN_AFTER: Duration = Duration::from_millis(250);

pub(super) async fn list(gateway: &Gateway, call: Call) -> Result<api::ListWorkersResponse, Status> {
    let workers = stats::stats(gateway, call).await?.queue.map(|queue| queue.workers);
    Ok(api::ListWorkersResponse { workers: workers.unwrap_or_default() })
}

pub(super) async fn set_draining(
    gateway: &Gateway,
    request: api::SetWorkerDrainingRequest,
    call: Call,
) -> Result<api::SetWorkerDrainingResponse, Status> {
    let api::SetWorkerDrainingRequest { worker_id, draining } = request;
    if !(1..=MAX_NAME).contains(&worker_id.len()) {
        return Err(bad_field("worker_id", format!("must be 1 to {MAX_NAME} bytes")));
    }
    let action = if draining { "worker.drain" } else { "worker.resume" };
    audit::note(gateway, &call, action, &worker_id, "").await?;
    let request = queue::SetWorkerDrainingRequest { worker_id, draining };
    let began = Instant::now();
    loop {
        let asked = ask_each!(gateway.queue, queue_client, call.deadline, set_worker_draining(request.clone()));
        match all(asked) {
            Ok(answers) => return Ok(api::SetWorkerDrainingResponse { workers: stats::workers(answers) }),
            // It could hand out leases; perhaps it is gone, and will not be asked again.
            Err(status) if status.code() == Code::Unavailable && began.elapsed() < PATIENCE => {}
            Err(status) => return Err(status),
        }
        let again = async {
            sleep(AGAIN_AFTER).await;
            Ok(())
        };
        call.deadline.limit(again).await?;
    }
}

type Drained = queue::SetWorkerDrainingResponse;

/// The workers by process, if every process has answered. A worker may be connected to some only.
fn all(asked: Result<Vec<Asked<Drained>>, Status>) -> Result<Vec<Vec<WorkerStats>>, Status> {
    let (mut answers, mut unknown) = (Vec::new(), None);
    for one in asked? {
        match one.answer {
            Some(Ok(answer)) => answers.push(answer.workers),
            Some(Err(status)) if reason(&status) == Some(Reason::WorkerNotFound) => unknown = Some(status),
            Some(Err(status)) => return Err(status),
            None => return Err(error::unavailable("a process of the queue does not answer; try again")),
        }
    }
    match unknown {
        Some(status) if answers.is_empty() => Err(status),
        _ => Ok(answers),
    }
}

#[cfg(test)]
mod tests {
    use hashmesh::error::StatusBuilder;

    use super::*;
    use crate::upstream::QueueProcess;

    fn asked(answer: Option<Result<Drained, Status>>) -> Asked<Drained> {
        Asked { process: QueueProcess::default(), answer }
    }

    fn drained() -> Asked<Drained> {
        asked(Some(Ok(Drained { workers: vec![WorkerStats::default()] })))
    }

    fn not_found() -> Asked<Drained> {
        asked(Some(Err(StatusBuilder::new(Reason::WorkerNotFound, "no such worker").build())))
    }

    #[test]
    fn a_worker_is_drained_once_every_process_that_it_is_connected_to_has_said_so() {
        assert_eq!(all(Ok(vec![drained(), not_found(), drained()])).unwrap().len(), 2);
        let nobody = all(Ok(vec![not_found(), not_found()])).unwrap_err();
        assert_eq!(reason(&nobody), Some(Reason::WorkerNotFound));
        let silent = all(Ok(vec![drained(), asked(None)])).unwrap_err();
        assert_eq!(reason(&silent), Some(Reason::UpstreamUnavailable));
        assert!(all(Ok(vec![drained(), asked(Some(Err(error::unavailable("gone"))))])).is_err());
    }
}
