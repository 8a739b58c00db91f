//! Digests that others have published.

use super::*;

fn hex_of(algorithm: Algorithm, input: &[u8]) -> String {
    hex::encode(at_once(&[algorithm], input))
}

/// What the catalogue of CRCs gives as `check`, and what `xxhsum` 0.8.1 and `b2sum` print.
#[test]
fn the_check_input_has_its_published_digests() {
    for (algorithm, wanted) in
        [(Algorithm::Crc32, "cbf43926"), (Algorithm::Crc32c, "e3069283"), (Algorithm::Crc64nvme, "ae8b14860a799888")]
    {
        assert_eq!(hex_of(algorithm, b"123456789"), wanted, "{}", algorithm.name());
    }
    for (algorithm, wanted) in [
        (Algorithm::Xxh364, "78af5f94892f3950"),
        (Algorithm::Xxh3128, "06b05ab6733a618578af5f94892f3950"),
        // RFC 7693, appendix A.
        (
            Algorithm::Blake2b512,
            "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1\
             7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923",
        ),
    ] {
        assert_eq!(hex_of(algorithm, b"abc"), wanted, "{}", algorithm.name());
    }
}

/// CRC-32C of RFC 3720, appendix B.4: zeroes, ones, ascending and descending bytes. There the least significant byte of the
/// value comes first.
#[test]
fn crc32c_gives_the_examples_of_iscsi() {
    let ascending: Vec<u8> = (0..32).collect();
    let descending: Vec<u8> = (0..32).rev().collect();
    for (input, wanted) in
        [(vec![0; 32], "8a9136aa"), (vec![0xff; 32], "62a8ab43"), (ascending, "46dd794e"), (descending, "113fdb5c")]
    {
        assert_eq!(hex_of(Algorithm::Crc32c, &input), wanted);
    }
}

/// NIST's example messages of 0 bits and of 896 bits.
#[test]
fn sha3_gives_the_examples_of_nist() {
    let long = b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu";
    for (algorithm, empty, of_long) in [
        (
            Algorithm::Sha3384,
            "0c63a75b845e4f7d01107d852e4c2485c51a50aaaa94fc61995e71bbee983a2ac3713831264adb47fb6bd1e058d5f004",
            "79407d3b5916b59c3e30b09822974791c313fb9ecc849e406f23592d04f625dc8c709b98b43b3852b337216179aa7fc7",
        ),
        (
            Algorithm::Sha3512,
            "a69f73cca23a9ac5c8b567dc185a756e97c982164fe25859e0d1dcc1475c80a6\
             15b2123af1f5f94c11e3e9402c3ac558f500199d95b6d3e301758586281dcd26",
            "afebb2ef542e6579c50cad06d2e578f9f8dd6881d7dc824d26360feebf18a4fa\
             73e3261122948efcfd492e74e82e2189ed0fb440d187f382270cb455f21dd185",
        ),
    ] {
        assert_eq!(hex_of(algorithm, b""), empty);
        assert_eq!(hex_of(algorithm, long), of_long);
    }
}

/// The vectors that are published with the definition, for the bytes 0, 1, … 250, again and again. Up to 1,024 bytes it is
/// SHA-256.
#[test]
fn sha256tree_gives_its_published_vectors() {
    let sequence = |length: usize| (0..length).map(|place| (place % 251) as u8).collect::<Vec<u8>>();
    let mut vectors = 0;
    for line in include_str!("sha256tree_test_vectors.txt").lines().filter(|line| !line.starts_with('#')) {
        let (length, wanted) = line.split_once(' ').unwrap();
        let input = sequence(length.parse().unwrap());
        assert_eq!(hex_of(Algorithm::Sha256tree, &input), wanted, "{length} bytes");
        for piece in [1, 777, 1_024, 4_097] {
            let pieces = in_pieces(&[Algorithm::Sha256tree], input.chunks(piece));
            assert_eq!(hex::encode(pieces), wanted, "{length} bytes by {piece}");
        }
        vectors += 1;
    }
    assert_eq!(vectors, 18);
    for length in 0..=1_024 {
        let input = sequence(length);
        assert_eq!(at_once(&[Algorithm::Sha256tree], &input), at_once(&[Algorithm::Sha256], &input));
    }
}
