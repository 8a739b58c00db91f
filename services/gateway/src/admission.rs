//! How much one Gateway takes at a time, by this process' memory. What is above is refused at once, so that a refusal
//! costs nothing and what was admitted finishes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hashmesh::{
    error::{Reason, StatusBuilder},
    limits::{MAX_DECODED_MESSAGE_BYTES, MAX_UPLOAD_FRAME_BYTES, UPLOAD_PART_BYTES},
};
use hashmesh_runtime::{metrics::catalogue::gateway::SHED_CALLS, resources};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

/// What a stream that carries batches may hold at worst: a decoded frame, its validated form, one more that waits for
/// the Queue, and outcomes on their way back.
const WRITER_BYTES: u64 = 4 * MAX_DECODED_MESSAGE_BYTES as u64;
/// What a stream that carries outcomes may hold at worst: frames of 1 MiB in several shapes.
const READER_BYTES: u64 = 8 * 1024 * 1024;
/// What a stream of a submission's progress holds: the last state, and what the transport has for it (41 KiB with 16,667 of them).
const WATCHER_BYTES: u64 = 48 * 1024;
/// What an upload may hold at worst: a part that is put into the store, and a decoded frame, twice.
const UPLOAD_BYTES: u64 = 2 * (UPLOAD_PART_BYTES as u64 + MAX_UPLOAD_FRAME_BYTES as u64);
/// Unary calls under way; each waits for the Queue, holding little but its batch.
const MAX_CALLS: usize = 4_096;
/// After which a refused call is worth another try.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The places for streams and calls. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    writers: Gate,
    uploads: Gate,
    readers: Gate,
    watchers: Gate,
    calls: Gate,
    /// In KiB: bytes of requests in the hands of unary calls.
    call_kib: Gate,
    /// In KiB: bytes of their answers that nobody has read yet.
    answer_kib: Gate,
    /// Streams, by [`StreamKind`].
    open: Arc<[AtomicUsize; StreamKind::ALL.len()]>,
}

/// What a stream of a client is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamKind {
    /// It brings batches.
    Submit,
    /// It only takes outcomes.
    Results,
    /// It only takes progress: there are places for many, for each holds little.
    Watch,
    /// It brings an input.
    Digest,
    /// It brings an object.
    Upload,
}

impl StreamKind {
    pub(crate) const ALL: [Self; 5] = [Self::Submit, Self::Results, Self::Watch, Self::Digest, Self::Upload];

    /// As metrics have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Results => "results",
            Self::Watch => "watch",
            Self::Digest => "digest",
            Self::Upload => "upload",
        }
    }
}

/// One kind of place.
#[derive(Clone, Debug)]
struct Gate {
    places: Arc<Semaphore>,
}

/// A place that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _permits: [Option<OwnedSemaphorePermit>; 2],
    _stream: Option<OpenStream>,
}

