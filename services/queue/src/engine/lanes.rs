//! Which lane a submission's writes take.
//!
//! What a submission has under way is in one lane, so that its writes keep their order; once all of that is committed, the
//! next may go elsewhere. Transactions of the other lanes are large where much is brought, and whoever came with one task
//! would wait for two of them, each behind all that was there before. So a tenant who has little under way goes by a lane
//! of its own, the express lane, in which nobody has much: its transactions are small. What goes beyond a tenant's share of
//! it waits until what the submission has there is committed, and then takes another lane, until the submission has
//! nothing under way again.

use std::{collections::HashMap, sync::Arc};

use uuid::Uuid;

use super::lane::{LaneQueue, Queued};
use crate::shard::{Shard, ShardSet};

/// What a tenant may have under way in the express lane: some 60 single tasks.
const EXPRESS_BYTES: usize = 64 * 1024;
/// What a unit counts for at least, because a transaction of many small ones is not small.
const UNIT_BYTES: usize = 1024;

/// The lanes of an ownership, and where everything that is under way went.
#[derive(Debug)]
pub(super) struct Lanes {
    express: Arc<LaneQueue>,
    others: Vec<Other>,
    places: HashMap<Uuid, Place>,
    /// What each tenant has in the express lane.
    expressed: HashMap<Arc<str>, usize>,
}

#[derive(Debug)]
struct Other {
    queue: Arc<LaneQueue>,
    submissions: usize,
}

/// Where a submission with something under way has it.
#[derive(Debug)]
struct Place {
    lane: Chosen,
    /// Units in the lane that are not known to be committed.
    units: usize,
    /// Units that wait for these to be committed, and then take another lane.
    parked: Vec<Queued>,
}

#[derive(Debug)]
enum Chosen {
    /// With what that counts for, and for whom.
    Express {
        tenant: Arc<str>,
        bytes: usize,
    },
    Other(usize),
}

impl Lanes {
    /// An express lane, and so many others.
    pub(super) fn new(others: usize) -> Self {
        let other = || Other { queue: Arc::default(), submissions: 0 };
        Self {
            express: Arc::default(),
            others: (0..others).map(|_| other()).collect(),
            places: HashMap::new(),
            expressed: HashMap::new(),
        }
    }

    /// What waits for each lane.
    pub(super) fn queues(&self) -> impl Iterator<Item = &Arc<LaneQueue>> {
        std::iter::once(&self.express).chain(self.others.iter().map(|other| &other.queue))
    }

    /// Puts a unit behind all others of its submission.
    pub(super) fn push(&mut self, tenant: &str, queued: Queued) {
        let id = queued.unit.submission;
        let unit_bytes = queued.bytes().max(UNIT_BYTES);
        if !self.places.contains_key(&id) {
            let lane = self.choose(tenant, unit_bytes);
            self.places.insert(id, Place { lane, units: 0, parked: Vec::new() });
        }
        let Some(place) = self.places.get_mut(&id) else { return };
        match &mut place.lane {
            Chosen::Other(lane) => self.others[*lane].queue.push(queued),
            Chosen::Express { tenant, bytes } => {
                let of_tenant = self.expressed.entry(Arc::clone(tenant)).or_default();
                if !place.parked.is_empty() || *of_tenant + unit_bytes > EXPRESS_BYTES {
                    return place.parked.push(queued);
                }
                *of_tenant += unit_bytes;
                *bytes += unit_bytes;
                self.express.push(queued);
            }
        }
        place.units += 1;
    }

    /// A unit of this submission is committed.
    pub(super) fn committed(&mut self, id: Uuid) {
        let Some(place) = self.places.get_mut(&id) else { return };
        place.units -= 1;
        if place.units > 0 {
            return;
        }
        let parked = self.forget(id);
        if parked.is_empty() {
            return;
        }
        let lane = self.least_used();
        let units = parked.len();
        parked.into_iter().for_each(|queued| self.others[lane].queue.push(queued));
        self.places.insert(id, Place { lane: Chosen::Other(lane), units, parked: Vec::new() });
    }

