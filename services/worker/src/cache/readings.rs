//! Readings that are under way: whoever wants an object that another is reading waits for what comes of it, and then asks only
//! whether it is still the same.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hashmesh::{cache::v1::CachedObject, v1::Algorithm};
use tokio::{sync::watch, time::timeout};

use crate::sources::Known;

/// Who has waited that long reads for himself: work that stands still for a minute counts as hung.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is read for whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reading {
    pub(crate) tenant: String,
    pub(crate) domain: String,
    pub(crate) uri: String,
    pub(crate) range: (u64, u64),
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) part_bytes: u64,
}

impl Reading {
    pub(crate) fn new(tenant: &str, object: &CachedObject, algorithms: &[Algorithm], part_bytes: u64) -> Self {
        let range = object.range.unwrap_or_default();
        Self {
            tenant: tenant.to_owned(),
            domain: object.domain.clone(),
            uri: object.uri.clone(),
            range: (range.offset, range.length),
            algorithms: algorithms.to_vec(),
            part_bytes,
        }
    }
}

type Outcome = Option<Arc<Known>>;

/// All that are under way in this process.
#[derive(Debug, Default)]
pub(crate) struct Readings(Mutex<HashMap<Reading, watch::Receiver<Outcome>>>);

/// One's turn.
#[derive(Debug)]
pub(crate) enum Turn<'a> {
    /// Read, and tell the others.
    Read(Reader<'a>),
    /// Another is reading.
    Wait(watch::Receiver<Outcome>),
}

/// Who reads. Gone without a word, everybody reads for himself.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    readings: &'a Readings,
    reading: Reading,
    outcome: watch::Sender<Outcome>,
}

impl Readings {
    /// Whether to read, or to wait for another.
    pub(crate) fn enter(&self, reading: Reading) -> Turn<'_> {
        match self.lock().entry(reading.clone()) {
            Entry::Occupied(other) => Turn::Wait(other.get().clone()),
            Entry::Vacant(place) => {
                let (outcome, others) = watch::channel(None);
                place.insert(others);
                Turn::Read(Reader { readings: self, reading, outcome })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Reading, watch::Receiver<Outcome>>> {
        // No code panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader<'_> {
    /// This has come of it.
    pub(crate) fn finish(self, known: Known) {
        self.outcome.send_replace(Some(Arc::new(known)));
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        self.readings.lock().remove(&self.reading);
    }
}

/// What has come of another's reading. `None`: nothing that can be used.
pub(crate) async fn outcome(mut other: watch::Receiver<Outcome>) -> Option<Arc<Known>> {
    let told = timeout(PATIENCE, other.wait_for(Option::is_some)).await;
    told.ok()?.ok()?.clone()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::FutureExt as _;

    use super::*;

    fn reading(tenant: &str) -> Reading {
        let object = CachedObject { domain: "d".to_owned(), uri: "u".to_owned(), range: None };
        Reading::new(tenant, &object, &[Algorithm::Sha256], 0)
    }

    fn waiting(turn: Turn<'_>) -> watch::Receiver<Outcome> {
        let Turn::Wait(other) = turn else { panic!("wanted to wait, found {turn:?}") };
        other
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_who_want_an_object_one_reads_it_and_the_others_learn_what_it_was() {
        let readings = Readings::default();
        let Turn::Read(reader) = readings.enter(reading("t")) else { panic!("the first reads") };
        let Turn::Read(_stranger) = readings.enter(reading("s")) else { panic!("another tenant's is another") };
        let others: Vec<_> = (0..999).map(|_| waiting(readings.enter(reading("t")))).collect();
        let known = Known { state: Default::default(), digests: Bytes::from_static(b"digest") };
        reader.finish(known.clone());
        for other in others {
            assert_eq!(outcome(other).await.as_deref(), Some(&known));
        }
        assert!(matches!(readings.enter(reading("t")), Turn::Read(_)), "what is over is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_reader_who_is_gone_or_takes_too_long() {
        let readings = Readings::default();
        let Turn::Read(reader) = readings.enter(reading("t")) else { panic!("the first reads") };
        let (one, other) = (waiting(readings.enter(reading("t"))), waiting(readings.enter(reading("t"))));
        // Time passes by itself where nothing else happens.
        assert_eq!(outcome(one).await, None);
        drop(reader);
        assert_eq!(outcome(other).now_or_never(), Some(None));
    }
}
