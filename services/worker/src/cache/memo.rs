//! What the cache knows of one lease's objects, and what it is told of them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use hashmesh::{
    algorithm::stride,
    cache::v1::{CachedObject, ComputedEntry, FoundEntry, GetEntriesRequest, PutEntriesRequest, Verdicts},
    queue::v1::Lease,
    tasks::Input,
    v1::{Algorithm, CacheMode, ListedObjects, ObjectIdentity, PackedIdentities},
};
use hashmesh_runtime::{
    metrics::catalogue::worker::{CACHE_OBJECTS, CACHE_SAVED_BYTES},
    trace::{self, TraceContext},
};
use tokio::sync::OwnedSemaphorePermit;

use super::{CacheClient, Reader, Reading, Turn, readings};
use crate::{
    execute::{Executor, Plan, Standing},
    sources::{Known, Read},
};

/// Objects of one question, and entries that are put together.
const TOGETHER: usize = 512;
/// Questions at once.
const QUESTIONS: usize = 4;
/// What was listed longer ago is asked for again: the object may have changed since.
const LISTED_FOR: Duration = Duration::from_secs(600);
/// Clocks of workers differ by less.
const AHEAD: Duration = Duration::from_secs(60);

/// Dropped, it puts what was computed into the cache.
#[derive(Debug, Default)]
pub(crate) struct Memo(Option<Inner>);

#[derive(Debug)]
struct Inner {
    client: CacheClient,
    /// Tenant, algorithms and part size, and nothing else.
    wanted: GetEntriesRequest,
    /// What is read from now on counts unless it is invalidated later.
    generation: u64,
    algorithms: Vec<Algorithm>,
    /// Everything is read, whoever else does.
    refreshes: bool,
    /// By task.
    tasks: Vec<OfTask>,
    told: Mutex<Told>,
    /// The lease, for what is told when it is over, by whichever thread.
    cause: Option<TraceContext>,
    _room: Option<OwnedSemaphorePermit>,
}

/// What matters of a task. Without `object` it has nothing to do with the cache.
#[derive(Debug, Default)]
struct OfTask {
    object: Option<CachedObject>,
    known: Option<Known>,
    listed: Option<ObjectIdentity>,
}

/// What the cache is to be told.
#[derive(Debug, Default)]
struct Told {
    computed: Vec<ComputedEntry>,
    verdicts: Verdicts,
}

