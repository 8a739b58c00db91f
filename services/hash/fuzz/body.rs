//! What the fuzz target does with its bytes; the hash crate's tests call it too.

use hashmesh::v1::Algorithm;
use hashmesh_hash::{MultiHasher, Recipe, digest_into, digest_many};

const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::Sha224,
    Algorithm::Sha256,
    Algorithm::Sha384,
    Algorithm::Sha512,
    Algorithm::Sha512256,
    Algorithm::Sha256tree,
];

/// Cuts `data` into inputs, whose lengths it says itself, and computes their digests in four ways.
pub(crate) fn many_inputs_have_the_digests_of_each(data: &[u8]) {
    let inputs = inputs(data);
    // The first byte says which algorithms; none is all.
    let chosen = data.first().copied().unwrap_or_default();
    let mut algorithms: Vec<_> = (0..6).filter(|bit| chosen >> bit & 1 == 1).map(|bit| ALGORITHMS[bit]).collect();
    if algorithms.is_empty() {
        algorithms = ALGORITHMS.to_vec();
    }
    let Ok(recipe) = Recipe::new(algorithms, 0) else { return };
    let (mut one_by_one, mut together) = (Vec::new(), Vec::new());
    for input in &inputs {
        digest_into(&recipe, input, &mut one_by_one);
    }
    let trusted = digest_many(&recipe, inputs.iter().copied(), &mut together);
    assert!(trusted.is_ok() && together == one_by_one, "many at once differ");

    let mut hashers: Vec<_> = inputs.iter().map(|_| MultiHasher::new(&recipe)).collect();
    // In two pieces each, the first as long as the input before says.
    let cut = |number: usize| inputs[number.saturating_sub(1)].len().min(inputs[number].len());
    for half in 0..2 {
        let piece =
            |number: usize| if half == 0 { &inputs[number][..cut(number)] } else { &inputs[number][cut(number)..] };
        let mut work: Vec<_> = hashers.iter_mut().enumerate().map(|(number, hasher)| (hasher, piece(number))).collect();
        MultiHasher::update_each(&mut work);
    }
    let mut advanced = Vec::new();
    for hasher in hashers {
        hasher.finalize_into(&mut advanced);
    }
    assert!(advanced == one_by_one, "inputs that are advanced together differ");
}

/// Each input begins with two bytes that say its length.
fn inputs(mut data: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk::<2>() {
        let (input, behind) = rest.split_at(rest.len().min(usize::from(u16::from_le_bytes(*length)) % 5_000));
        found.push(input);
        data = behind;
    }
    found
}
