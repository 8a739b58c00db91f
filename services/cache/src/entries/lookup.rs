//! Looking entries up: what one layer lacks the next is asked for, once for everybody who asks at the same time.

use std::sync::{Arc, PoisonError};

use hashmesh::cache::v1::{CachedObject, FoundEntry};
use tokio::time::Instant;

use super::{Entries, Wanted, entry::Entry, flights::Looked, key::Key, memory, stored::FoundRow};

/// Keys of which it is remembered that they were used; of more it does not matter.
const MAX_USES: usize = 100_000;

impl Entries {
    /// What is known of these objects, one answer each, and the generation under which they are read now.
    pub(crate) async fn get(
        self: &Arc<Self>,
        wanted: &Wanted,
        objects: &[CachedObject],
    ) -> (u64, Vec<Option<FoundEntry>>) {
        let generation = self.invalidated.latest();
        if !self.invalidated.hears() {
            self.counters.misses.add(objects.len() * wanted.algorithms.len());
            return (generation, vec![None; objects.len()]);
        }
        let keys: Vec<Vec<Key>> = objects.iter().map(|object| wanted.keys(object)).collect();
        let mut found = Looked::new();
        let (mut missing, mut early) = (Vec::new(), Vec::new());
        let now = Instant::now();
        self.invalidated.judge(&wanted.tenant, |judge| {
            for (key, uri) in
                keys.iter().zip(objects).flat_map(|(keys, object)| keys.iter().map(|key| (key, &object.uri)))
            {
                match self.memory.get(key, now, rand::random()) {
                    // Others may have put it anew since.
                    Some(memory::Found { entry, .. }) if !judge(uri, entry.generation) => {
                        self.memory.forget(key);
                        missing.push(*key);
                    }
                    Some(memory::Found { entry, refresh }) => {
                        if refresh {
                            early.push(*key);
                        }
                        found.insert(*key, entry);
                    }
                    None => missing.push(*key),
                }
            }
        });
        self.counters.memory_hits.add(found.len());
        if !early.is_empty() {
            self.look_up_early(early);
        }
        if !missing.is_empty() {
            self.look_up(missing, &mut found).await;
        }
        let answers = self.invalidated.judge(&wanted.tenant, |judge| {
            let answer = |(object, keys): (&CachedObject, &Vec<Key>)| {
                let entries: Option<Vec<&Arc<Entry>>> = keys.iter().map(|key| found.get(key)).collect();
                let entries = entries?;
                let valid = entries.iter().all(|entry| judge(&object.uri, entry.generation));
                if !valid {
                    self.counters.invalidated.add(entries.len());
                    return None;
                }
                join(&entries)
            };
            objects.iter().zip(&keys).map(answer).collect()
        });
        (generation, answers)
    }

    /// Looks for keys in Redis and Postgres, together with whoever else looks for them.
    async fn look_up(&self, keys: Vec<Key>, found: &mut Looked) {
        let wanted = keys.len();
        let before = found.len();
        let (leader, followed) = self.flights.enter(keys);
        if let Some(leader) = leader {
            let looked = self.look_deeper(&leader.keys).await;
            leader.finish(&looked);
            found.extend(looked);
        }
        followed.wait(found).await;
        self.counters.misses.add(wanted.saturating_sub(found.len() - before));
    }

    /// Looks into Redis, and for what is not there into Postgres; what is found is put into the layers before.
    async fn look_deeper(&self, keys: &[Key]) -> Looked {
        let began = Instant::now();
        let mut looked = Looked::new();
        if let Some(shared) = &self.shared {
            match shared.find(keys).await {
                Ok(answer) => {
                    self.counters.rejected.add(answer.rejected);
                    self.counters.redis_hits.add(answer.found.len());
                    looked.extend(answer.found.into_iter().map(|(key, entry)| (key, Arc::new(entry))));
                }
                Err(error) => {
                    self.counters.redis_failures.add(1);
                    tracing::debug!(%error, "Redis is left out");
                }
            }
        }
        let missing: Vec<Key> = keys.iter().filter(|key| !looked.contains_key(key)).copied().collect();
        let mut rows = Vec::new();
        if !missing.is_empty() {
            match self.stored.find(&missing).await {
                Ok(found) => rows = found,
                Err(error) => self.stored_failed(&error),
            }
        }
        self.counters.postgres_hits.add(rows.len());
        looked.extend(rows.iter().map(|row| (row.key, Arc::new(row.entry.clone()))));
        self.share(&rows).await;
        let took = began.elapsed();
        for (key, entry) in &looked {
            self.memory.put(*key, Arc::clone(entry), took);
        }
        self.note_uses(looked.keys());
        looked
    }

    /// Puts entries of Postgres into Redis.
    pub(super) async fn share(&self, rows: &[FoundRow]) {
        let Some(shared) = self.shared.as_ref().filter(|_| !rows.is_empty()) else { return };
        let entries: Vec<(Key, &[u8])> = rows.iter().map(|row| (row.key, row.encoded.as_slice())).collect();
        if let Err(error) = shared.keep(&entries).await {
            self.counters.redis_failures.add(1);
            tracing::debug!(%error, "entries are not in Redis");
        }
    }

    /// Looks up what leaves memory soon, while nobody waits for it.
    fn look_up_early(self: &Arc<Self>, keys: Vec<Key>) {
        let Ok(place) = Arc::clone(&self.early).try_acquire_owned() else { return };
        let entries = Arc::clone(self);
        self.counters.early_refreshes.add(keys.len());
        // It is over within the patience of Redis and Postgres.
        tokio::spawn(async move {
            let _place = place;
            let (leader, _others) = entries.flights.enter(keys);
            if let Some(leader) = leader {
                let looked = entries.look_deeper(&leader.keys).await;
                leader.finish(&looked);
            }
        });
    }

    fn note_uses<'a>(&self, keys: impl Iterator<Item = &'a Key>) {
        // A number is whole at any time.
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            if uses.len() < MAX_USES || uses.contains_key(key) {
                *uses.entry(*key).or_default() += 1;
            }
        }
    }
}

/// The digests of one object, if all are of the same state of it.
fn join(entries: &[&Arc<Entry>]) -> Option<FoundEntry> {
    let (first, others) = entries.split_first()?;
    if others.iter().any(|entry| entry.state != first.state) {
        return None;
    }
    let digests: Vec<u8> = entries.iter().flat_map(|entry| entry.digest.iter().copied()).collect();
    Some(FoundEntry { state: Some(first.state.clone()), digests: digests.into() })
}
