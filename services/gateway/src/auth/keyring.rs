//! What is known of keys: asked of the Queue, and remembered for a moment.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hashmesh::{
    error::{Reason, StatusBuilder, reason},
    keys::KeyText,
    queue::v1::{FindKeyRequest, FindKeyResponse, NoteKeyUsesRequest},
    tasks::AllowedSources,
};
use moka::future::Cache;
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use tonic::Status;

use super::scopes::Scopes;
use crate::{
    deadline::Deadline,
    error,
    service::access_client,
    upstream::{QueueUpstream, Repeat, Route, ask_queue},
};

/// How long an answer is remembered: half of the time within which a revocation is in force everywhere, because a stream's
/// key is looked at every 2 s only.
const REMEMBERED: Duration = Duration::from_secs(2);
/// Keys that are remembered, about 300 bytes each.
const MOST_KEYS: u64 = 100_000;
/// Keys that are looked up at a time. Whoever tries keys at random must not take all of the Queue's connections.
const MOST_LOOKUPS: usize = 64;
/// How long a lookup may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the tables are told which keys were used.
const USES_INTERVAL: Duration = Duration::from_secs(20);
/// Keys whose use is told at once.
const MOST_USES: usize = 1_000;

/// The keys of one Gateway.
#[derive(Debug)]
pub(crate) struct Keyring {
    queue: Arc<QueueUpstream>,
    /// By id. `None`: there is no such key.
    remembered: Cache<String, Option<Known>>,
    lookups: Semaphore,
    used: Mutex<HashSet<String>>,
}

/// A key, as far as calls need it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) tenant: Arc<str>,
    pub(super) scopes: Scopes,
    pub(super) calls_per_minute: Option<u32>,
    /// What its tenant may name: nothing if nothing was said.
    pub(super) allowed: AllowedSources,
    hashes: Arc<[[u8; 32]]>,
}

impl Keyring {
    pub(super) fn new(queue: Arc<QueueUpstream>) -> Self {
        Self {
            queue,
            remembered: Cache::builder().max_capacity(MOST_KEYS).time_to_live(REMEMBERED).build(),
            lookups: Semaphore::new(MOST_LOOKUPS),
            used: Mutex::default(),
        }
    }

    /// What is known of a key that is accepted now. `None`: it is not.
    pub(super) async fn find(&self, key: &KeyText) -> Result<Option<Known>, Status> {
        // Callers with one key ask once; what fails is not remembered.
        let found = self.remembered.try_get_with_by_ref(key.id(), self.look_up(key.id())).await;
        let known = found.map_err(Arc::unwrap_or_clone)?;
        let hash = key.hash();
        // Each is compared, whichever fits: how long it takes says nothing.
        let accepts = |known: &Known| known.hashes.iter().fold(false, |fits, one| fits | bool::from(one.ct_eq(&hash)));
        Ok(known.filter(accepts))
    }

    /// A call came with this key, and was let through.
    pub(super) fn used(&self, key: &KeyText) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() < MOST_USES && !used.contains(key.id()) {
            used.insert(key.id().to_owned());
        }
    }

    /// Tells the tables which keys are in use, for as long as this runs. What is lost is lost: it is for people to see
    /// which keys can go.
    pub(super) async fn note_uses(&self) {
        let mut interval = tokio::time::interval(USES_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let key_ids: Vec<String> = self.used.lock().unwrap_or_else(PoisonError::into_inner).drain().collect();
            if key_ids.is_empty() {
                continue;
            }
            let (request, deadline) = (NoteKeyUsesRequest { key_ids }, Deadline::after(LOOKUP_TIMEOUT));
            let noted =
                ask_queue!(self.queue, access_client, Route::Any, Repeat::Safe, deadline, note_key_uses(request));
            if let Err(status) = noted {
                tracing::debug!(code = ?status.code(), "the use of keys could not be noted");
            }
        }
    }

    async fn look_up(&self, id: &str) -> Result<Option<Known>, Status> {
        let Ok(_lookup) = self.lookups.try_acquire() else {
            let message = "too many API keys are being looked up; try again later";
            return Err(StatusBuilder::new(Reason::Overloaded, message).retry_after(error::RETRY_AFTER).build());
        };
        let (request, deadline) = (FindKeyRequest { key_id: id.to_owned() }, Deadline::after(LOOKUP_TIMEOUT));
        let found = ask_queue!(self.queue, access_client, Route::Any, Repeat::Safe, deadline, find_key(request));
        found.map(known).map_err(in_our_time)
    }
}

/// The time that a lookup has is ours: a caller whose own has not passed may come again. A Queue whose machine is gone takes
/// that long, for nobody refuses the connection.
fn in_our_time(status: Status) -> Status {
    if reason(&status) == Some(Reason::DeadlineExceeded) {
        return error::unavailable("the queue does not say in time who calls; try again");
    }
    status
}

fn known(found: FindKeyResponse) -> Option<Known> {
    let key = found.key?;
    let hashes: Vec<[u8; 32]> = found.accepted_hashes.iter().filter_map(|hash| hash.as_ref().try_into().ok()).collect();
    Some(Known {
        tenant: key.tenant.into(),
        scopes: Scopes::of(&key.scopes),
        calls_per_minute: key.calls_per_minute,
        allowed: AllowedSources::of(&found.sources.unwrap_or_default()),
        hashes: hashes.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lookup_that_takes_too_long_is_no_deadline_of_the_callers() {
        assert_eq!(reason(&in_our_time(error::deadline_exceeded())), Some(Reason::UpstreamUnavailable));
        assert_eq!(reason(&in_our_time(error::draining())), Some(Reason::Draining));
    }
}
