//! Who should own which shards: decided by each process for itself, from the same picture, so that all come to own about the
//! same number without talking to each other.
//!
//! A process takes free shards up to its share, and gives up what it has beyond it. Shards that stay free because whoever
//! should take them does not are taken by anybody, and kept for a while.

use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::{
    picture::Picture,
    shard::{SHARDS, Shard, ShardSet},
};

/// Shards that have been free for this long are taken by whoever sees it.
const OVERDUE: Duration = Duration::from_secs(2);
/// For so long nothing is given up once others did not take what was free.
const KEPT: Duration = Duration::from_secs(30);

/// What a process should do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// To be taken, in this order.
    pub(crate) take: Vec<Shard>,
    /// To be given up.
    pub(crate) give: ShardSet,
}

/// What a process remembers between two looks.
#[derive(Debug)]
pub(crate) struct Balance {
    process: Uuid,
    free_since: [Option<Instant>; SHARDS as usize],
    keeps_until: Option<Instant>,
}

impl Balance {
    pub(crate) fn new(process: Uuid) -> Self {
        Self { process, free_since: [None; SHARDS as usize], keeps_until: None }
    }

    /// What to do about a picture. `held`: what this process owns.
    pub(crate) fn plan(&mut self, now: Instant, picture: &Picture, held: ShardSet) -> Plan {
        let free = picture.free().or(picture.owned_by(self.process)).without(held);
        for shard in Shard::all() {
            let since = &mut self.free_since[usize::from(shard.number())];
            *since = if free.contains(shard) { since.or(Some(now)) } else { None };
        }
        let sharing = picture.sharing(self.process).count() + 1;
        let share = usize::from(SHARDS).div_ceil(sharing);
        let keeps = self.keeps_until.is_some_and(|until| now < until);
        if held.len() > share && !keeps {
            // Those that would be taken last.
            let give = self.ordered(held).into_iter().skip(share).collect();
            return Plan { take: Vec::new(), give };
        }
        let mut wanted = self.ordered(free);
        // Ours by the tables, and not in our hands: of a life before.
        wanted.sort_by_key(|shard| picture.of(*shard).by != Some(self.process));
        let overdue = |shard: &Shard| {
            self.free_since[usize::from(shard.number())].is_some_and(|since| now.duration_since(since) >= OVERDUE)
        };
        let room = share.saturating_sub(held.len());
        let beyond: Vec<Shard> = wanted.iter().skip(room).copied().filter(overdue).collect();
        wanted.truncate(room);
        if !beyond.is_empty() {
            self.keeps_until = Some(now + KEPT);
            wanted.extend(beyond);
        }
        Plan { take: wanted, give: ShardSet::NONE }
    }

    /// Each process in an order of its own, so that those that take at the same time begin at different ends.
    fn ordered(&self, shards: ShardSet) -> Vec<Shard> {
        let mut ordered: Vec<Shard> = shards.iter().collect();
        ordered.sort_by_cached_key(|shard| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(self.process.as_bytes()).update(&[shard.number()]);
            *hasher.finalize().as_bytes()
        });
        ordered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::{Owned, Process};

    fn picture(processes: &[(Uuid, bool)]) -> Picture {
        let process = |(id, shares): &(Uuid, bool)| Process { id: *id, address: String::new(), shares: *shares };
        Picture { processes: processes.iter().map(process).collect(), ..Picture::default() }
    }

    fn own(picture: &mut Picture, process: Uuid, shards: impl IntoIterator<Item = Shard>) {
        for shard in shards {
            picture.shards[usize::from(shard.number())] = Owned { epoch: 1, by: Some(process), lapsed: false };
        }
    }

    fn ids(count: u128) -> Vec<Uuid> {
        (1..=count).map(Uuid::from_u128).collect()
    }

