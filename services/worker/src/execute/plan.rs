//! A lease, decoded and cut into groups.

use hashmesh::{
    algorithm::stride,
    limits::MAX_RESULTS_FRAME_BYTES,
    queue::v1::Lease,
    tasks::AllowedSources,
    v1::{Algorithm, PackedTasks},
};
use hashmesh_hash::{NoPartSize, Recipe};
use prost::Message as _;

use crate::sources::is_remote;

/// A lease ready to be worked on.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The tasks; its columns agree with one another.
    pub(crate) tasks: PackedTasks,
    pub(crate) task_count: usize,
    /// What to compute, in this order.
    pub(crate) algorithms: Recipe,
    /// Neighbouring tasks, together all of them.
    pub(crate) groups: Vec<Group>,
    /// What the tenant's objects may be. `None`: whatever may be read.
    pub(crate) allowed: Option<AllowedSources>,
    /// Some task is an object.
    pub(crate) reads_objects: bool,
    /// Inline bytes without expected digests, the common case.
    pub(crate) plain: bool,
    /// The sizes of inline tasks are wanted.
    pub(crate) sizes: bool,
    /// Plain, and so little that a trip to the pool would take longer than the work.
    pub(crate) small: bool,
}

/// A run of neighbouring tasks that one thread works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// The first task, counted within the lease.
    pub(crate) first: usize,
    /// Number of tasks.
    pub(crate) count: usize,
    /// Where its inputs begin in the tasks' `data`.
    pub(crate) data_start: usize,
    /// The length of its inputs.
    pub(crate) data_bytes: usize,
    /// Objects that are read over the network, all of them.
    pub(crate) remote: bool,
}