    /// A unit of this submission failed. Its lane drops those behind it and whatever follows, until [`Self::pardon`].
    pub(super) fn failed(&mut self, id: Uuid) {
        self.forget(id);
    }

    /// True while something of these shards is under way.
    pub(super) fn busy(&self, shards: ShardSet) -> bool {
        self.places.keys().any(|id| shards.contains(Shard::of(*id)))
    }

    /// The engine has let go of a failed submission: a new life of it may be written.
    pub(super) fn pardon(&self, id: Uuid) {
        self.queues().for_each(|queue| queue.pardon(id));
    }

    /// What waited for the place is left.
    fn forget(&mut self, id: Uuid) -> Vec<Queued> {
        let Some(place) = self.places.remove(&id) else { return Vec::new() };
        match place.lane {
            Chosen::Other(lane) => self.others[lane].submissions -= 1,
            Chosen::Express { tenant, bytes } => {
                if let Some(left) = self.expressed.get_mut(&tenant) {
                    *left -= bytes;
                    if *left == 0 {
                        self.expressed.remove(&tenant);
                    }
                }
            }
        }
        place.parked
    }

    /// The lane of a submission that has nothing under way.
    fn choose(&mut self, tenant: &str, unit_bytes: usize) -> Chosen {
        match self.expressed.get_key_value(tenant) {
            Some((tenant, bytes)) if bytes + unit_bytes <= EXPRESS_BYTES => {
                Chosen::Express { tenant: Arc::clone(tenant), bytes: 0 }
            }
            None if unit_bytes <= EXPRESS_BYTES => Chosen::Express { tenant: tenant.into(), bytes: 0 },
            _ => Chosen::Other(self.least_used()),
        }
    }

    /// The lane with the fewest submissions, which one more takes.
    fn least_used(&mut self) -> usize {
        let least = self.others.iter().enumerate().min_by_key(|(_, other)| other.submissions);
        let index = least.map_or(0, |(index, _)| index);
        self.others[index].submissions += 1;
        index
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::lane::After, *};
    use crate::{
        shard::Shard,
        store::model::{NewResults, Totals, Unit, Write},
    };

    /// Outcomes of so many bytes at this position.
    fn queued(submission: u8, position: u64, bytes: usize) -> Queued {
        let id = Uuid::from_u128(u128::from(submission));
        let results = NewResults {
            position,
            sequence: 0,
            first_task: 0,
            task_count: 1,
            attempt: 1,
            statuses: None,
            outcomes: vec![0; bytes].into(),
            kernel: String::new(),
            totals: Totals::default(),
            trace_context: None,
        };
        let unit = Unit { submission: id, shard: Shard::of(id), writes: vec![Write::Results(results)] };
        Queued { unit, after: After::default(), gave_way: 0 }
    }

    fn name(queued: &Queued) -> (u8, u64) {
        let Write::Results(results) = &queued.unit.writes[0] else { unreachable!() };
        (queued.unit.submission.as_u128() as u8, results.position)
    }

    /// What the lane's next transaction commits.
    fn take(lanes: &Lanes, lane: usize) -> Vec<(u8, u64)> {
        lanes.queues().nth(lane).unwrap().take_now().iter().map(name).collect()
    }

    fn commit(lanes: &mut Lanes, units: &[(u8, u64)]) {
        units.iter().for_each(|(id, _)| lanes.committed(Uuid::from_u128(u128::from(*id))));
    }

    const KIB: usize = 1024;

    #[test]
    fn who_has_little_under_way_goes_by_the_express_lane_whatever_others_have() {
        let mut lanes = Lanes::new(2);
        for position in 0..100 {
            lanes.push("large", queued(1, position, 900 * KIB));
        }
        lanes.push("small", queued(2, 0, KIB));
        lanes.push("other", queued(3, 0, 2 * KIB));
        assert_eq!(take(&lanes, 0), [(2, 0), (3, 0)]);
        assert_eq!(take(&lanes, 1)[..2], [(1, 0), (1, 1)]);
    }