impl Memo {
    /// Asks what is known of a lease's objects. Where nobody answers, nothing is known.
    pub(crate) async fn look_up(executor: &Executor, standing: Standing, lease: &Lease, plan: &Plan) -> Self {
        let Some(client) = executor.cache.as_ref() else { return Self::default() };
        if !plan.reads_objects || lease.cache() == CacheMode::Bypass {
            return Self::default();
        }
        let (sources, room) = (&executor.sources, executor.memo_room.enter(standing, plan).await);
        let Ok(views) = plan.tasks.views() else { return Self::default() };
        let named = views.map(|task| match &task.input {
            // Digests that are expected are to be compared with bytes, unless somebody has said otherwise.
            Input::Object { .. } if lease.cache() == CacheMode::Unspecified && !task.expected.is_empty() => None,
            Input::Object { uri, range } => sources.cached_object(uri, *range),
            Input::Inline(_) => None,
        });
        let mut tasks: Vec<OfTask> = named.map(|object| OfTask { object, ..OfTask::default() }).collect();
        let places: Vec<usize> = (0..tasks.len()).filter(|place| tasks[*place].object.is_some()).collect();
        if places.is_empty() {
            return Self::default();
        }
        let wanted = GetEntriesRequest {
            tenant: lease.tenant.clone(),
            algorithms: lease.algorithms.clone(),
            part_bytes: lease.part_bytes,
            objects: Vec::new(),
            verdicts: None,
        };
        // Who reads everything wants the generation only.
        let asked = if lease.cache() == CacheMode::Refresh { &places[..0] } else { &places[..] };
        let chunks: Vec<&[usize]> = if asked.is_empty() { vec![&[]] } else { asked.chunks(TOGETHER).collect() };
        let question = |chunk: &[usize]| {
            let objects = chunk.iter().filter_map(|place| tasks[*place].object.clone()).collect();
            client.get(GetEntriesRequest { objects, ..wanted.clone() })
        };
        let questions: Vec<_> = chunks.iter().map(|chunk| question(chunk)).collect();
        let answers: Vec<_> = stream::iter(questions).buffered(QUESTIONS).collect().await;
        let Some(generation) = answers.iter().flatten().map(|answer| answer.generation).min() else {
            CACHE_OBJECTS.add(asked.len() as u64, &["unanswered"]);
            return Self::default();
        };
        let stride = stride(&plan.algorithms);
        for (chunk, answer) in chunks.iter().zip(answers) {
            let Some(answer) = answer.filter(|answer| answer.entries.len() == chunk.len()) else {
                CACHE_OBJECTS.add(chunk.len() as u64, &["unanswered"]);
                continue;
            };
            let mut missing = 0;
            for (place, entry) in chunk.iter().zip(answer.entries) {
                tasks[*place].known = known(entry, stride);
                missing += u64::from(tasks[*place].known.is_none());
            }
            CACHE_OBJECTS.add(missing, &["missing"]);
        }
        if let Some(listed) = plan.tasks.listed.as_ref().filter(|listed| is_new(listed, SystemTime::now())) {
            let identities = listed.identities.as_ref().map(PackedIdentities::rows);
            for (task, identity) in tasks.iter_mut().zip(identities.into_iter().flatten()) {
                // Of another store it would be another object.
                if task.object.as_ref().is_some_and(|object| object.domain == listed.domain) {
                    task.listed = Some(identity);
                }
            }
        }
        let (algorithms, refreshes) = (plan.algorithms.to_vec(), lease.cache() == CacheMode::Refresh);
        let told = Mutex::default();
        Self(Some(Inner {
            client: client.clone(),
            wanted,
            generation,
            algorithms,
            refreshes,
            tasks,
            told,
            cause: trace::current(),
            _room: room,
        }))
    }

    /// What the cache knows of the object of a task, counted within the lease.
    pub(crate) fn known(&self, task: usize) -> Option<&Known> {
        self.0.as_ref()?.tasks.get(task)?.known.as_ref()
    }

    /// Whether what becomes of a task matters to the cache.
    pub(crate) fn keeps(&self, task: usize) -> bool {
        self.0.as_ref().and_then(|inner| inner.tasks.get(task)).is_some_and(|task| task.object.is_some())
    }

    /// What the object of a task was when the mesh has listed it.
    pub(crate) fn listed(&self, task: usize) -> Option<&ObjectIdentity> {
        self.0.as_ref()?.tasks.get(task)?.listed.as_ref()
    }

    /// Waits while another reads the object of a task of which nothing is known. With a reader, the caller is to read, and to say
    /// by [`Memo::note`] what came of it; with what another has found out, it may only have to ask whether that is still so.
    pub(crate) async fn turn(&self, task: usize) -> (Option<Reader<'_>>, Option<Arc<Known>>) {
        let of_task = self.0.as_ref().and_then(|inner| Some((inner, inner.tasks.get(task)?)));
        let Some((inner, OfTask { object: Some(object), known: None, .. })) = of_task else { return (None, None) };
        if inner.refreshes {
            return (None, None);
        }
        let wanted = &inner.wanted;
        match inner.client.readings().enter(Reading::new(&wanted.tenant, object, &inner.algorithms, wanted.part_bytes))
        {
            Turn::Read(reader) => (Some(reader), None),
            Turn::Wait(other) => {
                let known = readings::outcome(other).await;
                if known.is_some() {
                    inner.told.lock().unwrap_or_else(PoisonError::into_inner).verdicts.joined += 1;
                }
                (None, known)
            }
        }
    }

