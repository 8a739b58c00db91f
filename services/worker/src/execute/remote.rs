//! A group of objects that are read over the network: waiting is all that it mostly does, so it needs no thread.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt as _;
use hashmesh::{
    tasks::{Input, TaskView},
    v1::OutcomeStatus,
};

use super::{
    collect::Collector,
    group::{LeaseReading, Stopped, compare},
    piece::Shelf,
    plan::{Group, Plan},
};
use crate::{
    leases::HeldLease,
    sources::{Failure, Read, ReadError, Sources, Wanted},
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
        let mut collector = Collector::new(first, &self.plan.algorithms, &self.held, &self.shelf);
        for task in views {
            let digests = collector.next_task()?;
            // What the work may leave half done is the digests' buffer, which is cleared before its next use.
            let worked = AssertUnwindSafe(self.work_on(&task, digests)).catch_unwind().await;
            collector.collect(worked.unwrap_or_else(|_| Err(ReadError::Failed(Failure::panicked()))))?;
        }
        collector.finish();
        Ok(())
    }

    async fn work_on(&self, task: &TaskView, digests: &mut Vec<u8>) -> Result<(OutcomeStatus, Read), ReadError> {
        let Input::Object { uri, range } = &task.input else {
            return Err(ReadError::Failed(Failure::cannot_reach()));
        };
        let algorithms = &self.plan.algorithms;
        let progress = LeaseReading(&self.held);
        let wanted = Wanted { uri, range: *range, algorithms, allowed: self.plan.allowed.as_ref() };
        let read = self.sources.digest_remote(wanted, digests, &progress).await?;
        Ok((compare(task, algorithms, digests), read))
    }
}
