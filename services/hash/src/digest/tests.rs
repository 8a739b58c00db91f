use proptest::prelude::*;

use super::*;

mod independent;
mod lanes;
mod published;
mod speed;

/// Small, and no divisor of anything, so that inputs of some hundred bytes have several parts.
const PART_BYTES: u64 = 150;

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place * 31 % 251) as u8).collect()
}

fn recipe(algorithms: &[Algorithm]) -> Recipe {
    Recipe::new(algorithms, PART_BYTES).unwrap()
}

/// Lengths that matter to some algorithm: all small ones, and those around powers of two.
fn lengths() -> impl Iterator<Item = usize> {
    (0..=512).chain((10..=18).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 1]))
}

fn at_once(algorithms: &[Algorithm], input: &[u8]) -> Vec<u8> {
    let mut digests = Vec::new();
    digest_into(&recipe(algorithms), input, &mut digests);
    digests
}

fn in_pieces<'a>(algorithms: &[Algorithm], pieces: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut hasher = MultiHasher::new(&recipe(algorithms));
    pieces.for_each(|piece| hasher.update(piece));
    let mut digests = Vec::new();
    hasher.finalize_into(&mut digests);
    digests
}

#[test]
fn every_length_up_to_512_and_around_powers_of_two_is_the_same_at_once_and_in_odd_pieces() {
    for length in lengths() {
        // Misaligned too: the input begins one byte behind an allocation.
        let bytes = pattern(length + 1);
        let input = &bytes[1..];
        let whole = at_once(&Algorithm::ALL, input);
        assert_eq!(whole.len(), stride(&Algorithm::ALL));
        for piece in [1, 3, 63, 65, 127, 4_099] {
            if length / piece > 1_024 {
                continue;
            }
            assert_eq!(in_pieces(&Algorithm::ALL, input.chunks(piece)), whole, "{length} bytes by {piece}");
        }
    }
}

#[test]
fn several_digests_are_the_single_ones_in_the_order_asked_for() {
    let input = pattern(100_000);
    let reversed: Vec<_> = Algorithm::ALL.into_iter().rev().collect();
    let singles: Vec<u8> = reversed.iter().flat_map(|algorithm| at_once(&[*algorithm], &input)).collect();
    assert_eq!(at_once(&reversed, &input), singles);
    assert_eq!(in_pieces(&reversed, std::iter::once(input.as_slice())), singles);
}

#[test]
fn many_inputs_have_the_digests_of_each() {
    let inputs: Vec<Vec<u8>> = (0..300).map(pattern).collect();
    let singles: Vec<[Algorithm; 1]> = Algorithm::ALL.map(|algorithm| [algorithm]).to_vec();
    let several = [&[Algorithm::Md5, Algorithm::Sha512][..], &Algorithm::ALL, &[]];
    for algorithms in singles.iter().map(<[Algorithm; 1]>::as_slice).chain(several) {
        let singles: Vec<u8> = inputs.iter().flat_map(|input| at_once(algorithms, input)).collect();
        let mut many = Vec::new();
        digest_many(&recipe(algorithms), inputs.iter().map(Vec::as_slice), &mut many).unwrap();
        assert_eq!(many, singles);
    }
}

#[test]
fn many_inputs_cost_one_allocation() {
    let inputs = vec![[7_u8; 64]; 1_000];
    let mut digests = Vec::new();
    digest_many(&recipe(&[Algorithm::Sha256]), inputs.iter().map(<[u8; 64]>::as_slice), &mut digests).unwrap();
    assert_eq!((digests.len(), digests.capacity()), (32_000, 32_000), "reserved once, exactly");
}

#[test]
fn an_unspecified_algorithm_computes_nothing() {
    assert_eq!(at_once(&[Algorithm::Unspecified], b"x"), b"");
    assert_eq!(in_pieces(&[Algorithm::Unspecified], std::iter::once(b"x".as_slice())), b"");
}

proptest! {
    #[test]
    fn digests_do_not_depend_on_how_the_input_is_cut(
        input in proptest::collection::vec(any::<u8>(), 0..5_000),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
        algorithms in proptest::sample::subsequence(Algorithm::ALL.to_vec(), 1..=8).prop_shuffle(),
        part_bytes in 1..6_000_u64,
    ) {
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        places.extend([0, input.len()]);
        places.sort_unstable();
        let pieces = places.windows(2).map(|pair| &input[pair[0]..pair[1]]);
        let recipe = Recipe::new(algorithms, part_bytes).unwrap();
        let (mut whole, mut hasher, mut piecewise) = (Vec::new(), MultiHasher::new(&recipe), Vec::new());
        digest_into(&recipe, &input, &mut whole);
        pieces.for_each(|piece| hasher.update(piece));
        hasher.finalize_into(&mut piecewise);
        prop_assert_eq!(piecewise, whole);
    }
}
