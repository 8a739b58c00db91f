//! Digests that other code gives: written here by the definition, or another library's. (Python's hashlib judges the rest,
//! through a whole mesh: `tests/protocol/digests.rs`.)

use super::*;

/// A CRC bit by bit: reflected, begun with all bits set, inverted at the end, as all of ours are. `polynomial` as the
/// catalogue writes it, its highest power first.
fn crc(polynomial: u64, bits: u32, input: &[u8]) -> Vec<u8> {
    let reflected = polynomial.reverse_bits() >> (64 - bits);
    let ones = u64::MAX >> (64 - bits);
    let mut value = ones;
    for byte in input {
        value ^= u64::from(*byte);
        for _ in 0..8 {
            value = if value & 1 == 1 { value >> 1 ^ reflected } else { value >> 1 };
        }
    }
    (value ^ ones).to_be_bytes()[8 - bits as usize / 8..].to_vec()
}

/// The definition, read aloud: everything in memory, and a recursion.
fn sha256_tree(input: &[u8]) -> Vec<u8> {
    if input.len() <= 1_024 {
        return at_once(&[Algorithm::Sha256], input);
    }
    let left = input.len().div_ceil(2).next_power_of_two();
    let sides = [sha256_tree(&input[..left]), sha256_tree(&input[left..])].concat();
    block_function(&sides).to_vec()
}

/// SHA-256's block function (FIPS 180-4, 6.2.2) from the initial values of SHA256TREE, without the addition at its end.
fn block_function(block: &[u8]) -> [u8; 32] {
    let mut words: Vec<u32> =
        block.chunks_exact(4).map(|bytes| u32::from_be_bytes(bytes.try_into().unwrap())).collect();
    for place in 16..64 {
        let (far, near) = (words[place - 15], words[place - 2]);
        let sigma_0 = far.rotate_right(7) ^ far.rotate_right(18) ^ far >> 3;
        let sigma_1 = near.rotate_right(17) ^ near.rotate_right(19) ^ near >> 10;
        let sum = words[place - 16].wrapping_add(sigma_0).wrapping_add(words[place - 7]).wrapping_add(sigma_1);
        words.push(sum);
    }
    let primes: Vec<u64> = (2..).filter(|number| (2..*number).all(|other| number % other != 0)).take(64).collect();
    let mut state: Vec<u32> = primes[8..16].iter().map(|prime| root_fraction(*prime, 2)).collect();
    for (word, prime) in words.iter().zip(&primes) {
        let [a, b, c, _, e, f, g, h] = state[..] else { panic!("eight words") };
        let sum_1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let choice = e & f ^ !e & g;
        let first = [sum_1, choice, root_fraction(*prime, 3), *word].iter().fold(h, |sum, one| sum.wrapping_add(*one));
        let sum_0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let second = sum_0.wrapping_add(a & b ^ a & c ^ b & c);
        state.rotate_right(1);
        state[4] = state[4].wrapping_add(first);
        state[0] = first.wrapping_add(second);
    }
    let bytes: Vec<u8> = state.iter().flat_map(|word| word.to_be_bytes()).collect();
    bytes.try_into().unwrap()
}

/// The first 32 bits of the fractional part of the root of a prime: 2 is the square root, 3 the cube root.
fn root_fraction(prime: u64, degree: u32) -> u32 {
    // The largest number whose power is not above the prime, in units of 2^-32.
    let fits = |root: u128| {
        // Below 2^35 to the third is below 2^105.
        root.pow(degree) <= u128::from(prime) << (32 * degree)
    };
    let (mut low, mut high) = (0_u128, 1 << 36);
    while high - low > 1 {
        let middle = (low + high) / 2;
        if fits(middle) { low = middle } else { high = middle }
    }
    low as u32
}

