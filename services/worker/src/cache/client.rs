//! The connection to the Cache services.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hashmesh::cache::v1::{
    GetEntriesRequest, GetEntriesResponse, PutEntriesRequest, cache_service_client::CacheServiceClient,
};
use hashmesh_runtime::{
    channel::{self, ChannelError, Guarded},
    tasks,
    tls::{Role, Tls},
    trace::{self, TraceContext},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use super::Readings;

/// A question that is not answered by then is forgotten: reading is what it would have saved.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Nobody waits for what is put.
const PUT_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages that wait to be put, and entries in them; more are dropped.
const WAITING_PUTS: usize = 4 * 1024;
const WAITING_ENTRIES: usize = 16 * 1024;
/// Entries that are put together, as far as they are of one kind.
const PUT_TOGETHER: usize = 1_024;
/// An answer to a thousand objects with eight long digests each.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Asks one Cache service, and another when that one fails. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct CacheClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    services: Vec<Guarded>,
    current: AtomicUsize,
    readings: Readings,
    puts: mpsc::Sender<Put>,
    /// For their entries.
    room: Arc<Semaphore>,
    _putting: AbortOnDropHandle<()>,
}

#[derive(Debug)]
enum Put {
    /// With what has caused it.
    Entries(Box<PutEntriesRequest>, OwnedSemaphorePermit, Option<TraceContext>),
    /// Everything before is there, or given up.
    Flush(oneshot::Sender<()>),
}

impl CacheClient {
    /// To the Cache services at these URLs. `None`: there are none.
    pub(crate) fn new(urls: &[String], tls: Option<&Tls>) -> Result<Option<Self>, ChannelError> {
        let guarded = |url: &String| {
            Ok(channel::guarded(Role::Cache, channel::to(Role::Cache, url, tls)?, &channel::breaker(url)))
        };
        let services: Vec<Guarded> = urls.iter().map(guarded).collect::<Result<_, ChannelError>>()?;
        let Some(first) = services.first().cloned() else { return Ok(None) };
        let (puts, waiting) = mpsc::channel(WAITING_PUTS);
        let putting = tasks::spawn_owned("cache puts", put_all(services.clone(), first, waiting));
        let shared = Shared {
            services,
            current: AtomicUsize::new(0),
            readings: Readings::default(),
            puts,
            room: Arc::new(Semaphore::new(WAITING_ENTRIES)),
            _putting: putting,
        };
        Ok(Some(Self { shared: Arc::new(shared) }))
    }

    /// What is known. `None`: nobody has answered in time.
    pub(crate) async fn get(&self, request: GetEntriesRequest) -> Option<GetEntriesResponse> {
        let Shared { services, current, .. } = &*self.shared;
        let place = current.load(Ordering::Relaxed) % services.len();
        let mut client = client(services[place].clone());
        match timeout(ANSWER_TIMEOUT, client.get_entries(request)).await {
            Ok(Ok(answer)) => Some(answer.into_inner()),
            failed => {
                let code = failed.ok().and_then(|answer| answer.err().map(|status| status.code()));
                tracing::debug!(?code, "the cache service says nothing; objects are read");
                // The next question is another's.
                current.store(place + 1, Ordering::Relaxed);
                None
            }
        }
    }

    /// What is being read in this process.
    pub(super) fn readings(&self) -> &Readings {
        &self.shared.readings
    }

    /// Puts what was computed, soon; drops it where too much waits.
    pub(crate) fn put(&self, request: PutEntriesRequest, cause: Option<TraceContext>) {
        // Some hundred.
        let entries = request.entries.len() as u32;
        let places = Arc::clone(&self.shared.room).try_acquire_many_owned(entries).ok();
        let put = places.map(|places| self.shared.puts.try_send(Put::Entries(Box::new(request), places, cause)));
        if !matches!(put, Some(Ok(()))) {
            tracing::debug!("what was computed is not in the cache: too much waits to be put there");
        }
    }

    /// Waits until what was put is there, or given up.
    pub(crate) async fn flush(&self) {
        let (done, heard) = oneshot::channel();
        if self.shared.puts.send(Put::Flush(done)).await.is_ok() {
            // Gone with its task: nothing is left to wait for.
            let _ = heard.await;
        }
    }
}

async fn put_all(services: Vec<Guarded>, first: Guarded, mut waiting: mpsc::Receiver<Put>) {
    let (mut service, mut place) = (first, 0);
    let mut next = None;
    loop {
        let put = match next.take() {
            Some(put) => put,
            None => match waiting.recv().await {
                Some(put) => put,
                None => return,
            },
        };
        let (mut request, mut places, mut cause) = match put {
            Put::Entries(request, places, cause) => (*request, places, cause),
            Put::Flush(done) => {
                // Whoever asked may be gone.
                let _ = done.send(());
                continue;
            }
        };
        // Leases are small; a statement's cost is not.
        while let Ok(put) = waiting.try_recv() {
            match put {
                Put::Entries(other, others, others_cause) if goes_with(&request, &other) => {
                    join(&mut request, *other);
                    places.merge(others);
                    // One call has one cause: one that is traced, if there is any.
                    cause = cause.or(others_cause);
                }
                other => {
                    next = Some(other);
                    break;
                }
            }
        }
        let mut client = client(service.clone());
        let failed = match timeout(PUT_TIMEOUT, trace::within(cause, client.put_entries(request))).await {
            Ok(answer) => answer.err().map(|status| status.code()),
            Err(_) => Some(tonic::Code::DeadlineExceeded),
        };
        drop(places);
        if let Some(code) = failed {
            tracing::debug!(?code, "what was computed is not in the cache");
            place = (place + 1) % services.len();
            service = services[place].clone();
        }
    }
}

/// Whether two messages may be one.
fn goes_with(one: &PutEntriesRequest, other: &PutEntriesRequest) -> bool {
    one.tenant == other.tenant
        && one.algorithms == other.algorithms
        && one.part_bytes == other.part_bytes
        && one.generation == other.generation
        && one.entries.len() + other.entries.len() <= PUT_TOGETHER
}

fn join(one: &mut PutEntriesRequest, other: PutEntriesRequest) {
    one.entries.extend(other.entries);
    let more = other.verdicts.unwrap_or_default();
    let verdicts = one.verdicts.get_or_insert_default();
    verdicts.taken += more.taken;
    verdicts.saved_bytes += more.saved_bytes;
    verdicts.changed += more.changed;
    verdicts.joined += more.joined;
}

fn client(service: Guarded) -> CacheServiceClient<Guarded> {
    CacheServiceClient::new(service).max_decoding_message_size(MAX_ANSWER_BYTES)
}
