//! The check at start: known inputs must give their known digests.
//!
//! sha2 0.9.7 once had a vector backend that gave wrong digests on some CPUs only. A wrong digest is worse than none, so
//! a process that computes one does not serve.

use hashmesh::v1::Algorithm;

use crate::{MultiHasher, digest_into};

/// A digest of a known input that came out wrong.
#[derive(Debug, thiserror::Error)]
#[error("the {} of {input:?} came out wrong on {}", .algorithm.name(), crate::kernel())]
pub struct WrongDigest {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Which known input.
    pub input: &'static str,
}

/// A known digest: FIPS 180-4 and FIPS 202 examples (NIST), RFC 1321, the reference implementation of BLAKE3.
struct Known {
    algorithm: Algorithm,
    empty: &'static str,
    abc: &'static str,
    million_a: &'static str,
}

const KNOWN: [Known; 9] = [
    Known {
        algorithm: Algorithm::Sha224,
        empty: "d14a028c2a3a2bc9476102bb288234c415a2b01f828ea62ac5b3e42f",
        abc: "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7",
        million_a: "20794655980c91d8bbb4c1ea97618a4bf03f42581948b2ee4ee7ad67",
    },
    Known {
        algorithm: Algorithm::Sha256,
        empty: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        abc: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        million_a: "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
    },
    Known {
        algorithm: Algorithm::Sha384,
        empty: "38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b95b",
        abc: "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
        million_a: "9d0e1809716474cb086e834e310a4a1ced149e9c00f248527972cec5704c2a5b07b8b3dc38ecc4ebae97ddd87f3d8985",
    },
    Known {
        algorithm: Algorithm::Sha512,
        empty: "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce\
                47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
        abc: "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
              2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        million_a: "e718483d0ce769644e2e42c7bc15b4638e1f98b13b2044285632a803afa973eb\
                    de0ff244877ea60a4cb0432ce577c31beb009c5c2c49aa2e4eadb217ad8cc09b",
    },
    Known {
        algorithm: Algorithm::Sha512256,
        empty: "c672b8d1ef56ed28ab87c3622c5114069bdd3ad7b8f9737498d0c01ecef0967a",
        abc: "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23",
        million_a: "9a59a052930187a97038cae692f30708aa6491923ef5194394dc68d56c74fb21",
    },
    Known {
        algorithm: Algorithm::Sha3256,
        empty: "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a",
        abc: "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532",
        million_a: "5c8875ae474a3634ba4fd55ec85bffd661f32aca75c6d699d0cdcb6c115891c1",
    },
    Known {
        algorithm: Algorithm::Blake3,
        empty: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
        abc: "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
        million_a: "616f575a1b58d4c9797d4217b9730ae5e6eb319d76edef6549b46f4efe31ff8b",
    },
    Known {
        algorithm: Algorithm::Md5,
        empty: "d41d8cd98f00b204e9800998ecf8427e",
        abc: "900150983cd24fb0d6963f7d28e17f72",
        million_a: "7707d6ae4e027c70eea2a935c2296f21",
    },
    Known {
        algorithm: Algorithm::Sha1,
        empty: "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        abc: "a9993e364706816aba3e25717850c26c9cd0d89d",
        million_a: "34aa973cd4c4daa4f61eeb2bdbad27316534016f",
    },
];

/// Computes known digests, at once and in pieces. Takes some 10 ms: call it at start, not per request.
///
/// # Errors
/// The first digest that is wrong.
pub fn self_test() -> Result<(), WrongDigest> {
    let million_a = vec![b'a'; 1_000_000];
    for known in &KNOWN {
        let algorithm = known.algorithm;
        let inputs: [(&'static str, &[u8], &str); 3] =
            [("", b"", known.empty), ("abc", b"abc", known.abc), ("a million times a", &million_a, known.million_a)];
        for (input, bytes, wanted) in inputs {
            if at_once(algorithm, bytes) != wanted || in_pieces(algorithm, bytes) != wanted {
                return Err(WrongDigest { algorithm, input });
            }
        }
    }
    Ok(())
}

fn at_once(algorithm: Algorithm, input: &[u8]) -> String {
    let mut digest = Vec::new();
    digest_into(&[algorithm], input, &mut digest);
    hex::encode(digest)
}

/// 997 is prime: the pieces begin and end at every place of a block.
fn in_pieces(algorithm: Algorithm, input: &[u8]) -> String {
    let mut hasher = MultiHasher::new(&[algorithm]);
    input.chunks(997).for_each(|piece| hasher.update(piece));
    let mut digest = Vec::new();
    hasher.finalize_into(&mut digest);
    hex::encode(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_gives_the_known_digests() {
        assert_eq!(KNOWN.each_ref().map(|known| known.algorithm), Algorithm::ALL);
        self_test().unwrap();
    }
}