#[test]
fn checksums_agree_with_other_implementations_at_every_length() {
    let bytes = pattern(lengths().max().unwrap() + 1);
    for length in lengths() {
        // Misaligned too.
        let input = &bytes[1..=length];
        for (algorithm, wanted) in [
            (Algorithm::Crc32, crc(0x04c1_1db7, 32, input)),
            (Algorithm::Crc32c, crc(0x1edc_6f41, 32, input)),
            (Algorithm::Crc64nvme, crc(0xad93_d235_94c9_3659, 64, input)),
            (Algorithm::Xxh364, xxhash_rust::xxh3::xxh3_64(input).to_be_bytes().to_vec()),
            (Algorithm::Xxh3128, xxhash_rust::xxh3::xxh3_128(input).to_be_bytes().to_vec()),
        ] {
            assert_eq!(at_once(&[algorithm], input), wanted, "{} of {length} bytes", algorithm.name());
        }
    }
}

#[test]
fn sha256tree_agrees_with_its_definition_at_every_shape() {
    let bytes = pattern(70 * 1_024 + 1);
    let lengths = (0..=70).flat_map(|leaves| [leaves * 1_024, leaves * 1_024 + 1, leaves * 1_024 + 1_023]);
    for length in lengths.filter(|length| *length < bytes.len()) {
        let input = &bytes[1..=length];
        assert_eq!(at_once(&[Algorithm::Sha256tree], input), sha256_tree(input), "{length} bytes");
    }
}

const COMPOSITES: [(Algorithm, Algorithm); 5] = [
    (Algorithm::Md5Composite, Algorithm::Md5),
    (Algorithm::Sha1Composite, Algorithm::Sha1),
    (Algorithm::Sha256Composite, Algorithm::Sha256),
    (Algorithm::Crc32Composite, Algorithm::Crc32),
    (Algorithm::Crc32cComposite, Algorithm::Crc32c),
];

/// Each part's digest, and the digest of these.
fn recomputed(of: Algorithm, part_bytes: usize, input: &[u8]) -> Vec<u8> {
    let empty: &[u8] = &[];
    let parts: Vec<&[u8]> = if input.is_empty() { vec![empty] } else { input.chunks(part_bytes).collect() };
    let digests: Vec<u8> = parts.iter().flat_map(|part| at_once(&[of], part)).collect();
    at_once(&[of], &digests)
}

#[test]
fn every_composite_algorithm_is_compared() {
    assert!(Algorithm::ALL.into_iter().filter(|one| one.composite()).eq(COMPOSITES.map(|(composite, _)| composite)));
}

proptest! {
    #[test]
    fn a_composite_digest_is_that_of_the_digests_of_the_parts(
        part_bytes in 1..200_usize,
        whole_parts in 0..6_usize,
        rest in 0..200_usize,
        piece in 1..300_usize,
    ) {
        // Whole parts only, in a third of the cases.
        let input = pattern(whole_parts * part_bytes + if rest < 66 { 0 } else { rest % part_bytes });
        for (composite, of) in COMPOSITES {
            let recipe = Recipe::new([of, composite], part_bytes as u64).unwrap();
            let wanted = [at_once(&[of], &input), recomputed(of, part_bytes, &input)].concat();
            let (mut whole, mut hasher, mut piecewise) = (Vec::new(), MultiHasher::new(&recipe), Vec::new());
            digest_into(&recipe, &input, &mut whole);
            input.chunks(piece).for_each(|piece| hasher.update(piece));
            hasher.finalize_into(&mut piecewise);
            prop_assert_eq!(&whole, &wanted);
            prop_assert_eq!(&piecewise, &wanted);
        }
    }

    #[test]
    fn sha256tree_does_not_depend_on_how_the_input_is_cut(
        length in 0..40_000_usize,
        pieces in proptest::collection::vec(1..5_000_usize, 1..20),
    ) {
        let input = pattern(length);
        let mut rest = &input[..];
        let mut hasher = MultiHasher::new(&recipe(&[Algorithm::Sha256tree]));
        for piece in pieces.iter().cycle() {
            let (taken, left) = rest.split_at((*piece).min(rest.len()));
            hasher.update(taken);
            rest = left;
            if rest.is_empty() {
                break;
            }
        }
        let mut piecewise = Vec::new();
        hasher.finalize_into(&mut piecewise);
        prop_assert_eq!(piecewise, sha256_tree(&input));
    }
}
