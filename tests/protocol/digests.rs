//! Digests, synchronous and by task, against somebody else's (promise 7).

use bytes::Bytes;
use hashmesh::{
    error::Reason,
    gateway::v1::{ComputeDigestRequest, ComputeDigestStreamRequest, GetCapabilitiesRequest, SubmitBatchRequest},
    limits::{MAX_ALGORITHMS, MAX_PART_BYTES, MIN_PART_BYTES},
    v1::{Algorithm, Digest, SubmissionOptions},
};

use super::{limits::assert_bad_field, submit, whole};
use crate::support::{
    oracle,
    raw::{assert_refused, packed},
    shared,
};

/// Algorithms that somebody else computes, by the names that the oracle knows. Inputs below are shorter than a part.
const JUDGED: [(Algorithm, &str); 16] = [
    (Algorithm::Sha224, "sha224"),
    (Algorithm::Sha256, "sha256"),
    (Algorithm::Sha384, "sha384"),
    (Algorithm::Sha512, "sha512"),
    (Algorithm::Sha512256, "sha512_256"),
    (Algorithm::Sha3256, "sha3_256"),
    (Algorithm::Md5, "md5"),
    (Algorithm::Sha1, "sha1"),
    (Algorithm::Sha3384, "sha3_384"),
    (Algorithm::Sha3512, "sha3_512"),
    (Algorithm::Blake2b512, "blake2b"),
    (Algorithm::Crc32, "crc32"),
    (Algorithm::Md5Composite, "md5:5242880"),
    (Algorithm::Sha1Composite, "sha1:5242880"),
    (Algorithm::Sha256Composite, "sha256:5242880"),
    (Algorithm::Crc32Composite, "crc32:5242880"),
];

/// All small ones, those around block and buffer sizes, and a larger one.
fn inputs() -> Vec<Vec<u8>> {
    let around = (10..=16).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 1]);
    let lengths = (0..=512).chain(around).chain([300_000]);
    lengths.map(|length| (0..length).map(|index| (index * 7 % 251) as u8).collect()).collect()
}

fn hex_of(digests: &[Digest], algorithm: Algorithm) -> &str {
    &digests.iter().find(|digest| digest.algorithm() == algorithm).expect("it was asked for").hex
}

#[tokio::test]
async fn promise_7_every_algorithm_agrees_with_another_implementation() {
    let mut gateway = shared::gateway().await;
    let inputs = inputs();
    for judged in JUDGED.chunks(MAX_ALGORITHMS) {
        let composite = judged.iter().any(|(algorithm, _)| algorithm.composite());
        let part_bytes = if composite { MIN_PART_BYTES } else { 0 };
        let algorithms: Vec<i32> = judged.iter().map(|(algorithm, _)| *algorithm as i32).collect();
        let options = SubmissionOptions { algorithms: algorithms.clone(), part_bytes, ..SubmissionOptions::default() };
        let request = SubmitBatchRequest { options: Some(options), wait: true, ..whole(packed(&inputs)) };
        let outcomes = submit(&mut gateway, request).await.expect("it is accepted").outcomes;
        assert_eq!(outcomes.len(), inputs.len());
        for (algorithm, name) in judged {
            let wanted = oracle::digests(name, inputs.iter().map(Vec::as_slice));
            for outcome in &outcomes {
                let wanted = hex::encode(&wanted[outcome.task as usize]);
                assert_eq!(hex_of(&outcome.digests, *algorithm), wanted, "{name} of task {}", outcome.task);
            }
        }
        for outcome in outcomes.iter().filter(|outcome| outcome.task % 16 == 0) {
            let input = &inputs[outcome.task as usize];
            let request =
                ComputeDigestRequest { data: input.clone().into(), algorithms: algorithms.clone(), part_bytes };
            let computed = gateway.compute_digest(request).await.expect("it computes").into_inner();
            assert_eq!(computed.digests, outcome.digests);
            assert_eq!(computed.hashed_bytes, input.len() as u64);
        }
    }
}

