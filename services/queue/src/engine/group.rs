//! How what waits for a lane is cut into transactions: a pure function of what waits.
//!
//! A transaction that records a batch's outcomes need not store the batch's inputs ([`Elision`]), and storing them is most
//! of what a transaction costs. So a batch whose outcomes are on their way gives way, a bounded number of times, to whatever can be committed
//! without it: its outcomes will mostly stand beside it when the lane comes back. The lane itself never waits: if nothing
//! but such batches is there, they are taken at once.
//!
//! What gives way stays in the order of its submission, as far as an order matters: batches follow each other, outcomes
//! follow each other and their batch, and everything else follows all that came before it.

use std::collections::{HashMap, VecDeque};

use uuid::Uuid;

use super::lane::Queued;
use crate::store::{Elision, model::Write};

/// Bytes that one transaction writes, above which the rest waits for the next. Outcomes wait behind it: larger groups kept
/// them back for longer and were no faster, smaller ones paid for more commits (measured at 1, 4 and 16 MiB).
pub(super) const GROUP_BYTES: usize = 4 * 1024 * 1024;
/// Units that are looked at for one transaction.
const GROUP_UNITS: usize = 4096;
/// How often a batch gives way at most: by so many transactions its acknowledgement may be later.
const GIVE_WAY: u8 = 3;

/// What of a submission stays behind, so that nothing that must follow it is taken.
#[derive(Debug, Default)]
struct Behind {
    /// The first batch that stays.
    batch: Option<u32>,
    /// Outcomes stay, and so must all later ones.
    outcomes: bool,
    /// Something stays that everything must follow.
    all: bool,
}

impl Behind {
    /// True if a unit must follow something that stays.
    fn holds(&self, writes: &[Write]) -> bool {
        self.all
            || writes.is_empty() && self.any()
            || writes.iter().any(|write| match write {
                Write::Batch(_) => self.batch.is_some(),
                Write::Results(results) => self.outcomes || self.batch.is_some_and(|first| results.sequence >= first),
                _ => self.any(),
            })
    }

    fn any(&self) -> bool {
        self.batch.is_some() || self.outcomes || self.all
    }

    /// A unit stays.
    fn add(&mut self, writes: &[Write]) {
        self.all |= writes.is_empty();
        for write in writes {
            match write {
                Write::Batch(batch) => self.batch = Some(self.batch.unwrap_or(batch.sequence)),
                Write::Results(_) => self.outcomes = true,
                _ => self.all = true,
            }
        }
    }
}

/// Takes what the next transaction commits out of what waits; empty only if nothing waits.
pub(super) fn take(waiting: &mut VecDeque<Queued>) -> Vec<Queued> {
    let mut chosen = choose(waiting);
    if !chosen.contains(&true) {
        chosen.fill(true);
    }
    for (queued, chosen) in waiting.iter_mut().zip(&chosen) {
        queued.gave_way += u8::from(!chosen);
    }
    cut(waiting, &mut chosen);
    let (mut group, mut left) = (Vec::new(), Vec::new());
    for (queued, chosen) in waiting.drain(..chosen.len()).zip(&chosen) {
        if *chosen { group.push(queued) } else { left.push(queued) }
    }
    for queued in left.into_iter().rev() {
        waiting.push_front(queued);
    }
    group
}

/// For each unit that is looked at, whether it can be committed without a batch that should give way.
fn choose(waiting: &VecDeque<Queued>) -> Vec<bool> {
    let mut elision = Elision::default();
    waiting.iter().take(GROUP_UNITS).for_each(|queued| elision.add(&queued.unit));
    let mut behind: HashMap<Uuid, Behind> = HashMap::new();
    let choice = waiting.iter().take(GROUP_UNITS).map(|queued| {
        let id = queued.unit.submission;
        let unresolved = |write: &Write| matches!(write, Write::Batch(batch) if elision.unresolved(id, batch.sequence));
        let gives_way = queued.gave_way < GIVE_WAY && queued.unit.writes.iter().any(unresolved);
        let stays = gives_way || behind.get(&id).is_some_and(|behind| behind.holds(&queued.unit.writes));
        if stays {
            behind.entry(id).or_default().add(&queued.unit.writes);
        }
        !stays
    });
    choice.collect()
}

