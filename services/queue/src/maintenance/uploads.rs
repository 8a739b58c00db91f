//! Uploads whose time has passed, or that were deleted: first nobody finds them any more, then their bytes go, then they are
//! forgotten. Every step may be repeated, and by several processes.

use std::time::Duration;

use hashmesh_database::Database;
use hashmesh_runtime::telemetry::{self, Repeated};
use hashmesh_uploads::{UploadKey, UploadStore};

use crate::store::{self, StoreError};

/// Between two rounds at most.
const INTERVAL: Duration = Duration::from_secs(10);
/// The same at least, however short the retention.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(500);
/// After which nothing that a writer began to put before the deletion can arrive: a Gateway gives a part a minute.
const GRACE: Duration = Duration::from_secs(600);

/// Looks after uploads until it is dropped.
pub(crate) async fn run_uploads(database: Database, store: UploadStore, retention: Duration) {
    let mut interval = tokio::time::interval((retention / 4).clamp(SHORTEST_INTERVAL, INTERVAL));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (again, kept) = (Repeated::new(), Repeated::new());
    loop {
        interval.tick().await;
        if let Err(error) = round(&database, &store, &kept).await
            && !error.refused_by_breaker()
            && let Some(left_out) = again.failed()
        {
            tracing::warn!(error = telemetry::chain(&error), left_out, "looking after uploads failed; trying again");
        }
    }
}

/// One round. `kept`: uploads whose bytes the store does not let go, as many as there may be.
async fn round(database: &Database, bytes: &UploadStore, kept: &Repeated) -> Result<(), StoreError> {
    store::expire_uploads(database).await?;
    let mut emptied = 0_u64;
    for deleted in store::deleted_uploads(database, GRACE).await? {
        let key = UploadKey { tenant: deleted.tenant, upload_id: store::upload_id(deleted.id) };
        if let Err(error) = bytes.delete(&key).await {
            // The others too: one that cannot be deleted must not keep them.
            if let Some(left_out) = kept.failed() {
                let (upload, error) = (&key.upload_id, telemetry::chain(&error));
                tracing::warn!(upload, error, left_out, "the bytes of an upload cannot be deleted; trying again");
            }
            continue;
        }
        if deleted.for_good {
            store::forget_upload(database, deleted.id).await?;
        } else {
            store::note_emptied(database, deleted.id).await?;
            tracing::debug!(upload = key.upload_id, tenant = key.tenant, "deleted an upload");
            emptied += 1;
        }
    }
    if emptied > 0 {
        tracing::info!(uploads = emptied, "deleted the bytes of uploads");
    }
    Ok(())
}
