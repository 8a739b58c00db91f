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

/// Mints submission ids: UUIDv7 (RFC 9562) with a clock that never goes back. Of one millisecond's ids each is greater than the
/// one before, so that "newest first" is the order in which they were made.
#[derive(Debug, Default)]
pub(crate) struct IdMint {
    last_ms: u64,
    /// Of the last id: the 12 bits behind the time.
    count: u16,
}

/// What fits behind the time.
const COUNTS: u16 = 1 << 12;

impl IdMint {
    /// A new id, in `shard` if one is given.
    pub(crate) fn mint(&mut self, shard: Option<Shard>) -> Uuid {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let mut random: [u8; 10] = rand::random();
        let [first, second, ..] = random;
        if now_ms > self.last_ms {
            // A random start in the lower half leaves 2,048 ids or more to each millisecond.
            (self.last_ms, self.count) = (now_ms, u16::from_be_bytes([first, second]) % (COUNTS / 2));
        } else if self.count + 1 < COUNTS {
            self.count += 1;
        } else {
            (self.last_ms, self.count) = (self.last_ms + 1, 0);
        }
        random[..2].copy_from_slice(&self.count.to_be_bytes());
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
        let mut mint = IdMint { last_ms: u64::MAX >> 16 >> 1, count: 0 };
        let first = mint.mint(None);
        let second = mint.mint(None);
        assert_eq!(first.as_bytes()[..6], second.as_bytes()[..6]);
        assert!(first < second, "{first} {second}");
    }

    #[test]
    fn ids_are_in_the_order_in_which_they_were_minted_however_many_a_millisecond_has() {
        let mut mint = IdMint { last_ms: u64::MAX >> 16 >> 1, count: COUNTS - 3 };
        let shards = std::iter::repeat_with(Shard::all).flatten();
        let ids: Vec<Uuid> = shards.take(10_000).map(|shard| mint.mint(Some(shard))).collect();
        assert!(ids.is_sorted_by(|one, next| one < next));
    }
}
