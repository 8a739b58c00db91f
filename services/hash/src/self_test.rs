//! The check at start: known inputs must give their known digests.
//!
//! sha2 0.9.7 once had a vector backend that gave wrong digests on some CPUs only. A wrong digest is worse than none, so
//! a process that computes one does not serve.

use hashmesh::v1::Algorithm;

use crate::{MultiHasher, Recipe, digest_into, digest_many, kernel_of};

/// A digest of a known input that came out wrong.
#[derive(Debug, thiserror::Error)]
#[error("the {} of {input:?} came out wrong on {}", .algorithm.name(), kernel_of(&[*.algorithm]))]
pub struct WrongDigest {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Which known input.
    pub input: &'static str,
}

/// A known digest: FIPS 180-4 and FIPS 202 examples (NIST), RFC 1321, RFC 7693, the reference implementations of BLAKE3 and
/// XXH3; for the rest, what a program that follows the definitions word by word in Python gave (it also gives the catalogue's
/// check values and SHA256TREE's published vectors).
struct Known {
    algorithm: Algorithm,
    empty: &'static str,
    abc: &'static str,
    million_a: &'static str,
}

const KNOWN: [Known; 23] = [
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
    Known {
        algorithm: Algorithm::Sha3384,
        empty: "0c63a75b845e4f7d01107d852e4c2485c51a50aaaa94fc61995e71bbee983a2ac3713831264adb47fb6bd1e058d5f004",
        abc: "ec01498288516fc926459f58e2c6ad8df9b473cb0fc08c2596da7cf0e49be4b298d88cea927ac7f539f1edf228376d25",
        million_a: "eee9e24d78c1855337983451df97c8ad9eedf256c6334f8e948d252d5e0e76847aa0774ddb90a842190d2c558b4b8340",
    },
    Known {
        algorithm: Algorithm::Sha3512,
        empty: "a69f73cca23a9ac5c8b567dc185a756e97c982164fe25859e0d1dcc1475c80a6\
                15b2123af1f5f94c11e3e9402c3ac558f500199d95b6d3e301758586281dcd26",
        abc: "b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e\
                10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0",
        million_a: "3c3a876da14034ab60627c077bb98f7e120a2a5370212dffb3385a18d4f38859\
                ed311d0a9d5141ce9cc5c66ee689b266a8aa18ace8282a0e0db596c90b0a7b87",
    },
    Known {
        algorithm: Algorithm::Blake2b512,
        empty: "786a02f742015903c6c6fd852552d272912f4740e15847618a86e217f71f5419\
                d25e1031afee585313896444934eb04b903a685b1448b755d56f701afe9be2ce",
        abc: "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1\
                7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923",
        million_a: "98fb3efb7206fd19ebf69b6f312cf7b64e3b94dbe1a17107913975a793f177e1\
                d077609d7fba363cbba00d05f7aa4e4fa8715d6428104c0a75643b0ff3fd3eaf",
    },
    Known {
        algorithm: Algorithm::Sha256tree,
        empty: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        abc: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        million_a: "48b1e4815184e90bb69cf55d348d41a1faed91e9cc33f09401dcbe558e15fdf0",
    },
    Known { algorithm: Algorithm::Crc32, empty: "00000000", abc: "352441c2", million_a: "dc25bfbc" },
    Known { algorithm: Algorithm::Crc32c, empty: "00000000", abc: "364b3fb7", million_a: "436fe240" },
    Known {
        algorithm: Algorithm::Crc64nvme,
        empty: "0000000000000000",
        abc: "05e5cabb3fc1faeb",
        million_a: "38b0ef50419e0b4c",
    },
    Known {
        algorithm: Algorithm::Xxh364,
        empty: "2d06800538d394c2",
        abc: "78af5f94892f3950",
        million_a: "b1fd6fae5285c4eb",
    },
    Known {
        algorithm: Algorithm::Xxh3128,
        empty: "99aa06d3014798d86001c324468d497f",
        abc: "06b05ab6733a618578af5f94892f3950",
        million_a: "a545df8e384a9579b1fd6fae5285c4eb",
    },
    Known {
        algorithm: Algorithm::Md5Composite,
        empty: "59adb24ef3cdbe0297f05b395827453f",
        abc: "af5da9f45af7a300e3aded972f8ff687",
        million_a: "a8fd7a20521e4156a1e1422dae39119c",
    },
    Known {
        algorithm: Algorithm::Sha1Composite,
        empty: "be1bdec0aa74b4dcb079943e70528096cca985f8",
        abc: "0d3ced9bec10a777aec23ccc353a8c08a633045e",
        million_a: "5c242e93873a56a8178e0cdca47b98f6a62c345d",
    },
    Known {
        algorithm: Algorithm::Sha256Composite,
        empty: "5df6e0e2761359d30a8275058e299fcc0381534545f55cf43e41983f5d4c9456",
        abc: "4f8b42c22dd3729b519ba6f68d2da7cc5b2d606d05daed5ad5128cc03e6c6358",
        million_a: "385df5cdd1ce5583b2e43831194bbfeac119cfe963716839118c122986ea4fec",
    },
    Known { algorithm: Algorithm::Crc32Composite, empty: "2144df1c", abc: "45fde46b", million_a: "13331714" },
    Known { algorithm: Algorithm::Crc32cComposite, empty: "48674bc7", abc: "66918c30", million_a: "2cdbccdf" },
];

/// The parts of the known composite digests: four of a million bytes.
const PART_BYTES: u64 = 256 * 1024;

/// Computes known digests: at once, in pieces, and of several inputs side by side. The kernels for the last are chosen by this
/// call, if it is the first: one that is wrong is left out, with an error in the log. Takes some 50 ms: call it at start, not per
/// request.
///
/// # Errors
/// The first digest that is wrong.
pub fn self_test() -> Result<(), WrongDigest> {
    let million_a = vec![b'a'; 1_000_000];
    for known in &KNOWN {
        let algorithm = known.algorithm;
        let recipe = Recipe::new([algorithm], PART_BYTES).map_err(|_| WrongDigest { algorithm, input: "" })?;
        let inputs: [(&'static str, &[u8], &str); 3] =
            [("", b"", known.empty), ("abc", b"abc", known.abc), ("a million times a", &million_a, known.million_a)];
        for (input, bytes, wanted) in inputs {
            let right = at_once(&recipe, bytes) == wanted && in_pieces(&recipe, bytes) == wanted;
            if !right || side_by_side(&recipe, bytes) != [wanted; 3].concat() {
                return Err(WrongDigest { algorithm, input });
            }
        }
    }
    Ok(())
}

fn at_once(recipe: &Recipe, input: &[u8]) -> String {
    let mut digest = Vec::new();
    digest_into(recipe, input, &mut digest);
    hex::encode(digest)
}

/// Three: one more than the fewest lanes.
fn side_by_side(recipe: &Recipe, input: &[u8]) -> String {
    let mut digests = Vec::new();
    // A digest that cannot be trusted is wrong, whatever it is.
    match digest_many(recipe, [input; 3].into_iter(), &mut digests) {
        Ok(()) => hex::encode(digests),
        Err(untrusted) => untrusted.to_string(),
    }
}

/// 997 is prime: the pieces begin and end at every place of a block.
fn in_pieces(recipe: &Recipe, input: &[u8]) -> String {
    let mut hasher = MultiHasher::new(recipe);
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
