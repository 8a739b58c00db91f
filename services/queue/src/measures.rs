//! What the queue's gauges say: numbers that its parts leave here, and that whoever collects metrics reads without waiting
//! for anybody.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use hashmesh_runtime::metrics::{Gauge, Watch, catalogue::queue};

use crate::maintenance::StorageStatus;

/// A number that only an owner of the queue has; elsewhere it is 0.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Owned {
    /// How many it works on.
    Shards,
    /// How many nobody owns.
    FreeShards,
    ReadyTasks,
    LeasedTasks,
    OldestReadyMs,
    UnfinishedSubmissions,
    PayloadBytes,
    Workers,
    WorkerSlots,
    Leases,
    WalBytes,
}

const OWNED: usize = Owned::WalBytes as usize + 1;

/// What a Gateway's stream is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StreamKind {
    Write,
    Results,
    Watch,
}

/// The numbers of one Queue.
#[derive(Debug, Default)]
pub(crate) struct Measures {
    owned: [AtomicU64; OWNED],
    /// Open ones of each kind.
    streams: [AtomicU64; 3],
}

/// An ownership. When it is dropped, what was noted is 0 again; so whoever notes something must be gone before.
#[derive(Debug)]
pub(crate) struct Owning(Arc<Measures>);

/// A stream that is open, until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenStream(Arc<Measures>, StreamKind);

impl Measures {
    /// This process has an engine from now on.
    pub(crate) fn own(self: &Arc<Self>) -> Owning {
        Owning(Arc::clone(self))
    }

    /// Notes a number of an owner.
    pub(crate) fn note(&self, which: Owned, value: u64) {
        self.owned[which as usize].store(value, Ordering::Relaxed);
    }

    /// A stream is opened.
    pub(crate) fn open_stream(self: &Arc<Self>, kind: StreamKind) -> OpenStream {
        self.streams[kind as usize].fetch_add(1, Ordering::Relaxed);
        OpenStream(Arc::clone(self), kind)
    }

    /// Has everything asked for until what is returned is dropped. `payload_bytes`: how many there may be.
    pub(crate) fn watch(self: &Arc<Self>, payload_bytes: usize, storage: &Arc<StorageStatus>) -> Vec<Watch> {
        let number = |gauge: &'static Gauge, labels: &[&str], which: Owned, per_unit: f64| {
            let measures = Arc::clone(self);
            gauge.watch(labels, move || measures.get(which) / per_unit)
        };
        let stream = |name: &str, kind: StreamKind| {
            let measures = Arc::clone(self);
            queue::STREAMS.watch(&[name], move || as_float(measures.streams[kind as usize].load(Ordering::Relaxed)))
        };
        let (days, default) = (self.of_storage(storage), self.of_storage(storage));
        vec![
            number(&queue::OWNED_SHARDS, &[], Owned::Shards, 1.0),
            number(&queue::FREE_SHARDS, &[], Owned::FreeShards, 1.0),
            number(&queue::READY_TASKS, &[], Owned::ReadyTasks, 1.0),
            number(&queue::LEASED_TASKS, &[], Owned::LeasedTasks, 1.0),
            number(&queue::OLDEST_READY, &[], Owned::OldestReadyMs, 1000.0),
            number(&queue::UNFINISHED_SUBMISSIONS, &[], Owned::UnfinishedSubmissions, 1.0),
            number(&queue::PAYLOAD_BYTES, &["held"], Owned::PayloadBytes, 1.0),
            queue::PAYLOAD_BYTES.watch(&["limit"], move || as_float(payload_bytes as u64)),
            number(&queue::WORKERS, &[], Owned::Workers, 1.0),
            number(&queue::WORKER_SLOTS, &[], Owned::WorkerSlots, 1.0),
            number(&queue::LEASES, &[], Owned::Leases, 1.0),
            number(&queue::WAL_BYTES, &[], Owned::WalBytes, 1.0),
            queue::DAYS_AHEAD.watch(&[], move || days().map_or(0.0, |found| found.days_ahead.into())),
            queue::DEFAULT_PARTITION
                .watch(&[], move || f64::from(u8::from(default().is_some_and(|found| found.default_partition_used)))),
            stream("write", StreamKind::Write),
            stream("results", StreamKind::Results),
            stream("watch", StreamKind::Watch),
        ]
    }

    fn get(&self, which: Owned) -> f64 {
        as_float(self.owned[which as usize].load(Ordering::Relaxed))
    }

    /// What maintenance found, while this process does it.
    fn of_storage(
        self: &Arc<Self>,
        storage: &Arc<StorageStatus>,
    ) -> impl Fn() -> Option<hashmesh::v1::StorageStats> + Send + Sync + 'static {
        let (measures, storage) = (Arc::clone(self), Arc::clone(storage));
        move || (measures.get(Owned::Shards) > 0.0).then(|| storage.stats())
    }
}

impl Drop for Owning {
    fn drop(&mut self) {
        self.0.owned.iter().for_each(|number| number.store(0, Ordering::Relaxed));
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams[self.1 as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

#[allow(clippy::cast_precision_loss)] // nothing here comes near 2^53
fn as_float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_owns_nothing_any_more_has_nothing() {
        let measures = Arc::new(Measures::default());
        let owning = measures.own();
        measures.note(Owned::ReadyTasks, 7);
        measures.note(Owned::WalBytes, 8);
        assert!(measures.get(Owned::ReadyTasks) > 0.0);
        drop(owning);
        assert!(measures.owned.iter().all(|number| number.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn a_stream_counts_while_it_is_open() {
        let measures = Arc::new(Measures::default());
        let open: Vec<_> = (0..3).map(|_| measures.open_stream(StreamKind::Results)).collect();
        let streams = || measures.streams.each_ref().map(|number| number.load(Ordering::Relaxed));
        assert_eq!(streams(), [0, 3, 0]);
        drop(open);
        assert_eq!(streams(), [0; 3]);
    }
}
