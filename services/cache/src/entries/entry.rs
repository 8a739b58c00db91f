//! One digest of one object, and how it is written down.

use bytes::Bytes;
use hashmesh::cache::v1::{ObjectState, StoredEntry};
use prost::Message as _;

use super::key::Key;

/// An entry that takes more is not kept: entity tags and versions are far shorter.
pub(crate) const MAX_ENTRY_BYTES: usize = 4_000;

/// The first byte of a value in Redis.
const SEAL_VERSION: u8 = 1;
const SEAL_BYTES: usize = 32;
/// What a value in Redis may take, and one byte more of it is looked at.
pub(crate) const MAX_SEALED_BYTES: usize = 1 + SEAL_BYTES + MAX_ENTRY_BYTES;

/// A digest, and what the object was.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) state: ObjectState,
    pub(crate) digest: Bytes,
    /// What was invalidated later does not count.
    pub(crate) generation: u64,
    /// Bytes that a hit saves.
    pub(crate) read_bytes: u64,
}

/// Makes and checks what only the Cache services of one database can write into Redis.
#[derive(Clone)]
pub(crate) struct Seal([u8; SEAL_BYTES]);

impl std::fmt::Debug for Seal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Seal(…)")
    }
}

/// A value that none of the Cache services has put there under this key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rejected;

impl Entry {
    /// As Postgres keeps it. `None`: it is longer than may be kept.
    pub(crate) fn encode(&self, key: Key, tenant: &str) -> Option<Vec<u8>> {
        let stored = StoredEntry {
            key: key.0.to_vec().into(),
            tenant: tenant.to_owned(),
            state: Some(self.state.clone()),
            digest: self.digest.clone(),
            generation: self.generation,
            read_bytes: self.read_bytes,
        };
        let bytes = stored.encode_to_vec();
        (bytes.len() <= MAX_ENTRY_BYTES).then_some(bytes)
    }

    /// Reads one that was found under `key`.
    pub(crate) fn decode(key: Key, bytes: &[u8]) -> Result<Self, Rejected> {
        let stored = StoredEntry::decode(bytes).map_err(|_| Rejected)?;
        let StoredEntry { key: named, state: Some(state), digest, generation, read_bytes, .. } = stored else {
            return Err(Rejected);
        };
        if *named != key.0 || digest.is_empty() {
            return Err(Rejected);
        }
        Ok(Self { state, digest, generation, read_bytes })
    }

    /// About what it takes in memory.
    pub(crate) fn weight(&self) -> usize {
        let identity = self.state.identity.as_ref();
        let texts = identity.map_or(0, |identity| identity.etag.len() + identity.version.len());
        // Itself, its key, and what the map keeps of it.
        size_of::<Self>() + self.digest.len() + texts + 200
    }
}

impl Seal {
    /// With the key that the database keeps.
    pub(crate) fn new(key: [u8; SEAL_BYTES]) -> Self {
        Self(key)
    }

    /// As Redis keeps an encoded entry.
    pub(crate) fn close(&self, encoded: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(1 + SEAL_BYTES + encoded.len());
        sealed.push(SEAL_VERSION);
        sealed.extend_from_slice(self.mark(encoded).as_bytes());
        sealed.extend_from_slice(encoded);
        sealed
    }

    /// The encoded entry within a value, if it is one of ours.
    pub(crate) fn open<'a>(&self, sealed: &'a [u8]) -> Result<&'a [u8], Rejected> {
        let (version, rest) = sealed.split_first().ok_or(Rejected)?;
        let (mark, encoded) = rest.split_first_chunk::<SEAL_BYTES>().ok_or(Rejected)?;
        // Compared in constant time.
        let ours = *version == SEAL_VERSION && encoded.len() <= MAX_ENTRY_BYTES && self.mark(encoded) == *mark;
        if ours { Ok(encoded) } else { Err(Rejected) }
    }

    fn mark(&self, encoded: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&[SEAL_VERSION]).update(encoded);
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use hashmesh::v1::ObjectIdentity;
    use proptest::prelude::*;

    use super::*;

    const KEY: Key = Key([7; 32]);

    fn entry(etag: String) -> Entry {
        let identity = Some(ObjectIdentity { size: 3, etag, ..ObjectIdentity::default() });
        let state = ObjectState { identity, file: None };
        Entry { state, digest: vec![9; 32].into(), generation: 5, read_bytes: 3 }
    }

    #[test]
    fn an_entry_is_read_under_its_own_key_only() {
        let entry = entry("\"a\"".to_owned());
        let encoded = entry.encode(KEY, "t").unwrap();
        assert_eq!(Entry::decode(KEY, &encoded), Ok(entry));
        assert_eq!(Entry::decode(Key([8; 32]), &encoded), Err(Rejected));
        assert_eq!(Entry::decode(KEY, &encoded[..encoded.len() - 1]), Err(Rejected));
        assert_eq!(Entry::decode(KEY, b""), Err(Rejected));
    }

    #[test]
    fn an_entry_is_kept_up_to_its_most_bytes() {
        let least = entry("x".repeat(1_000)).encode(KEY, "t").unwrap().len() - 1_000;
        assert!(entry("x".repeat(MAX_ENTRY_BYTES - least)).encode(KEY, "t").is_some());
        assert!(entry("x".repeat(MAX_ENTRY_BYTES - least + 1)).encode(KEY, "t").is_none());
    }

    proptest! {
        #[test]
        fn a_value_of_which_anything_was_changed_is_none_of_ours(place in any::<prop::sample::Index>(), flip in 1..=255_u8, cut in any::<prop::sample::Index>()) {
            let seal = Seal::new([1; 32]);
            let encoded = entry("\"a\"".to_owned()).encode(KEY, "t").unwrap();
            let sealed = seal.close(&encoded);
            prop_assert_eq!(seal.open(&sealed), Ok(&encoded[..]));
            prop_assert_eq!(Seal::new([2; 32]).open(&sealed), Err(Rejected));
            let mut changed = sealed.clone();
            changed[place.index(sealed.len())] ^= flip;
            prop_assert_eq!(seal.open(&changed), Err(Rejected));
            prop_assert_eq!(seal.open(&sealed[..cut.index(sealed.len())]), Err(Rejected));
            let longer = [&sealed[..], &[flip]].concat();
            prop_assert_eq!(seal.open(&longer), Err(Rejected));
        }
    }
}
