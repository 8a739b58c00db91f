//! The vectors of NIST's Cryptographic Algorithm Validation Program, in every lane of every kernel (SHAVS, §6.2 to §6.4).

use super::*;

/// A file's short or long messages and their digests.
fn messages(file: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    let (mut bits, mut message) = (0, Vec::new());
    for (name, value) in file.lines().filter_map(|line| line.split_once(" = ")) {
        match name {
            "Len" => bits = value.parse().unwrap(),
            "Msg" => {
                message = hex::decode(value).unwrap();
                // The file has a byte for the message without any.
                message.truncate(bits / 8);
            }
            "MD" => found.push((std::mem::take(&mut message), hex::decode(value).unwrap())),
            _ => {}
        }
    }
    found
}

fn judge_messages<W: Family>(plan: &Plan<W>, algorithm: Sha2<W>, file: &str) {
    let messages = messages(file);
    assert!(messages.len() > 7);
    // Seventeen times, each begun one further: every message is in every lane.
    for start in 0..17 {
        let in_turn = || messages.iter().cycle().skip(start).take(messages.len() + 17);
        let inputs: Vec<&[u8]> = in_turn().map(|(message, _)| message.as_slice()).collect();
        let wanted: Vec<Vec<u8>> = in_turn().map(|(_, digest)| digest.clone()).collect();
        assert_eq!(computed(plan, algorithm, &inputs), wanted, "{plan:?}");
    }
}

/// The digest at the end of a chain of a thousand, each over the three before it, again and again.
fn judge_monte_carlo<W: Family>(plan: &Plan<W>, algorithm: Sha2<W>, file: &str) {
    const LANES: usize = 16;
    let values: Vec<(&str, Vec<u8>)> = file
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .filter(|(name, _)| ["Seed", "MD"].contains(name))
        .map(|(name, value)| (name, hex::decode(value).unwrap()))
        .collect();
    let [("Seed", seed), digests @ ..] = values.as_slice() else { panic!("the seed comes first") };
    assert_eq!(digests.len(), 100);
    let mut seed = seed.clone();
    // Of the hundred, ten: ten thousand digests that all depend on the seed.
    for (_, wanted) in &digests[..10] {
        let mut message = seed.repeat(3);
        for _ in 0..1_000 {
            let all = computed(plan, algorithm, &[message.as_slice(); LANES]);
            assert!(all.iter().all(|digest| *digest == all[0]), "{plan:?}: lanes differ");
            message.drain(..algorithm.digest_bytes);
            message.extend_from_slice(&all[0]);
            seed.clone_from(&all[0]);
        }
        assert_eq!(seed, *wanted, "{plan:?}");
    }
}

macro_rules! file {
    ($algorithm:literal, $kind:literal) => {
        include_str!(concat!("cavp/", $algorithm, $kind, ".rsp"))
    };
}

/// One kind of file for every algorithm, with every kernel.
macro_rules! for_every_algorithm {
    ($judge:ident, $kind:literal) => {
        for plan in plans(&SHA256_KERNELS) {
            $judge(&plan, SHA224, file!("SHA224", $kind));
            $judge(&plan, SHA256, file!("SHA256", $kind));
        }
        for plan in plans(&SHA512_KERNELS) {
            $judge(&plan, SHA384, file!("SHA384", $kind));
            $judge(&plan, SHA512, file!("SHA512", $kind));
            $judge(&plan, SHA512_256, file!("SHA512_256", $kind));
        }
    };
}

#[test]
fn nists_short_messages_have_their_digests_in_every_lane() {
    for_every_algorithm!(judge_messages, "ShortMsg");
}

#[test]
fn nists_long_messages_have_their_digests_in_every_lane() {
    for_every_algorithm!(judge_messages, "LongMsg");
}

#[test]
fn nists_monte_carlo_chains_end_where_they_should_in_every_lane() {
    for_every_algorithm!(judge_monte_carlo, "Monte");
}
