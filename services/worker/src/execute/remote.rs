//! A group of objects that are read over the network: waiting is all that it mostly does, so it needs no thread.

use std::{panic::AssertUnwindSafe, sync::Arc};

use bytes::Bytes;
use futures::FutureExt as _;
use hashmesh::{
    tasks::{Input, TaskView},
    v1::OutcomeStatus,
};

use super::{
    collect::Collector,
    group::{LeaseReading, Stopped, compare, wanted},
    piece::Shelf,
    plan::{Group, Plan},
};
use crate::{
    cache::Memo,
    leases::HeldLease,
    sources::{Failure, Known, Read, ReadError, Sources},
};

/// A group and all it needs. Dropped, it stops.
#[derive(Debug)]
pub(crate) struct RemoteGroup {
    pub(crate) plan: Arc<Plan>,
    pub(crate) memo: Arc<Memo>,
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
        for (number, task) in (first..).zip(views) {
            let digests = collector.next_task()?;
            // What the work may leave half done is the digests' buffer, which is cleared before its next use.
            let worked = AssertUnwindSafe(self.work_on(number, &task, digests)).catch_unwind().await;
            collector.collect(worked.unwrap_or_else(|_| Err(ReadError::Failed(Failure::panicked()))))?;
        }
        collector.finish();
        Ok(())
    }

    async fn work_on(
        &self,
        number: usize,
        task: &TaskView,
        digests: &mut Vec<u8>,
    ) -> Result<(OutcomeStatus, Read), ReadError> {
        let Input::Object { uri, range } = &task.input else {
            return Err(ReadError::Failed(Failure::cannot_reach()));
        };
        let progress = LeaseReading(&self.held);
        let (reader, others) = self.memo.turn(number).await;
        let mut wanted = wanted(&self.plan, &self.memo, number, uri, *range);
        wanted.known = wanted.known.or(others.as_deref());
        let read = self.sources.digest_remote(wanted, digests, &progress).await?;
        if let (Some(reader), Some(state)) = (reader, &read.state) {
            reader.finish(Known { state: state.clone(), digests: Bytes::copy_from_slice(digests) });
        }
        self.memo.note(number, &read, digests);
        Ok((compare(task, &self.plan.algorithms, digests), read))
    }
}