/// The catalogue's check input, for what Python does not know; XXH3 as `xxhsum` prints it.
#[tokio::test]
async fn promise_7_checksums_give_their_published_values() {
    let mut gateway = shared::gateway().await;
    for (algorithm, input, wanted) in [
        (Algorithm::Crc32, "123456789", "cbf43926"),
        (Algorithm::Crc32c, "123456789", "e3069283"),
        (Algorithm::Crc64nvme, "123456789", "ae8b14860a799888"),
        (Algorithm::Xxh364, "abc", "78af5f94892f3950"),
        (Algorithm::Xxh3128, "abc", "06b05ab6733a618578af5f94892f3950"),
    ] {
        let request =
            ComputeDigestRequest { data: input.into(), algorithms: vec![algorithm.into()], ..Default::default() };
        let computed = gateway.compute_digest(request).await.expect("it computes").into_inner();
        assert_eq!(hex_of(&computed.digests, algorithm), wanted);
    }
}

/// The input of its published vectors: bytes 0, 1, … 250, again and again.
#[tokio::test]
async fn promise_7_sha256tree_gives_published_vectors() {
    let mut gateway = shared::gateway().await;
    for (length, wanted) in [
        (1_025, "36c0998b21839ef74300b9de47d96d1f62323dc81f2b4231e98ce70cd6ffe750"),
        (102_400, "0668d69e5331840d2f1823d717b7b3f5d1fdc8a09504cddb692b87ff83d50e5f"),
    ] {
        let data: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
        let algorithms = vec![Algorithm::Sha256tree.into()];
        let request = ComputeDigestRequest { data: data.into(), algorithms, ..Default::default() };
        let computed = gateway.compute_digest(request).await.expect("it computes").into_inner();
        assert_eq!(hex_of(&computed.digests, Algorithm::Sha256tree), wanted, "{length} bytes");
    }
}

/// Over parts of 5 MiB: two whole ones, with and without a rest; CRC-32C is compared in `services/hash`.
#[tokio::test]
async fn promise_7_composite_digests_are_those_of_the_parts() {
    let mut gateway = shared::gateway().await;
    let composites = [
        (Algorithm::Md5Composite, "md5:5242880"),
        (Algorithm::Sha1Composite, "sha1:5242880"),
        (Algorithm::Sha256Composite, "sha256:5242880"),
        (Algorithm::Crc32Composite, "crc32:5242880"),
    ];
    for length in [2 * MIN_PART_BYTES, 2 * MIN_PART_BYTES + 1_000_001] {
        let input: Vec<u8> = (0..length).map(|index| (index % 253) as u8).collect();
        let first = ComputeDigestStreamRequest {
            algorithms: composites.map(|(algorithm, _)| algorithm.into()).to_vec(),
            part_bytes: MIN_PART_BYTES,
            ..Default::default()
        };
        let mut frames = vec![first];
        frames.extend(
            input
                .chunks(1_000_003)
                .map(|data| ComputeDigestStreamRequest { data: Bytes::copy_from_slice(data), ..Default::default() }),
        );
        let answer = gateway.compute_digest_stream(futures::stream::iter(frames)).await.expect("it computes");
        let digests = answer.into_inner().digests;
        for (algorithm, name) in composites {
            let wanted = oracle::digests(name, [input.as_slice()].into_iter());
            assert_eq!(hex_of(&digests, algorithm), hex::encode(&wanted[0]), "{name} of {length} bytes");
        }
    }
}

