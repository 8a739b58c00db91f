//! Shards: the parts into which submissions are divided among owners.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

/// The number of shards.
pub(crate) const SHARDS: u8 = 64;

/// A shard's number, 0 to 63.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Shard(u8);

impl Shard {
    /// Every shard.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..SHARDS).map(Self)
    }

    /// The shard of a submission: the last 6 bits of its id.
    pub(crate) fn of(submission: Uuid) -> Self {
        Self(submission.as_bytes()[15] & (SHARDS - 1))
    }

    /// The shard that decides about an idempotency key.
    pub(crate) fn of_key(tenant: &str, key: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(tenant.len() as u64).to_le_bytes());
        hasher.update(tenant.as_bytes());
        hasher.update(key.as_bytes());
        Self(hasher.finalize().as_bytes()[0] & (SHARDS - 1))
    }

    /// The shard's number.
    pub(crate) fn number(self) -> u8 {
        self.0
    }
}

/// Mints submission ids: UUIDv7 (RFC 9562) with a clock that never goes back.
#[derive(Debug, Default)]
pub(crate) struct IdMint {
    last_ms: u64,
}

impl IdMint {
    /// A new id, in `shard` if one is given.
    pub(crate) fn mint(&mut self, shard: Option<Shard>) -> Uuid {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.last_ms = self.last_ms.max(now_ms);
        let mut random: [u8; 10] = rand::random();
        if let Some(shard) = shard {
            random[9] = (random[9] & !(SHARDS - 1)) | shard.number();
        }
        uuid::Builder::from_unix_timestamp_millis(self.last_ms, &random).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_in_the_shard_it_was_minted_for() {
        let mut mint = IdMint::default();
        for shard in Shard::all() {
            let id = mint.mint(Some(shard));
            assert_eq!(Shard::of(id), shard);
            assert_eq!(id.get_version_num(), 7);
        }
    }

    #[test]
    fn a_clock_that_goes_back_does_not_take_ids_back() {
        let mut mint = IdMint { last_ms: u64::MAX >> 16 };
        let first = mint.mint(None);
        let second = mint.mint(None);
        assert_eq!(first.as_bytes()[..6], second.as_bytes()[..6]);
    }
}
