//! Shards: the parts into which submissions are divided among owners.

use std::time::{Duration, UNIX_EPOCH};

use hashmesh::shards;
pub(crate) use hashmesh::shards::SHARDS;
use uuid::Uuid;

use crate::clock;

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
        Self(shards::of_submission(submission.as_bytes()))
    }

    /// The shard that decides about an idempotency key.
    pub(crate) fn of_key(tenant: &str, key: &str) -> Self {
        Self(shards::of_key(tenant, key))
    }

    /// The shard of this number, if there is one.
    pub(crate) fn numbered(number: i16) -> Option<Self> {
        u8::try_from(number).ok().filter(|number| *number < SHARDS).map(Self)
    }

    /// The shard's number.
    pub(crate) const fn number(self) -> u8 {
        self.0
    }
}

/// Some of the shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShardSet(u64);

impl ShardSet {
    pub(crate) const NONE: Self = Self(0);
    #[cfg(test)]
    pub(crate) const ALL: Self = Self(u64::MAX);

    /// As many as bit n stands for shard n.
    pub(crate) const fn of_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    pub(crate) const fn contains(self, shard: Shard) -> bool {
        self.0 >> shard.0 & 1 == 1
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// In ascending order.
    pub(crate) fn iter(self) -> impl Iterator<Item = Shard> {
        Shard::all().filter(move |shard| self.contains(*shard))
    }

    /// For Postgres.
    pub(crate) fn numbers(self) -> Vec<i16> {
        self.iter().map(|shard| i16::from(shard.number())).collect()
    }
}

impl FromIterator<Shard> for ShardSet {
    fn from_iter<T: IntoIterator<Item = Shard>>(shards: T) -> Self {
        Self(shards.into_iter().fold(0, |bits, shard| bits | 1 << shard.0))
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
        let now = clock::system().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let mut random = clock::random_bytes();
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
    fn a_set_has_the_shards_that_it_was_made_of() {
        let even: ShardSet = Shard::all().filter(|shard| shard.number() % 2 == 0).collect();
        let odd = ShardSet::ALL.without(even);
        assert_eq!((even.len(), odd.len(), even.and(odd)), (32, 32, ShardSet::NONE));
        assert_eq!(even.or(odd), ShardSet::ALL);
        assert!(even.iter().all(|shard| even.contains(shard) && !odd.contains(shard)));
        assert_eq!(odd.numbers()[..3], [1, 3, 5]);
        assert_eq!(ShardSet::of_bits(odd.bits()), odd);
        assert!(ShardSet::NONE.is_empty() && Shard::numbered(64).is_none() && Shard::numbered(-1).is_none());
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