    /// All processes look, one after the other, and what they plan happens at once. Gives what each owns in the end, and how
    /// many shards were moved.
    fn settle(ids: &[Uuid], picture: &mut Picture, rounds: u32) -> (Vec<usize>, usize) {
        let mut balances: Vec<Balance> = ids.iter().map(|id| Balance::new(*id)).collect();
        let (mut now, mut moved) = (Instant::now(), 0);
        for _ in 0..rounds {
            for balance in &mut balances {
                let held = picture.owned_by(balance.process);
                let plan = balance.plan(now, picture, held);
                moved += plan.give.len();
                for shard in plan.give.iter() {
                    picture.shards[usize::from(shard.number())].by = None;
                }
                own(picture, balance.process, plan.take);
                now += Duration::from_millis(50);
            }
        }
        (ids.iter().map(|id| picture.owned_by(*id).len()).collect(), moved)
    }

    #[test]
    fn one_process_takes_everything() {
        let ids = ids(1);
        let mut picture = picture(&[(ids[0], true)]);
        assert_eq!(settle(&ids, &mut picture, 1), (vec![64], 0));
        // Also before it has said that it takes part.
        picture.processes.clear();
        picture.shards = Picture::default().shards;
        assert_eq!(settle(&ids, &mut picture, 1), (vec![64], 0));
    }

    #[test]
    fn any_number_of_processes_comes_to_own_about_the_same_and_moves_no_more_than_that_takes() {
        for count in [2_u128, 3, 5, 64, 70] {
            let ids = ids(count);
            let mut picture = picture(&ids.iter().map(|id| (*id, true)).collect::<Vec<_>>());
            // One was alone before.
            own(&mut picture, ids[0], Shard::all());
            let (owned, moved) = settle(&ids, &mut picture, 3);
            let share = 64_usize.div_ceil(count as usize);
            assert_eq!(owned.iter().sum::<usize>(), 64, "{count}: {owned:?}");
            assert!(owned.iter().all(|owned| *owned <= share), "{count}: {owned:?}");
            assert_eq!(moved, 64 - share, "{count}");
            assert_eq!(settle(&ids, &mut picture, 3), (owned, 0), "{count}: it moves on");
        }
    }

    #[test]
    fn what_a_lost_process_had_is_shared_among_the_others() {
        let ids = ids(3);
        let mut picture = picture(&[(ids[0], true), (ids[1], true)]);
        own(&mut picture, ids[0], Shard::all().filter(|shard| shard.number() < 21));
        own(&mut picture, ids[1], Shard::all().filter(|shard| (21..42).contains(&shard.number())));
        assert_eq!(settle(&ids[..2], &mut picture, 2), (vec![32, 32], 0));
    }

    #[test]
    fn nothing_is_taken_from_a_process_that_shares_nothing() {
        let ids = ids(2);
        let mut picture = picture(&[(ids[0], false)]);
        own(&mut picture, ids[0], Shard::all());
        assert_eq!(Balance::new(ids[1]).plan(Instant::now(), &picture, ShardSet::NONE), Plan::default());
    }

    #[test]
    fn what_nobody_takes_for_long_is_taken_beyond_the_share_and_kept_for_a_while() {
        let ids = ids(2);
        let mut picture = picture(&[(ids[0], true), (ids[1], true)]);
        let mut balance = Balance::new(ids[0]);
        let start = Instant::now();
        let plan = balance.plan(start, &picture, ShardSet::NONE);
        assert_eq!(plan.take.len(), 32);
        own(&mut picture, ids[0], plan.take);
        let held = picture.owned_by(ids[0]);
        let almost = OVERDUE - Duration::from_millis(1);
        assert_eq!(balance.plan(start + almost, &picture, held), Plan::default());
        let plan = balance.plan(start + OVERDUE, &picture, held);
        assert_eq!(plan.take.len(), 32);
        own(&mut picture, ids[0], plan.take);
        assert_eq!(balance.plan(start + KEPT, &picture, ShardSet::ALL), Plan::default());
        let plan = balance.plan(start + OVERDUE + KEPT, &picture, ShardSet::ALL);
        assert_eq!((plan.take.len(), plan.give.len()), (0, 32));
    }
}
