//! What finds an entry.

use hashmesh::{cache::v1::CachedObject, v1::Algorithm};

/// Entries of another version are not found: raise it whenever what an entry means changes.
const VERSION: &[u8] = b"hashmesh cache 1\0";

/// The length of a key in bytes.
pub(crate) const KEY_BYTES: usize = 32;

/// BLAKE3 over whose digest it is, of what, and which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(pub(crate) [u8; KEY_BYTES]);

impl Key {
    /// Of one digest of a tenant's object. Part sizes matter to composite digests alone.
    pub(crate) fn of(tenant: &str, object: &CachedObject, algorithm: Algorithm, part_bytes: u64) -> Self {
        let range = object.range.unwrap_or_default();
        let part_bytes = if algorithm.composite() { part_bytes } else { 0 };
        let mut hasher = blake3::Hasher::new();
        hasher.update(VERSION);
        for text in [tenant, &object.domain, &object.uri] {
            // Lengths keep `ab` and `c` apart from `a` and `bc`.
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        for number in [range.offset, range.length, part_bytes] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(&i32::from(algorithm).to_le_bytes());
        Self(*hasher.finalize().as_bytes())
    }

    pub(crate) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hashmesh::v1::ByteRange;

    use super::*;

    fn object(domain: &str, uri: &str, range: Option<(u64, u64)>) -> CachedObject {
        let range = range.map(|(offset, length)| ByteRange { offset, length });
        CachedObject { domain: domain.to_owned(), uri: uri.to_owned(), range }
    }

    #[test]
    fn whatever_tells_two_digests_apart_tells_their_keys_apart() {
        let sha256 = Algorithm::Sha256;
        let keys = [
            Key::of("t", &object("d", "u", None), sha256, 0),
            Key::of("s", &object("d", "u", None), sha256, 0),
            Key::of("t", &object("e", "u", None), sha256, 0),
            Key::of("t", &object("d", "v", None), sha256, 0),
            Key::of("td", &object("", "u", None), sha256, 0),
            Key::of("", &object("td", "u", None), sha256, 0),
            Key::of("t", &object("du", "", None), sha256, 0),
            Key::of("t", &object("d", "u", Some((1, 0))), sha256, 0),
            Key::of("t", &object("d", "u", Some((0, 1))), sha256, 0),
            Key::of("t", &object("d", "u", None), Algorithm::Sha512, 0),
            Key::of("t", &object("d", "u", None), Algorithm::Sha256Composite, 5 << 20),
            Key::of("t", &object("d", "u", None), Algorithm::Sha256Composite, 8 << 20),
        ];
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
    }

    #[test]
    fn the_whole_object_is_the_range_that_is_not_set_and_part_sizes_are_of_composite_digests() {
        let whole = Key::of("t", &object("d", "u", None), Algorithm::Md5, 0);
        assert_eq!(whole, Key::of("t", &object("d", "u", Some((0, 0))), Algorithm::Md5, 0));
        assert_eq!(whole, Key::of("t", &object("d", "u", None), Algorithm::Md5, 8 << 20));
    }
}
