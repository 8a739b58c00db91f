//! Tests that need the machine, or its clock, for themselves take turns.

use tokio::sync::{Semaphore, SemaphorePermit};

static TURN: Semaphore = Semaphore::const_new(1);

/// Waits for a turn, which lasts until the permit is dropped.
pub(crate) async fn turn() -> SemaphorePermit<'static> {
    TURN.acquire().await.expect("never closed")
}

/// True for the full versions of the long tests (`make test-all`).
pub(crate) fn long() -> bool {
    std::env::var_os("HASHMESH_TEST_LONG").is_some_and(|value| value == "1")
}