    #[test]
    fn what_exceeds_a_share_waits_for_what_is_in_the_express_lane_and_then_takes_another() {
        let mut lanes = Lanes::new(1);
        for position in 0..9 {
            lanes.push("a", queued(1, position, 10 * KIB));
        }
        // Another of its submissions finds no room, and one that would fit does not pass what waits.
        lanes.push("a", queued(2, 0, 10 * KIB));
        lanes.push("a", queued(1, 9, 1));
        let first = take(&lanes, 0);
        assert_eq!(first, [(1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (1, 5)]);
        assert_eq!(take(&lanes, 1), [(2, 0)]);
        commit(&mut lanes, &first[..5]);
        assert!(take(&lanes, 1).is_empty());
        commit(&mut lanes, &first[5..]);
        let second = take(&lanes, 1);
        assert_eq!(second, [(1, 6), (1, 7), (1, 8), (1, 9)]);
        // Its share is free again, but its writes keep their order.
        lanes.push("a", queued(1, 10, 1));
        assert_eq!(take(&lanes, 1), [(1, 10)]);
        commit(&mut lanes, &second);
        commit(&mut lanes, &[(1, 10)]);
        lanes.push("a", queued(1, 11, 1));
        assert_eq!(take(&lanes, 0), [(1, 11)]);
    }

    #[test]
    fn single_tasks_count_so_that_even_very_many_of_a_tenant_leave_the_express_lane_to_others() {
        let mut lanes = Lanes::new(1);
        for id in 0..200 {
            lanes.push("many", queued(id, 0, 1));
        }
        lanes.push("single", queued(200, 0, 1));
        assert_eq!(take(&lanes, 0).len(), EXPRESS_BYTES / UNIT_BYTES + 1);
        assert_eq!(take(&lanes, 1).len(), 200 - EXPRESS_BYTES / UNIT_BYTES);
    }

    #[test]
    fn a_failed_submission_leaves_its_share_to_others() {
        let mut lanes = Lanes::new(1);
        (0..9).for_each(|position| lanes.push("a", queued(1, position, 10 * KIB)));
        lanes.failed(Uuid::from_u128(1));
        assert_eq!(take(&lanes, 0).len(), 6, "in flight");
        assert!(lanes.expressed.is_empty() && lanes.places.is_empty());
        lanes.push("a", queued(1, 6, 50 * KIB));
        assert_eq!(take(&lanes, 0), [(1, 6)]);
    }

    proptest! {
        /// Units of several submissions and sizes, transactions that begin and end at any time: whatever the lanes,
        /// each submission's units are committed in order, and none is left.
        #[test]
        fn a_submission_keeps_its_order_whatever_lanes_it_takes(
            steps in proptest::collection::vec((0_u8..5, 0_usize..4, 0_usize..6), 1..200),
        ) {
            let mut lanes = Lanes::new(2);
            let mut pushed = [0_u64; 5];
            let mut begun = [const { Vec::new() }; 3];
            let mut next = [0_u64; 5];
            let mut end = |lanes: &mut Lanes, units: Vec<(u8, u64)>| {
                for (id, position) in &units {
                    assert_eq!(next[usize::from(*id)], *position);
                    next[usize::from(*id)] += 1;
                }
                commit(lanes, &units);
            };
            for (id, size, lane) in steps {
                lanes.push(["a", "b"][usize::from(id % 2)], queued(id, pushed[usize::from(id)], [1, KIB, 20 * KIB, 900 * KIB][size]));
                pushed[usize::from(id)] += 1;
                if let Some(units) = begun.get_mut(lane) {
                    let ended = std::mem::take(units);
                    end(&mut lanes, ended);
                    begun[lane] = take(&lanes, lane);
                }
            }
            while !lanes.places.is_empty() {
                for (lane, units) in begun.iter_mut().enumerate() {
                    end(&mut lanes, std::mem::take(units));
                    *units = take(&lanes, lane);
                }
            }
            prop_assert_eq!(next, pushed);
            prop_assert!(lanes.expressed.is_empty());
            prop_assert!(lanes.others.iter().all(|other| other.submissions == 0));
        }
    }
}