/// The official test vectors' input: bytes 0, 1, … 250, again and again.
#[tokio::test]
async fn promise_7_blake3_gives_its_official_vectors() {
    let mut gateway = shared::gateway().await;
    for (length, wanted) in [
        (0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
        (1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"),
        (1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"),
        (1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"),
    ] {
        let data: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
        let request = ComputeDigestRequest {
            data: data.into(),
            algorithms: vec![Algorithm::Blake3 as i32],
            ..Default::default()
        };
        let computed = gateway.compute_digest(request).await.expect("it computes").into_inner();
        assert_eq!(hex_of(&computed.digests, Algorithm::Blake3), wanted, "{length} bytes");
    }
}

#[tokio::test]
async fn an_input_of_any_length_may_be_streamed_in_pieces_of_any_size() {
    let mut gateway = shared::gateway().await;
    // More than any one frame may have.
    let input: Vec<u8> = (0..9_000_001_u32).map(|index| (index % 253) as u8).collect();
    let frame = |data: &[u8]| ComputeDigestStreamRequest { data: Bytes::copy_from_slice(data), ..Default::default() };
    let first = ComputeDigestStreamRequest {
        algorithms: vec![Algorithm::Sha256 as i32, Algorithm::Md5 as i32],
        ..Default::default()
    };
    let mut frames = vec![first];
    frames.push(frame(&input[..1]));
    frames.push(frame(&[]));
    frames.extend(input[1..].chunks(1_000_003).map(frame));
    let answer = gateway.compute_digest_stream(futures::stream::iter(frames)).await.expect("it computes").into_inner();
    assert_eq!(answer.hashed_bytes, input.len() as u64);
    assert_eq!(hex_of(&answer.digests, Algorithm::Sha256), oracle::sha256_hex(&input));

    let empty = gateway.compute_digest_stream(futures::stream::iter([ComputeDigestStreamRequest::default()])).await;
    assert_eq!(hex_of(&empty.expect("it computes").into_inner().digests, Algorithm::Sha256), oracle::sha256_hex(b""));
}

#[tokio::test]
async fn algorithms_behind_the_first_piece_are_refused() {
    let mut gateway = shared::gateway().await;
    let sha256 = || vec![Algorithm::Sha256 as i32];
    let late = ComputeDigestStreamRequest { algorithms: sha256(), ..Default::default() };
    let frames = [ComputeDigestStreamRequest { data: "a".into(), ..Default::default() }, late];
    let status = gateway.compute_digest_stream(futures::stream::iter(frames)).await.expect_err("too late");
    assert_refused(&status, Reason::InvalidArgument);
    let late = ComputeDigestStreamRequest { part_bytes: MIN_PART_BYTES, ..Default::default() };
    let frames = [ComputeDigestStreamRequest { data: "a".into(), ..Default::default() }, late];
    let status = gateway.compute_digest_stream(futures::stream::iter(frames)).await.expect_err("too late");
    assert_refused(&status, Reason::InvalidArgument);
    let unknown = ComputeDigestRequest { algorithms: vec![99], ..Default::default() };
    assert_refused(&gateway.compute_digest(unknown).await.expect_err("unknown"), Reason::InvalidArgument);
}

#[tokio::test]
async fn a_part_size_is_held_to_its_limits_and_to_composite_algorithms() {
    let mut gateway = shared::gateway().await;
    for (algorithm, part_bytes, fits) in [
        (Algorithm::Md5Composite, MIN_PART_BYTES, true),
        (Algorithm::Md5Composite, MAX_PART_BYTES, true),
        (Algorithm::Md5Composite, MIN_PART_BYTES - 1, false),
        (Algorithm::Md5Composite, MAX_PART_BYTES + 1, false),
        (Algorithm::Md5Composite, 0, false),
        (Algorithm::Md5, MIN_PART_BYTES, false),
        (Algorithm::Md5, 0, true),
    ] {
        let algorithms = vec![algorithm.into()];
        let request = ComputeDigestRequest { data: "a".into(), algorithms: algorithms.clone(), part_bytes };
        let computed = gateway.compute_digest(request).await;
        let options = SubmissionOptions { algorithms, part_bytes, ..SubmissionOptions::default() };
        let request = SubmitBatchRequest { options: Some(options.clone()), wait: true, ..whole(packed(["a"])) };
        let submitted = submit(&mut gateway, request).await;
        if fits {
            let answer = submitted.expect("it is accepted");
            assert_eq!(answer.outcomes[0].digests, computed.expect("it computes").into_inner().digests);
            let stored = answer.submission.and_then(|submission| submission.options).expect("the answer has them");
            assert_eq!(stored.part_bytes, part_bytes);
        } else {
            assert_bad_field(computed, "part_bytes");
            assert_bad_field(submitted, "options.part_bytes");
        }
    }
}

#[tokio::test]
async fn capabilities_name_algorithms_limits_and_sources() {
    let mut gateway = shared::gateway().await;
    let capabilities = gateway.get_capabilities(GetCapabilitiesRequest {}).await.expect("an answer").into_inner();
    assert_eq!(capabilities.limits, Some(hashmesh::limits::announced()));
    assert_eq!(capabilities.algorithms.len(), Algorithm::ALL.len());
    for info in &capabilities.algorithms {
        let named = info.name.as_str();
        let resistant = named.starts_with("sha2") || named.starts_with("sha3") || named.starts_with("sha5");
        let resistant = resistant || named.starts_with("blake");
        assert_eq!(info.collision_resistant, resistant, "{info:?}");
        assert_eq!(info.composite, named.ends_with("-composite"), "{info:?}");
    }
    let root = format!("file://{}/", shared::source_root().display());
    assert!(capabilities.sources.iter().any(|source| source.uri_prefix == root), "{:?}", capabilities.sources);
    assert!(!capabilities.version.is_empty());
}
