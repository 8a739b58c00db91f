//! What a worker exports besides what it counts as it happens.

use hashmesh::error::TaskReason;
use hashmesh_runtime::metrics::{
    Watch,
    catalogue::worker::{BUSY_SECONDS, READ_FAILURES, THREADS, WAITING_GROUPS},
};

use crate::execute::{Door, Executor};

/// Has the threads of a worker and those who wait for them asked for, until dropped. Several workers of a process add up.
#[must_use = "they are asked for as long as this lives"]
pub(crate) fn of(executor: &Executor) -> Vec<Watch> {
    // Those that only a Queue finds out are none of ours.
    let ours = |reason: &&TaskReason| !matches!(reason, TaskReason::WorkerLost | TaskReason::WorkerStalled);
    for reason in TaskReason::ALL.iter().filter(ours) {
        READ_FAILURES.expect(&[reason.as_str()]);
    }
    let mut watches = Vec::new();
    for (name, pool) in [("hash", &executor.inline), ("read", &executor.objects)] {
        let (busy, threads) = (pool.clone(), count(pool.threads()));
        watches.push(BUSY_SECONDS.watch(&[name], move || busy.busy().as_secs_f64()));
        watches.push(THREADS.watch(&[name], move || threads));
    }
    let doors = [("hash", &executor.inline_door), ("read", &executor.objects_door), ("remote", &executor.remote_door)];
    watches.extend(doors.map(|(name, door)| waiting(name, door.clone())));
    watches
}

fn waiting(name: &str, door: Door) -> Watch {
    WAITING_GROUPS.watch(&[name], move || count(door.waiting()))
}

#[allow(clippy::cast_precision_loss)] // never that many
fn count(number: usize) -> f64 {
    number as f64
}
