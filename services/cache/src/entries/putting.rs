//! Putting entries: in the last layer first.

use std::{sync::Arc, time::Duration};

use hashmesh::cache::v1::ComputedEntry;

use super::{
    Entries, Wanted,
    entry::Entry,
    key::Key,
    stored::{NewRow, StoredError},
};

impl Entries {
    /// Keeps what was computed: in Postgres first, so that Redis never has what is nowhere else.
    pub(crate) async fn put(
        &self,
        wanted: &Wanted,
        generation: u64,
        computed: Vec<ComputedEntry>,
    ) -> Result<(), StoredError> {
        let (mut rows, mut entries) = (Vec::new(), Vec::new());
        self.invalidated.judge(&wanted.tenant, |judge| {
            for computed in computed {
                let ComputedEntry { object: Some(object), state: Some(state), digests, read_bytes } = computed else {
                    continue;
                };
                if !judge(&object.uri, generation) {
                    self.counters.invalidated.add(wanted.algorithms.len());
                    continue;
                }
                let mut from = 0;
                for (key, algorithm) in wanted.keys(&object).into_iter().zip(&wanted.algorithms) {
                    let digest = digests.slice(from..from + algorithm.digest_bytes());
                    from += digest.len();
                    // A slice would keep the whole frame.
                    let digest = bytes::Bytes::copy_from_slice(&digest);
                    let entry = Entry { state: state.clone(), digest, generation, read_bytes };
                    let Some(encoded) = entry.encode(key, &wanted.tenant) else { continue };
                    rows.push(NewRow { key, uri: object.uri.clone(), encoded, generation, read_bytes });
                    entries.push((key, Arc::new(entry)));
                }
            }
        });
        // Named twice: the last one counts, and Postgres takes each once.
        rows.reverse();
        rows.sort_by_key(|row| row.key);
        rows.dedup_by_key(|row| row.key);
        if rows.is_empty() {
            return Ok(());
        }
        self.stored.keep(&wanted.tenant, &mut rows).await.inspect_err(|error| self.stored_failed(error))?;
        self.counters.put.add(rows.len());
        if let Some(shared) = &self.shared {
            let sealed: Vec<(Key, &[u8])> = rows.iter().map(|row| (row.key, row.encoded.as_slice())).collect();
            if let Err(error) = shared.keep(&sealed).await {
                self.counters.redis_failures.add(1);
                tracing::debug!(%error, "entries are not in Redis");
            }
        }
        for (key, entry) in entries {
            self.memory.put(key, entry, Duration::ZERO);
        }
        Ok(())
    }
}
