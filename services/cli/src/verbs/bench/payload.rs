//! Made-up tasks: cheap, different from one another, and made again for the check instead of being kept.

use bytes::Bytes;
use hashmesh::v1::PackedTasks;

/// The tasks of one stream. Each begins with its number within the bench, so no two are the same from 8 bytes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Payload {
    pub(super) seed: u64,
    pub(super) stream: u64,
    /// Bytes of a task.
    pub(super) size: u32,
    /// Tasks of a batch.
    pub(super) batch: u32,
}

impl Payload {
    /// The batch with this sequence number: two allocations, whatever the number of tasks.
    pub(super) fn batch(&self, sequence: u32, tasks: u32) -> PackedTasks {
        let size = self.size as usize;
        let mut data = vec![0; size * tasks as usize];
        if size > 0 {
            for (index, task) in (0_u32..).zip(data.chunks_exact_mut(size)) {
                self.fill(sequence, index, task);
            }
        }
        PackedTasks { data: Bytes::from(data), lengths: vec![self.size; tasks as usize], ..PackedTasks::default() }
    }

    /// One task's input.
    pub(super) fn task(&self, sequence: u32, index: u32) -> Vec<u8> {
        let mut task = vec![0; self.size as usize];
        self.fill(sequence, index, &mut task);
        task
    }

    fn fill(&self, sequence: u32, index: u32, task: &mut [u8]) {
        let number = u64::from(sequence) * u64::from(self.batch) + u64::from(index);
        // Up to 2^40 tasks of 2^24 streams have numbers of their own.
        let unique = (self.stream << 40) ^ number;
        let mut state = self.seed ^ unique.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut words = task.chunks_mut(8);
        if let Some(first) = words.next() {
            first.copy_from_slice(&unique.to_le_bytes()[..first.len()]);
        }
        for word in words {
            word.copy_from_slice(&split_mix(&mut state).to_le_bytes()[..word.len()]);
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_task_can_be_made_again_and_no_two_are_the_same() {
        let mut seen = HashSet::new();
        for stream in 0..3 {
            let payload = Payload { seed: 1, stream, size: 20, batch: 10 };
            for sequence in 0..5 {
                let batch = payload.batch(sequence, 10);
                for (index, task) in (0..).zip(batch.data.chunks(20)) {
                    assert_eq!(payload.task(sequence, index), task);
                    assert!(seen.insert(task.to_vec()));
                }
            }
        }
    }

    #[test]
    fn tasks_may_be_empty_or_shorter_than_their_number() {
        for size in 0..9 {
            let payload = Payload { seed: 1, stream: 0, size, batch: 3 };
            let batch = payload.batch(0, 3);
            assert_eq!((batch.data.len(), batch.lengths), (3 * size as usize, vec![size; 3]));
        }
    }
}
