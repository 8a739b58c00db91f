//! The fingerprint of a batch: BLAKE3 over its tasks in a canonical form, so that the same tasks have the same
//! fingerprint in whichever shape and encoding they came (protobuf bytes are not canonical).
//!
//! The form is one of columns: hashing whole columns is several times faster than hashing task by task. Fields stand in
//! this order, each after the lengths of all its values, numbers little-endian:
//!
//! | field | bytes |
//! |---|---|
//! | domain | [`DOMAIN`] |
//! | task count | u32 |
//! | names | 0 if all are empty; else 1, a u32 length per task, the names |
//! | kinds | 0 if all are inline; else 1, a byte per task |
//! | inputs | a u32 length per task, the inputs |
//! | ranges | 0 if there are none; else 1, per task u64 offset, u64 length |
//! | expected digests | 0 if there are none; else 1, a count byte per task, then per task, by ascending algorithm: algorithm byte, digest |

use std::ops::Range;

use super::columns::{self, Expected};
use crate::v1::{Algorithm, PackedTasks};

const DOMAIN: &[u8] = b"hashmesh batch 1\0";
const NONE: &[u8] = &[0];
const SOME: &[u8] = &[1];
/// Numbers that are encoded at a time.
const STEP: usize = 512;

/// The fingerprint of columns that were checked.
pub(super) fn fingerprint(tasks: &PackedTasks, expected: Expected<'_>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(DOMAIN);
    hasher.update(&(tasks.lengths.len() as u32).to_le_bytes());
    match tasks.names.as_ref().filter(|names| !names.data.is_empty()) {
        None => {
            hasher.update(NONE);
        }
        Some(names) => {
            hasher.update(SOME);
            update_numbers(&mut hasher, &names.lengths);
            hasher.update(&names.data);
        }
    }
    if columns::any_object(tasks) {
        hasher.update(SOME).update(&tasks.kinds);
    } else {
        hasher.update(NONE);
    }
    update_numbers(&mut hasher, &tasks.lengths);
    hasher.update(&tasks.data);
    update_ranges(&mut hasher, tasks);
    update_expected(&mut hasher, tasks, expected);
    *hasher.finalize().as_bytes()
}

fn update_numbers(hasher: &mut blake3::Hasher, numbers: &[u32]) {
    let mut buffer = [0; STEP * 4];
    for step in numbers.chunks(STEP) {
        for (place, number) in buffer.chunks_exact_mut(4).zip(step) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        hasher.update(&buffer[..step.len() * 4]);
    }
}

fn update_ranges(hasher: &mut blake3::Hasher, tasks: &PackedTasks) {
    let any = tasks.range_offsets.iter().chain(&tasks.range_lengths).any(|number| *number != 0);
    if !any {
        hasher.update(NONE);
        return;
    }
    hasher.update(SOME);
    for (offset, length) in tasks.range_offsets.iter().zip(&tasks.range_lengths) {
        hasher.update(&offset.to_le_bytes()).update(&length.to_le_bytes());
    }
}

fn update_expected(hasher: &mut blake3::Hasher, tasks: &PackedTasks, expected: Expected<'_>) {
    if expected.none() {
        hasher.update(NONE);
        return;
    }
    // Gathered first: many small updates cost more than the hashing.
    let mut canonical = Vec::with_capacity(tasks.expected.len() + 2 * tasks.lengths.len());
    canonical.extend((0..tasks.lengths.len()).map(|task| expected.count(task) as u8));
    let mut cursor = expected.cursor();
    let mut digests: Vec<(Algorithm, Range<usize>)> = Vec::new();
    for _ in &tasks.lengths {
        digests.clear();
        cursor.next_task(|algorithm, place| digests.push((algorithm, place)));
        digests.sort_by_key(|(algorithm, _)| *algorithm as i32);
        for (algorithm, place) in digests.drain(..) {
            canonical.push(algorithm as i32 as u8);
            canonical.extend_from_slice(&tasks.expected[place]);
        }
    }
    hasher.update(SOME).update(&canonical);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::{
        tasks::{from_rows, samples, validate},
        v1::{PackedNames, PackedTasks, TaskRows},
    };

    fn of_rows(rows: TaskRows) -> [u8; 32] {
        validate(&from_rows(rows).unwrap()).unwrap().fingerprint
    }

    proptest! {
        #[test]
        fn rows_and_every_way_to_write_them_as_columns_have_one_fingerprint(rows in samples::rows(1..20)) {
            let sparse = from_rows(rows.clone()).unwrap();
            let full = samples::full_columns(&rows);
            prop_assert_eq!(validate(&sparse).unwrap(), validate(&full).unwrap());
        }

        #[test]
        fn expected_digests_in_another_order_have_the_same_fingerprint(rows in samples::rows(1..20)) {
            let mut reversed = rows.clone();
            reversed.tasks.iter_mut().for_each(|task| task.expected.reverse());
            prop_assert_eq!(of_rows(rows), of_rows(reversed));
        }

        #[test]
        fn other_tasks_have_another_fingerprint(one in samples::rows(1..6), other in samples::rows(1..6)) {
            let same = samples::meaning(&one) == samples::meaning(&other);
            prop_assert_eq!(of_rows(one) == of_rows(other), same);
        }
    }

    #[test]
    fn bytes_that_move_between_neighbouring_fields_change_the_fingerprint() {
        let with = |data: &'static [u8], lengths: &[u32], names: &'static [u8], name_lengths: &[u32]| {
            let names = PackedNames { data: names.into(), lengths: name_lengths.to_vec() };
            let tasks =
                PackedTasks { data: data.into(), lengths: lengths.to_vec(), names: Some(names), ..Default::default() };
            validate(&tasks).unwrap().fingerprint
        };
        let all = [
            with(b"abc", &[1, 2], b"de", &[1, 1]),
            with(b"abc", &[2, 1], b"de", &[1, 1]),
            with(b"abc", &[1, 2], b"de", &[2, 0]),
            with(b"ab", &[1, 1], b"cde", &[2, 1]),
            with(b"abc", &[3], b"de", &[2]),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one));
        }
    }

    /// Stored fingerprints are compared with new ones for as long as submissions live: the form may not change.
    #[test]
    fn the_fingerprint_of_known_tasks_never_changes() {
        let tasks = PackedTasks { data: "abc".into(), lengths: vec![3], ..Default::default() };
        let canonical = b"hashmesh batch 1\0\x01\0\0\0\0\0\x03\0\0\0abc\0\0";
        assert_eq!(validate(&tasks).unwrap().fingerprint, *blake3::hash(canonical).as_bytes());
    }
}