/// A lease that makes no sense to this worker: an algorithm or shape that it does not know, of a newer queue perhaps.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsupported {
    #[error("the lease names no algorithm, or one that this worker does not know: {numbers:?}")]
    Algorithms { numbers: Vec<i32> },
    #[error("the lease does not say enough about its digests")]
    Parts(#[from] NoPartSize),
    #[error("the lease expects digests of an algorithm that it does not compute")]
    Expected,
    #[error("the lease's tasks cannot be decoded")]
    Decode(#[from] prost::DecodeError),
    #[error("the lease's tasks are malformed")]
    Malformed(#[from] hashmesh::tasks::Malformed),
    #[error("the lease is said to have {said} tasks and has {found}")]
    Count { said: u32, found: usize },
}

/// What a task costs besides its bytes, in bytes' worth of hashing: padding, the last block, its place in the columns.
const TASK_COST: usize = 128;

/// Less is not worth a second thread: some 100 µs of work, against some 10 µs that a trip to the pool takes.
const MIN_GROUP_COST: usize = 128 * 1024;

/// At most this is hashed right where the lease came in: 50 µs with SHA-256, and never near the 0.5 ms that the async
/// threads may be kept.
const SMALL_COST: usize = 64 * 1024;

/// Objects per group: few, so that every thread gets some even where one file is as large as all others together.
const MAX_GROUP_OBJECTS: usize = 32;

/// Groups of objects per thread, for the same reason.
const OBJECT_GROUPS_PER_THREAD: usize = 4;

/// Objects of a group that is read over the network, one after another: mostly waited for, so there are many groups.
const MAX_GROUP_REMOTE: usize = 4;

impl Plan {
    /// Decodes a lease and cuts it for `threads` threads.
    pub(crate) fn new(lease: &Lease, threads: usize) -> Result<Self, Unsupported> {
        let known =
            |numbers: &[i32]| numbers.iter().map(|number| Algorithm::known(*number)).collect::<Option<Vec<_>>>();
        let algorithms = known(&lease.algorithms).filter(|algorithms| !algorithms.is_empty());
        let algorithms = algorithms.ok_or_else(|| Unsupported::Algorithms { numbers: lease.algorithms.clone() })?;
        let algorithms = Recipe::new(algorithms, lease.part_bytes)?;
        // The payload stays a slice of the frame.
        let tasks = PackedTasks::decode(lease.tasks.clone())?;
        // Checks that the columns agree.
        drop(tasks.views()?);
        let task_count = tasks.task_count();
        if task_count == 0 || task_count != lease.task_count as usize {
            return Err(Unsupported::Count { said: lease.task_count, found: task_count });
        }
        if !tasks.expected_algorithms.iter().all(|number| lease.algorithms.contains(number)) {
            return Err(Unsupported::Expected);
        }
        let reads_objects = tasks.kinds.iter().any(|kind| *kind != 0);
        let plain = !reads_objects && tasks.expected.is_empty();
        let groups = if reads_objects {
            object_groups(&tasks, threads, algorithms.gains_side_by_side())
        } else {
            inline_groups(&tasks.lengths, threads, &algorithms)
        };
        let cost = |group: &Group| (group.data_bytes + group.count * TASK_COST) * algorithms.len();
        let small = plain && matches!(&groups[..], [only] if cost(only) <= SMALL_COST);
        let allowed = lease.sources.as_ref().filter(|_| reads_objects).map(AllowedSources::of);
        Ok(Self { tasks, task_count, algorithms, groups, allowed, reads_objects, plain, sizes: lease.sizes, small })
    }
}

/// Groups of about the same cost, as many as threads if the lease is worth it.
fn inline_groups(lengths: &[u32], threads: usize, algorithms: &[Algorithm]) -> Vec<Group> {
    let cost = |length: u32| (length as usize + TASK_COST) * algorithms.len();
    let total: usize = lengths.iter().map(|length| cost(*length)).sum();
    let wanted_cost = total.div_ceil(threads.max(1)).max(MIN_GROUP_COST);
    // So that no group's digests outgrow a frame.
    let max_count = MAX_RESULTS_FRAME_BYTES / stride(algorithms).max(1);
    cut(lengths, |group, group_cost| group_cost >= wanted_cost || group.count >= max_count, cost)
}

/// Groups of what is read over the network, and of what is not. `pairs`: two large ones are hashed faster beside each other than one after
/// the other, and every thread should have two.
fn object_groups(tasks: &PackedTasks, threads: usize, pairs: bool) -> Vec<Group> {
    let (count, threads) = (tasks.lengths.len(), threads.max(1));
    let least = if pairs { (count / threads).clamp(1, 2) } else { 1 };
    let wanted = count.div_ceil(threads * OBJECT_GROUPS_PER_THREAD).clamp(least, MAX_GROUP_OBJECTS);
    let mut start = 0;
    let remote: Vec<bool> = tasks
        .lengths
        .iter()
        .zip(&tasks.kinds)
        .map(|(length, kind)| {
            let uri = &tasks.data[start..start + *length as usize];
            start += uri.len();
            *kind != 0 && is_remote(uri)
        })
        .collect();
    let full = |group: &Group, _| {
        let last = group.first + group.count - 1;
        let most = if remote[last] { wanted.min(MAX_GROUP_REMOTE) } else { wanted };
        group.count >= most || remote.get(last + 1).is_some_and(|next| *next != remote[last])
    };
    let mut groups = cut(&tasks.lengths, full, |_| 0);
    groups.iter_mut().for_each(|group| group.remote = remote[group.first]);
    groups
}

/// Cuts behind each task after which the group is `full`.
fn cut(lengths: &[u32], full: impl Fn(&Group, usize) -> bool, cost: impl Fn(u32) -> usize) -> Vec<Group> {
    let empty = |first, data_start| Group { first, count: 0, data_start, data_bytes: 0, remote: false };
    let (mut groups, mut group, mut group_cost) = (Vec::new(), empty(0, 0), 0);
    for length in lengths {
        group.count += 1;
        group.data_bytes += *length as usize;
        group_cost += cost(*length);
        if full(&group, group_cost) {
            let next = empty(group.first + group.count, group.data_start + group.data_bytes);
            groups.push(std::mem::replace(&mut group, next));
            group_cost = 0;
        }
    }
    if group.count > 0 {
        groups.push(group);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_covers(groups: &[Group], lengths: &[u32]) {
        let (mut task, mut place) = (0, 0);
        for group in groups {
            assert_eq!((group.first, group.data_start), (task, place));
            assert!(group.count > 0);
            let bytes: u32 = lengths[task..task + group.count].iter().sum();
            assert_eq!(group.data_bytes, bytes as usize);
            (task, place) = (task + group.count, place + group.data_bytes);
        }
        assert_eq!(task, lengths.len());
    }

    #[test]
    fn a_small_lease_is_one_group_and_a_large_one_is_a_group_per_thread() {
        for (lengths, groups) in [(vec![64; 100], 1), (vec![64; 10_000], 2), (vec![0; 10_000], 2), (vec![4_000_000], 1)]
        {
            let cut = inline_groups(&lengths, 2, &[Algorithm::Sha256]);
            assert_eq!(cut.len(), groups, "{} tasks", lengths.len());
            assert_covers(&cut, &lengths);
        }
    }

    #[test]
    fn groups_are_equal_in_cost_and_not_in_number() {
        let mut lengths = vec![1; 1_000];
        lengths[0] = 2_000_000;
        let cut = inline_groups(&lengths, 2, &[Algorithm::Sha256]);
        assert_eq!(cut.iter().map(|group| group.count).collect::<Vec<_>>(), [1, 999]);
        assert_covers(&cut, &lengths);
    }

    #[test]
    fn no_groups_digests_outgrow_a_frame() {
        let algorithms = [Algorithm::Sha512, Algorithm::Sha384, Algorithm::Sha256, Algorithm::Blake3];
        let lengths = vec![1; 10_000];
        let cut = inline_groups(&lengths, 1, &algorithms);
        assert!(cut.iter().all(|group| group.count * stride(&algorithms) <= MAX_RESULTS_FRAME_BYTES));
        assert_covers(&cut, &lengths);
    }

    #[test]
    fn a_lease_is_small_up_to_what_a_trip_to_the_pool_is_worth() {
        let small = |bytes: usize, algorithms: &[Algorithm]| {
            let tasks =
                PackedTasks { data: vec![0; bytes].into(), lengths: vec![bytes as u32], ..PackedTasks::default() };
            let algorithms = algorithms.iter().map(|algorithm| *algorithm as i32).collect();
            let tasks = tasks.encode_to_vec().into();
            Plan::new(&Lease { tasks, algorithms, task_count: 1, ..Lease::default() }, 2).unwrap().small
        };
        let most = SMALL_COST - TASK_COST;
        assert!(small(most, &[Algorithm::Sha256]) && !small(most + 1, &[Algorithm::Sha256]));
        let most = SMALL_COST / 2 - TASK_COST;
        let two = [Algorithm::Sha256, Algorithm::Md5];
        assert!(small(most, &two) && !small(most + 1, &two));
    }

    #[test]
    fn a_lease_of_composite_digests_without_a_part_size_makes_no_sense() {
        let plan = |part_bytes: u64| {
            let tasks = PackedTasks { data: vec![0].into(), lengths: vec![1], ..PackedTasks::default() };
            let (tasks, algorithms) = (tasks.encode_to_vec().into(), vec![Algorithm::Md5Composite as i32]);
            Plan::new(&Lease { tasks, algorithms, task_count: 1, part_bytes, ..Lease::default() }, 2)
        };
        assert!(matches!(plan(0), Err(Unsupported::Parts(_))));
        assert!(plan(8 << 20).is_ok());
    }

    #[test]
    fn objects_are_spread_thinly() {
        for (objects, largest, in_pairs) in [(1, 1, 1), (3, 1, 1), (4, 1, 2), (8, 1, 2), (16, 2, 2), (10_000, 32, 32)] {
            for (pairs, largest) in [(false, largest), (true, in_pairs)] {
                let cut = object_groups(&objects_of(&vec!["file:///srv/file"; objects]), 2, pairs);
                assert_eq!(cut[0].count, largest, "{objects} objects, {pairs}");
                assert_covers(&cut, &vec![16; objects]);
            }
        }
    }

    fn objects_of(uris: &[&str]) -> PackedTasks {
        PackedTasks {
            data: uris.concat().into(),
            lengths: uris.iter().map(|uri| uri.len() as u32).collect(),
            kinds: vec![1; uris.len()].into(),
            ..PackedTasks::default()
        }
    }

    #[test]
    fn what_is_read_over_the_network_has_groups_of_its_own() {
        let mut uris = vec!["file:///a"; 100];
        uris[40..43].fill("s3://bucket/key");
        uris[60] = "https://example.com/";
        let tasks = objects_of(&uris);
        let cut = object_groups(&tasks, 1, false);
        assert_covers(&cut, &tasks.lengths);
        let remote: Vec<_> = cut.iter().filter(|group| group.remote).map(|group| (group.first, group.count)).collect();
        assert_eq!(remote, [(40, 3), (60, 1)]);
    }
}