/// Leaves of the chosen the most that fit a transaction, at least one, in order.
fn cut(waiting: &VecDeque<Queued>, chosen: &mut [bool]) {
    let mut elision = Elision::default();
    let (mut bytes, mut fitting) = (0, 0);
    for (index, queued) in waiting.iter().take(chosen.len()).enumerate().filter(|(index, _)| chosen[*index]) {
        bytes += queued.bytes();
        elision.add(&queued.unit);
        // Outcomes that stand further behind may make up for what stands before them.
        if fitting == 0 || bytes - elision.saved() <= GROUP_BYTES {
            fitting = index + 1;
        }
    }
    chosen[fitting..].fill(false);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::{super::lane::After, *};
    use crate::{
        shard::Shard,
        store::model::{NewBatch, NewResults, Totals, Unit},
    };

    const BYTES: usize = 1024 * 1024;

    fn queued(submission: u8, write: Write) -> Queued {
        let id = Uuid::from_u128(u128::from(submission));
        Queued {
            unit: Unit { submission: id, shard: Shard::of(id), writes: vec![write] },
            after: After::default(),
            gave_way: 0,
        }
    }

    fn batch(sequence: u32, keep: bool) -> Write {
        Write::Batch(NewBatch {
            listed_to: None,
            trace_context: None,
            sequence,
            task_count: 2,
            byte_count: 0,
            accepted_through: 0,
            fingerprint: [0; 32],
            tasks: vec![0; BYTES].into(),
            without_inputs: (!keep).then(Bytes::new),
            names: None,
            reference_prefix: None,
        })
    }

    fn outcomes(sequence: u32, position: u64, task_count: u32) -> Write {
        Write::Results(NewResults {
            position,
            sequence,
            first_task: 0,
            task_count,
            attempt: 1,
            statuses: None,
            outcomes: Bytes::new(),
            kernel: String::new(),
            totals: Totals::default(),
            trace_context: None,
        })
    }

    /// What a unit is, in short.
    fn name(queued: &Queued) -> String {
        let submission = queued.unit.submission.as_u128();
        match &queued.unit.writes[0] {
            Write::Batch(batch) => format!("{submission}b{}", batch.sequence),
            Write::Results(results) => format!("{submission}r{}", results.sequence),
            _ => format!("{submission}end"),
        }
    }

    fn names(group: &[Queued]) -> Vec<String> {
        group.iter().map(name).collect()
    }

    #[test]
    fn a_batch_without_outcomes_gives_way_three_times_and_with_it_what_must_follow_it() {
        let mut waiting: VecDeque<Queued> = [
            queued(1, batch(0, false)),
            queued(1, batch(1, false)),
            queued(1, outcomes(0, 1, 2)),
            queued(1, batch(2, true)),
            queued(2, batch(0, true)),
        ]
        .into();
        assert_eq!(names(&take(&mut waiting)), ["1b0", "1r0", "2b0"]);
        for sequence in 1..3 {
            waiting.push_back(queued(2, batch(sequence, true)));
            assert_eq!(names(&take(&mut waiting)), [format!("2b{sequence}")]);
        }
        waiting.push_back(queued(1, batch(3, false)));
        assert_eq!(names(&take(&mut waiting)), ["1b1", "1b2"]);
        // Nothing else is there: it does not wait.
        assert_eq!(names(&take(&mut waiting)), ["1b3"]);
        assert!(take(&mut waiting).is_empty());
    }

    #[test]
    fn a_transaction_is_cut_by_what_it_writes_and_not_by_what_it_leaves_out() {
        let stored = (0..6).map(|sequence| queued(1, batch(sequence, true)));
        let mut waiting: VecDeque<Queued> = stored.collect();
        assert_eq!(take(&mut waiting).len(), 3, "a little more than 1 MiB each, within 4 MiB");
        let left_out = (0..6).flat_map(|sequence| {
            [queued(2, batch(sequence, false)), queued(2, outcomes(sequence, 1 + 2 * u64::from(sequence), 2))]
        });
        waiting = left_out.collect();
        assert_eq!(take(&mut waiting).len(), 12);
    }

    proptest! {
        /// Submissions of batches, outcomes (some for half a batch only) and an end, mixed at random, arriving at random
        /// between transactions: everything is taken, in an order that may be committed.
        #[test]
        fn order_is_kept_where_it_matters_and_nothing_is_left(
            plan in proptest::collection::vec((0_u8..3, any::<bool>(), any::<bool>(), 1_u32..3), 1..40),
            arrivals in proptest::collection::vec(1_usize..9, 40),
        ) {
            let mut incoming = VecDeque::new();
            let mut open: Vec<Vec<(u32, u32)>> = vec![Vec::new(); 3];
            let mut counts = [(0, 1_u64); 3];
            for (submission, give, keep, part) in plan {
                let index = usize::from(submission);
                if give && let Some((sequence, missing)) = open[index].pop() {
                    let count = part.min(missing);
                    incoming.push_back(queued(submission, outcomes(sequence, counts[index].1, count)));
                    counts[index].1 += u64::from(count);
                    if missing > count {
                        open[index].push((sequence, missing - count));
                    }
                } else {
                    incoming.push_back(queued(submission, batch(counts[index].0, keep)));
                    open[index].push((counts[index].0, 2));
                    counts[index].0 += 1;
                }
            }
            (0..3).for_each(|submission| incoming.push_back(queued(submission, Write::Cancel { reason: hashmesh::v1::EndReason::Caller, error: None })));
            let total = incoming.len();

            let mut waiting = VecDeque::new();
            let mut taken: Vec<Queued> = Vec::new();
            let mut arrivals = arrivals.into_iter();
            while taken.len() < total {
                let count = arrivals.next().unwrap_or(9).min(incoming.len());
                waiting.extend(incoming.drain(..count));
                let had = waiting.len();
                let group = take(&mut waiting);
                prop_assert!(had == 0 || !group.is_empty());
                prop_assert_eq!(group.len() + waiting.len(), had);
                taken.extend(group);
            }
            let mut next = [(0, 1_u64, false); 3];
            for queued in &taken {
                let (batches, position, ended) = &mut next[queued.unit.submission.as_u128() as usize];
                prop_assert!(!*ended, "{} behind the end", name(queued));
                match &queued.unit.writes[0] {
                    Write::Batch(batch) => {
                        prop_assert_eq!(batch.sequence, *batches);
                        *batches += 1;
                    }
                    Write::Results(results) => {
                        prop_assert!(results.sequence < *batches, "{} before its batch", name(queued));
                        prop_assert_eq!(results.position, *position);
                        *position += u64::from(results.task_count);
                    }
                    _ => *ended = true,
                }
            }
        }
    }
}
