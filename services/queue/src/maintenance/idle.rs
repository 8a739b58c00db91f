//! Submissions that were opened and forgotten: nobody seals them, so they would never end, nor ever expire.

use std::time::Duration;

use hashmesh::v1::EndReason;
use hashmesh_runtime::telemetry::{self, Repeated};

use super::StorageStatus;
use crate::{
    engine::EngineHandle,
    error::QueueError,
    store::{Maintenance, StoreError},
};

/// Of all that are idle, each in turn.
static REFUSED: Repeated = Repeated::new();

/// Cancels what has been idle while OPEN for so long. Zero: nothing.
pub(crate) async fn cancel_idle(
    tables: &Maintenance,
    engine: &EngineHandle,
    idle: Duration,
    status: &StorageStatus,
) -> Result<(), StoreError> {
    if idle.is_zero() {
        return Ok(());
    }
    for id in tables.idle_open(engine.shards().now(), idle).await? {
        match engine.cancel(id, EndReason::Idle).await {
            Ok(()) => {
                tracing::info!(%id, "cancelled a submission that was idle while open");
                status.note(|stats| stats.idle_cancelled_submissions += 1);
            }
            // It ended or went to another owner meanwhile, or the engine ended.
            Err(QueueError::Completed | QueueError::Recovering | QueueError::NotOwner { .. }) => {}
            Err(error) => {
                if let Some(left_out) = REFUSED.failed() {
                    tracing::warn!(%id, error = telemetry::chain(&error), left_out, "cannot cancel an idle submission");
                }
            }
        }
    }
    Ok(())
}