    /// A task's digests are there.
    pub(crate) fn note(&self, task: usize, read: &Read, digests: &[u8]) {
        let Some(inner) = &self.0 else { return };
        let Some(OfTask { object: Some(object), known, .. }) = inner.tasks.get(task) else { return };
        // What is in it is whole at any time.
        let mut told = inner.told.lock().unwrap_or_else(PoisonError::into_inner);
        if read.identity.cached {
            let saved_bytes = bytes_of(object, &read.identity);
            told.verdicts.taken += 1;
            told.verdicts.saved_bytes += saved_bytes;
            CACHE_SAVED_BYTES.add(saved_bytes, &[]);
            // Else the cache knew nothing of it, and another task of ours did.
            if known.is_some() {
                CACHE_OBJECTS.add(1, &["taken"]);
            }
            return;
        }
        if known.is_some() {
            told.verdicts.changed += 1;
            CACHE_OBJECTS.add(1, &["changed"]);
        }
        let Some(state) = &read.state else { return };
        told.computed.push(ComputedEntry {
            object: Some(object.clone()),
            state: Some(state.clone()),
            digests: Bytes::copy_from_slice(digests),
            read_bytes: read.hashed_bytes,
        });
        if told.computed.len() >= TOGETHER {
            let told = std::mem::take(&mut *told);
            inner.tell(told);
        }
    }
}

impl Inner {
    fn tell(&self, Told { computed, verdicts }: Told) {
        if computed.is_empty() && verdicts == Verdicts::default() {
            return;
        }
        let GetEntriesRequest { tenant, algorithms, part_bytes, .. } = self.wanted.clone();
        let (generation, verdicts) = (self.generation, Some(verdicts));
        let request = PutEntriesRequest { tenant, algorithms, part_bytes, generation, entries: computed, verdicts };
        self.client.put(request, self.cause);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let told = std::mem::take(self.told.get_mut().unwrap_or_else(PoisonError::into_inner));
        self.tell(told);
    }
}

/// An answer that fits the question.
fn known(entry: FoundEntry, stride: usize) -> Option<Known> {
    let FoundEntry { state: Some(state), digests } = entry else { return None };
    (digests.len() == stride).then_some(Known { state, digests })
}

/// Bytes that were not read.
fn bytes_of(object: &CachedObject, identity: &ObjectIdentity) -> u64 {
    let range = object.range.unwrap_or_default();
    if range.length > 0 { range.length } else { identity.size.saturating_sub(range.offset) }
}

/// Whether a listing still says what objects are.
fn is_new(listed: &ListedObjects, now: SystemTime) -> bool {
    let Ok(since) = u64::try_from(listed.listed_at_ms) else { return false };
    let listed_at = UNIX_EPOCH + Duration::from_millis(since);
    match now.duration_since(listed_at) {
        Ok(age) => age <= LISTED_FOR,
        Err(ahead) => ahead.duration() <= AHEAD,
    }
}

#[cfg(test)]
mod tests {
    use hashmesh::v1::ByteRange;

    use super::*;

    #[test]
    fn a_listing_says_what_objects_are_for_ten_minutes() {
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(10_000) + Duration::from_secs(seconds);
        let listed = ListedObjects { listed_at_ms: 10_060_000, ..ListedObjects::default() };
        assert!(is_new(&listed, at(60)) && is_new(&listed, at(660)) && !is_new(&listed, at(661)));
        assert!(is_new(&listed, at(0)) && !is_new(&listed, UNIX_EPOCH + Duration::from_secs(9_999)));
        assert!(!is_new(&ListedObjects { listed_at_ms: -1, ..listed }, at(0)));
    }

    #[test]
    fn what_a_hit_saves_are_the_bytes_of_the_range() {
        let object = |range| CachedObject { range, ..CachedObject::default() };
        let identity = ObjectIdentity { size: 100, ..ObjectIdentity::default() };
        assert_eq!(bytes_of(&object(None), &identity), 100);
        assert_eq!(bytes_of(&object(Some(ByteRange { offset: 30, length: 0 })), &identity), 70);
        assert_eq!(bytes_of(&object(Some(ByteRange { offset: 30, length: 7 })), &identity), 7);
    }

    #[test]
    fn an_answer_that_does_not_fit_the_question_is_none() {
        let entry = |bytes: usize| FoundEntry { state: Some(Default::default()), digests: vec![1; bytes].into() };
        assert!(known(entry(32), 32).is_some());
        assert!(known(entry(31), 32).is_none() && known(FoundEntry::default(), 0).is_none());
    }
}
