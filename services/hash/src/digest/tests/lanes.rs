//! Several inputs side by side, and one on several threads, against one after another.

use super::*;

#[path = "../../../fuzz/body.rs"]
mod fuzz;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_the_fuzz_target_does_holds_for_any_bytes(
        bytes in proptest::collection::vec(any::<u8>(), 0..60_000),
        lengths in proptest::collection::vec(0..3_000_u16, 1..40),
    ) {
        let mut data = bytes;
        // Random lengths alone would be long ones.
        let mut place = 0;
        for length in lengths {
            let Some(says) = data.get_mut(place..place + 2) else { break };
            says.copy_from_slice(&length.to_le_bytes());
            place += 2 + usize::from(length);
        }
        fuzz::many_inputs_have_the_digests_of_each(&data);
    }

    #[test]
    fn inputs_that_are_advanced_together_have_the_digests_of_each(
        inputs in proptest::collection::vec((proptest::collection::vec(0..400_000_usize, 1..4), 0..4_usize), 1..7),
    ) {
        let recipes = [
            recipe(&[Algorithm::Sha256]),
            recipe(&[Algorithm::Sha512, Algorithm::Sha224, Algorithm::Blake3]),
            recipe(&[Algorithm::Sha256tree, Algorithm::Sha256Composite]),
            recipe(&[]),
        ];
        let bytes = pattern(400_000);
        let mut hashers: Vec<_> = inputs.iter().map(|(_, kind)| MultiHasher::new(&recipes[*kind])).collect();
        for round in 0..3 {
            let mut work: Vec<_> = hashers
                .iter_mut()
                .zip(&inputs)
                .filter_map(|(hasher, (pieces, _))| pieces.get(round).map(|length| (hasher, &bytes[..*length])))
                .collect();
            MultiHasher::update_each(&mut work);
        }
        for (hasher, (pieces, kind)) in hashers.into_iter().zip(inputs) {
            let mut alone = MultiHasher::new(&recipes[kind]);
            pieces.iter().for_each(|length| alone.update(&bytes[..*length]));
            let (mut found, mut wanted) = (Vec::new(), Vec::new());
            hasher.finalize_into(&mut found);
            alone.finalize_into(&mut wanted);
            prop_assert_eq!(found, wanted);
        }
    }
}

#[test]
fn one_input_on_several_threads_has_the_same_digests_however_it_is_cut() {
    let threads = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let all = recipe(&Algorithm::ALL);
    let input = pattern(9_000_001);
    let wanted = at_once(&Algorithm::ALL, &input);
    // A first piece that leaves a leaf, and a grove of leaves, unfinished.
    for first in [0, 1, 1_024, 65_536, 70_001, 3_000_000] {
        let mut hasher = MultiHasher::new(&all);
        let (start, rest) = input.split_at(first);
        hasher.update_on(&threads, start);
        hasher.update_on(&threads, rest);
        let mut digests = Vec::new();
        hasher.finalize_into(&mut digests);
        assert_eq!(digests, wanted, "cut at {first}");
    }
    // A thread of a pool computes alone.
    let mut hasher = MultiHasher::new(&all);
    threads.install(|| hasher.update_on(&threads, &input));
    let mut digests = Vec::new();
    hasher.finalize_into(&mut digests);
    assert_eq!(digests, wanted);
}
