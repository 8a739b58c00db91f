//! Workers: listed, and drained.

use hashmesh::{admin::v1 as api, error::bad_field, queue::v1 as queue};
use tonic::Status;

use super::audit;
use crate::{call::Call, service::Gateway, stats, unary::ask, upstream::Repeat};

/// Bytes of a worker's name.
const MAX_NAME: usize = 255;

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
    let answer = ask!(gateway, Repeat::Safe, call.deadline, set_worker_draining(request))?;
    Ok(api::SetWorkerDrainingResponse { workers: answer.workers })
}
