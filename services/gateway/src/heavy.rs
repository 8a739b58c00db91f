//! CPU work that takes longer than the async threads may spare (0.5 ms): on threads for it, as many as there are CPUs.

use std::sync::LazyLock;

use hashmesh_runtime::resources;
use tokio::sync::Semaphore;
use tonic::Status;

use crate::error;

/// Of the process and not of a Gateway: so are the CPUs.
static CPUS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(resources::cpus()));

/// Runs `work` elsewhere, in turn. Those who wait are bounded by the streams and calls that are admitted, each of which
/// has one piece of work at a time.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    let cpu = CPUS.acquire().await.map_err(|_closed| error::internal())?;
    tokio::task::spawn_blocking(move || {
        // Held by the work: it goes on when its caller is gone.
        let _cpu = cpu;
        work()
    })
    .await
    .map_err(|error| {
        tracing::error!(%error, "work beside the async threads panicked");
        error::internal()
    })
}
