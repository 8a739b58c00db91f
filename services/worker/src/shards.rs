//! Sets of shards: what a queue owns.

use hashmesh::shards::SHARDS;

/// Some of the shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShardSet(u64);

impl ShardSet {
    /// All of them: what a queue owns that shares nothing.
    pub(crate) const ALL: Self = Self(u64::MAX);

    /// As the protocol has it: bit n stands for shard n.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) fn insert(&mut self, shard: u8) {
        if shard < SHARDS {
            self.0 |= 1 << shard;
        }
    }

    pub(crate) const fn contains(self, shard: u8) -> bool {
        shard < SHARDS && self.0 >> shard & 1 == 1
    }

    pub(crate) const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<u8> for ShardSet {
    fn from_iter<T: IntoIterator<Item = u8>>(shards: T) -> Self {
        let mut set = Self::default();
        shards.into_iter().for_each(|shard| set.insert(shard));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_in_and_no_shard_that_there_is_not() {
        let set: ShardSet = [0, 63, 64, 255].into_iter().collect();
        assert_eq!(set, ShardSet::from_bits(1 << 63 | 1));
        assert!(set.contains(0) && set.contains(63) && !set.contains(1) && !set.contains(64));
        assert_eq!(set.without(ShardSet::from_bits(1)), [63].into_iter().collect());
        assert!(set.without(ShardSet::ALL).is_empty());
    }
}