/// A stream that counts as open until this is dropped.
#[derive(Debug)]
struct OpenStream {
    open: Arc<[AtomicUsize; StreamKind::ALL.len()]>,
    kind: StreamKind,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.open[self.kind as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    /// Half of the memory belongs to unread windows (see `ServerLimits`); 5/32 go to writers, 3/32 to readers, 1/16 each to
    /// uploads and to watchers, and an eighth to unary calls, half of which is for their answers.
    pub(crate) fn new() -> Self {
        Self::within(resources::memory_bytes())
    }

    fn within(memory_bytes: u64) -> Self {
        let streams = |bytes: u64, each: u64| usize::try_from(bytes / each).unwrap_or(usize::MAX).clamp(64, 1_024);
        let uploads = usize::try_from(memory_bytes / 16 / UPLOAD_BYTES).unwrap_or(usize::MAX).clamp(4, 256);
        let watchers = usize::try_from(memory_bytes / 16 / WATCHER_BYTES).unwrap_or(usize::MAX).clamp(1_024, 65_536);
        let kib = usize::try_from(memory_bytes / 16 / 1_024).unwrap_or(usize::MAX).clamp(64 * 1_024, 1_024 * 1_024);
        Self {
            writers: Gate::new(streams(memory_bytes / 32 * 5, WRITER_BYTES)),
            uploads: Gate::new(uploads),
            readers: Gate::new(streams(memory_bytes / 32 * 3, READER_BYTES)),
            watchers: Gate::new(watchers),
            calls: Gate::new(MAX_CALLS),
            call_kib: Gate::new(kib),
            answer_kib: Gate::new(kib),
            open: Arc::default(),
        }
    }

    /// A place for a stream.
    pub(crate) fn stream(&self, kind: StreamKind) -> Result<Place, Status> {
        let entered = match kind {
            StreamKind::Submit | StreamKind::Digest => self.writers.enter(1, "streams that send"),
            StreamKind::Upload => self.uploads.enter(1, "uploads"),
            StreamKind::Results => self.readers.enter(1, "streams that read"),
            StreamKind::Watch => self.watchers.enter(1, "streams that watch"),
        };
        let permit = entered.inspect_err(|_| SHED_CALLS.add(1, &["stream"]))?;
        self.open[kind as usize].fetch_add(1, Ordering::Relaxed);
        let stream = OpenStream { open: Arc::clone(&self.open), kind };
        Ok(Place { _permits: [Some(permit), None], _stream: Some(stream) })
    }

    /// A place for a unary call with a request of this size.
    pub(crate) fn call(&self, request_bytes: usize) -> Result<Place, Status> {
        let call = self.calls.enter(1, "calls");
        let entered =
            call.and_then(|call| Ok([Some(call), self.call_kib.enter_bytes(request_bytes, "bytes of requests")?]));
        Self::unary(entered)
    }

    /// A place for the answer of a unary call, until it is read.
    pub(crate) fn answer(&self, bytes: usize) -> Result<Place, Status> {
        let entered = self.answer_kib.enter_bytes(bytes, "bytes of answers that nobody has read yet");
        Self::unary(entered.map(|permit| [permit, None]))
    }

    fn unary(entered: Result<[Option<OwnedSemaphorePermit>; 2], Status>) -> Result<Place, Status> {
        let permits = entered.inspect_err(|_| SHED_CALLS.add(1, &["unary"]))?;
        Ok(Place { _permits: permits, _stream: None })
    }

    /// Streams of a kind that are open.
    pub(crate) fn open(&self, kind: StreamKind) -> usize {
        self.open[kind as usize].load(Ordering::Relaxed)
    }

    /// Streams that are open.
    pub(crate) fn open_streams(&self) -> usize {
        StreamKind::ALL.into_iter().map(|kind| self.open(kind)).sum()
    }
}

impl Gate {
    fn new(all: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(all)) }
    }

    fn enter(&self, count: u32, what: &str) -> Result<OwnedSemaphorePermit, Status> {
        Arc::clone(&self.places).try_acquire_many_owned(count).map_err(|_| {
            StatusBuilder::new(Reason::Overloaded, format!("too many {what} are under way here; try again later"))
                .retry_after(RETRY_AFTER)
                .build()
        })
    }

    /// The same in KiB. Less than one counts as none.
    fn enter_bytes(&self, bytes: usize, what: &str) -> Result<Option<OwnedSemaphorePermit>, Status> {
        match u32::try_from(bytes / 1_024).unwrap_or(u32::MAX) {
            0 => Ok(None),
            kib => self.enter(kib, what).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_gate_refuses_with_a_delay_and_opens_again() {
        let admission = Admission::within(0);
        let kinds = [StreamKind::Submit, StreamKind::Digest].into_iter().cycle();
        let places: Vec<_> = kinds.take(64).map(|kind| admission.stream(kind).unwrap()).collect();
        let refused = admission.stream(StreamKind::Submit).unwrap_err();
        assert_eq!(hashmesh::error::reason(&refused), Some(Reason::Overloaded));
        assert_eq!(hashmesh::error::retry_after(&refused), Some(RETRY_AFTER));
        assert_eq!(admission.open_streams(), 64);
        assert_eq!(StreamKind::ALL.map(|kind| admission.open(kind)), [32, 0, 0, 32, 0]);
        assert!(admission.stream(StreamKind::Results).is_ok());
        drop(places);
        assert_eq!(admission.open_streams(), 0);
    }

    #[test]
    fn who_watches_has_places_of_his_own_and_many_of_them() {
        let admission = Admission::within(24 << 30);
        let watching: Vec<_> = (0..17_000).map(|_| admission.stream(StreamKind::Watch).unwrap()).collect();
        assert_eq!(admission.open_streams(), watching.len());
        let readers = Admission::within(0);
        let _places: Vec<_> = (0..64).map(|_| readers.stream(StreamKind::Results).unwrap()).collect();
        assert!(readers.stream(StreamKind::Results).is_err() && readers.stream(StreamKind::Watch).is_ok());
    }

    #[test]
    fn unary_calls_are_bounded_by_the_bytes_of_their_requests() {
        let admission = Admission::within(0);
        let first = admission.call(60 * 1_024 * 1_024).unwrap();
        assert!(admission.call(5 * 1_024 * 1_024).is_err());
        assert!(admission.call(100).is_ok());
        drop(first);
        assert!(admission.call(5 * 1_024 * 1_024).is_ok());
    }

    #[test]
    fn answers_that_nobody_reads_are_bounded_by_their_bytes() {
        let admission = Admission::within(0);
        let unread: Vec<_> = (0..64).map(|_| admission.answer(1_024 * 1_024).unwrap()).collect();
        let refused = admission.answer(1_024).unwrap_err();
        assert_eq!(hashmesh::error::reason(&refused), Some(Reason::Overloaded));
        assert!(admission.answer(1_023).is_ok() && admission.call(5 * 1_024 * 1_024).is_ok());
        drop(unread);
        assert!(admission.answer(1_024 * 1_024).is_ok());
    }
}
