//! The check of a kernel before it is used: known digests in every lane, and inputs of unequal lengths beside each other.

use super::{kernel::Family, messages::Digests, plan::Plan, standard::Sha2};

/// A digest that came out wrong.
#[derive(Debug, thiserror::Error)]
#[error("the {} of input {place}, of {bytes} bytes, is wrong", .family)]
pub(super) struct Wrong {
    family: &'static str,
    place: usize,
    bytes: usize,
}

/// The examples of FIPS 180-4 (NIST, csrc.nist.gov): one block, two blocks of either family, none.
const EXAMPLES: [&[u8]; 3] = [
    b"abc",
    b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
    b"",
];

/// Their digests.
pub(super) const EXAMPLES_SHA256: [&str; 3] = [
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
];

/// Their digests.
pub(super) const EXAMPLES_SHA512: [&str; 3] = [
    "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
     2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    "8e959b75dae313da8cf4f72814fc143f8f7779c6eb9f7fa17299aeadb6889018\
     501d289e4900f7e4331b99dec4b5433ac7d329eeb6dd26545e96e55b874be909",
    "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce\
     47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
];

/// More inputs than the widest kernel has lanes, several times over, and no multiple of it.
const INPUTS: usize = 53;

/// Computes digests in every lane of the plan's kernel, and compares them with known ones and with those of `sha2`. Some 0.1 ms.
///
/// # Errors
/// The first digest that is wrong.
pub(super) fn known_answers<W: Family>(plan: &Plan<W>) -> Result<(), Wrong> {
    let (algorithm, known) = W::examples();
    for (input, wanted) in EXAMPLES.into_iter().zip(known) {
        let wanted = hex::decode(wanted).unwrap_or_default();
        compare(plan, algorithm, &[input; INPUTS], |_| wanted.clone())?;
    }
    // 37 and 251 are prime: every lane gets every kind of rest, and begins at every alignment.
    let bytes: Vec<u8> = (0..2_048_u32).map(|place| (place * 31 % 251) as u8).collect();
    let inputs: [&[u8]; INPUTS] = std::array::from_fn(|number| &bytes[number..][..number * 37 % 1_033]);
    let plain = |input: &[u8]| {
        let mut digest = vec![0; algorithm.digest_bytes];
        (algorithm.plain)(input, &mut digest);
        digest
    };
    compare(plan, algorithm, &inputs, |number| plain(inputs[number]))?;
    // As many blocks in every lane, with padding that is the same in all and that is not.
    for blocks in 0..5 {
        for less in [0, 1, 7] {
            let length = |number: usize| (blocks * W::BLOCK_BYTES).saturating_sub(number * less % 8);
            let inputs: [&[u8]; INPUTS] = std::array::from_fn(|number| &bytes[number..][..length(number)]);
            compare(plan, algorithm, &inputs, |number| plain(inputs[number]))?;
        }
    }
    advance(plan, algorithm, &inputs)
}

fn compare<W: Family>(
    plan: &Plan<W>,
    algorithm: Sha2<W>,
    inputs: &[&[u8]],
    wanted: impl Fn(usize) -> Vec<u8>,
) -> Result<(), Wrong> {
    let stride = algorithm.digest_bytes;
    let mut out = vec![0; inputs.len() * stride];
    plan.digests(algorithm, inputs, &mut Digests { out: &mut out, at: 0, stride });
    for (place, digest) in out.chunks(stride).enumerate() {
        if digest != wanted(place) {
            return Err(Wrong { family: W::FAMILY, place, bytes: inputs[place].len() });
        }
    }
    Ok(())
}

/// The states of inputs under way, each advanced by the whole blocks of its piece.
fn advance<W: Family>(plan: &Plan<W>, algorithm: Sha2<W>, inputs: &[&[u8]]) -> Result<(), Wrong> {
    let whole = |input: &&[u8]| input.len() / W::BLOCK_BYTES * W::BLOCK_BYTES;
    let mut states = vec![algorithm.initial; inputs.len()];
    let mut pieces: Vec<_> =
        states.iter_mut().zip(inputs).map(|(state, input)| (state, &input[..whole(input)])).collect();
    plan.advance(&mut pieces);
    for (place, (state, input)) in states.into_iter().zip(inputs).enumerate() {
        let mut wanted = algorithm.initial;
        W::compress(&mut wanted, &input[..whole(input)]);
        if state != wanted {
            return Err(Wrong { family: W::FAMILY, place, bytes: input.len() });
        }
    }
    Ok(())
}
