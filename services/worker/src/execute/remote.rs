//! A group of objects that are read over the network: waiting is all that it mostly does, so it needs no thread.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use futures::FutureExt as _;
use hashmesh::{
    algorithm::stride,
    tasks::{Input, TaskView},
    v1::OutcomeStatus,
};

use super::{
    PART_INTERVAL,
    group::{LeaseReading, Stopped, compare},
    piece::{Piece, Shelf},
    plan::{Group, Plan},
};
use crate::{
    leases::HeldLease,
    sources::{Failure, Read, ReadError, Sources},
};

/// A group and all it needs. Dropped, it stops.
#[derive(Debug)]
pub(crate) struct RemoteGroup {
    pub(crate) plan: Arc<Plan>,
    pub(crate) group: Group,
    pub(crate) held: Arc<HeldLease>,
    pub(crate) sources: Arc<Sources>,
    pub(crate) shelf: Arc<Shelf>,
}

impl RemoteGroup {
    /// Works on every task of the group, one after another, and puts their outcomes on the shelf.
    pub(crate) async fn run(self) -> Result<(), Stopped> {
        let Group { first, count, .. } = self.group;
        // The plan checked the columns and cut the groups: neither can fail.
        let Ok(tasks) = self.plan.tasks.slice(first, count) else { return Ok(()) };
        let Ok(views) = tasks.views() else { return Ok(()) };
        self.held.start();
        let mut digests = Vec::with_capacity(stride(&self.plan.algorithms));
        let mut piece = Piece::new(first);
        let mut begun = Instant::now();
        for task in views {
            if self.held.cancelled() {
                return Err(Stopped);
            }
            digests.clear();
            // What the work may leave half done is the digests' buffer, which is cleared before its next use.
            let worked = AssertUnwindSafe(self.work_on(&task, &mut digests)).catch_unwind().await;
            match worked.unwrap_or_else(|_| Err(ReadError::Failed(Failure::panicked()))) {
                Ok((status, read)) => piece.push_digested(status, &digests, &read),
                Err(ReadError::Failed(failure)) => piece.push_failed(failure, stride(&self.plan.algorithms)),
                Err(ReadError::Cancelled) => return Err(Stopped),
            }
            self.held.add_tasks_done(1);
            if begun.elapsed() >= PART_INTERVAL {
                let next = Piece::new(piece.end());
                self.shelf.put(std::mem::replace(&mut piece, next));
                begun = Instant::now();
            }
        }
        self.shelf.put(piece);
        Ok(())
    }

    async fn work_on(&self, task: &TaskView, digests: &mut Vec<u8>) -> Result<(OutcomeStatus, Read), ReadError> {
        let (Input::Object { uri, range }, Some(remote)) = (&task.input, self.sources.remote()) else {
            return Err(ReadError::Failed(Failure::cannot_reach()));
        };
        let algorithms = &self.plan.algorithms;
        let read = remote.digest(uri, *range, algorithms, digests, &LeaseReading(&self.held)).await?;
        Ok((compare(task, algorithms, digests), read))
    }
}
