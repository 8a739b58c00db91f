//! Digests, synchronous and by task, against somebody else's (promise 7).

use bytes::Bytes;
use hashmesh::{
    error::Reason,
    gateway::v1::{ComputeDigestRequest, ComputeDigestStreamRequest, GetCapabilitiesRequest, SubmitBatchRequest},
    v1::{Algorithm, Digest, SubmissionOptions},
};

use super::{submit, whole};
use crate::support::{
    oracle,
    raw::{assert_refused, packed},
    shared,
};

/// Algorithms that somebody else computes, by hashlib's names.
const JUDGED: [(Algorithm, &str); 8] = [
    (Algorithm::Sha224, "sha224"),
    (Algorithm::Sha256, "sha256"),
    (Algorithm::Sha384, "sha384"),
    (Algorithm::Sha512, "sha512"),
    (Algorithm::Sha512256, "sha512_256"),
    (Algorithm::Sha3256, "sha3_256"),
    (Algorithm::Md5, "md5"),
    (Algorithm::Sha1, "sha1"),
];

/// Around block and buffer sizes, and a few larger.
fn inputs() -> Vec<Vec<u8>> {
    let lengths = [0, 1, 55, 56, 63, 64, 65, 111, 112, 127, 128, 129, 135, 136, 137, 1023, 1024, 1025, 65_537, 300_000];
    lengths.iter().map(|length| (0..*length).map(|index| (index * 7 % 251) as u8).collect()).collect()
}

fn hex_of(digests: &[Digest], algorithm: Algorithm) -> &str {
    &digests.iter().find(|digest| digest.algorithm() == algorithm).expect("it was asked for").hex
}

#[tokio::test]
async fn promise_7_every_algorithm_agrees_with_another_implementation() {
    let mut gateway = shared::gateway().await;
    let inputs = inputs();
    let algorithms: Vec<i32> = JUDGED.iter().map(|(algorithm, _)| *algorithm as i32).collect();
    let options = SubmissionOptions { algorithms: algorithms.clone(), ..SubmissionOptions::default() };
    let request = SubmitBatchRequest { options: Some(options), wait: true, ..whole(packed(&inputs)) };
    let outcomes = submit(&mut gateway, request).await.expect("it is accepted").outcomes;
    assert_eq!(outcomes.len(), inputs.len());
    for (algorithm, hashlib_name) in JUDGED {
        let wanted = oracle::digests(hashlib_name, inputs.iter().map(Vec::as_slice));
        for outcome in &outcomes {
            let wanted = hex::encode(&wanted[outcome.task as usize]);
            assert_eq!(hex_of(&outcome.digests, algorithm), wanted, "{hashlib_name} of task {}", outcome.task);
        }
    }
    for (index, input) in inputs.iter().enumerate() {
        let request = ComputeDigestRequest { data: input.clone().into(), algorithms: algorithms.clone() };
        let computed = gateway.compute_digest(request).await.expect("it computes").into_inner();
        let task = outcomes.iter().find(|outcome| outcome.task as usize == index).expect("each has one");
        assert_eq!(computed.digests, task.digests);
        assert_eq!(computed.hashed_bytes, input.len() as u64);
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
        let request = ComputeDigestRequest { data: data.into(), algorithms: vec![Algorithm::Blake3 as i32] };
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
        data: Bytes::new(),
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
    let late = ComputeDigestStreamRequest { algorithms: sha256(), data: Bytes::new() };
    let frames = [ComputeDigestStreamRequest { data: "a".into(), ..Default::default() }, late];
    let status = gateway.compute_digest_stream(futures::stream::iter(frames)).await.expect_err("too late");
    assert_refused(&status, Reason::InvalidArgument);
    let unknown = ComputeDigestRequest { algorithms: vec![99], ..Default::default() };
    assert_refused(&gateway.compute_digest(unknown).await.expect_err("unknown"), Reason::InvalidArgument);
}

#[tokio::test]
async fn capabilities_name_algorithms_limits_and_sources() {
    let mut gateway = shared::gateway().await;
    let capabilities = gateway.get_capabilities(GetCapabilitiesRequest {}).await.expect("an answer").into_inner();
    assert_eq!(capabilities.limits, Some(hashmesh::limits::announced()));
    assert_eq!(capabilities.algorithms.len(), Algorithm::ALL.len());
    for info in &capabilities.algorithms {
        let broken = matches!(info.algorithm(), Algorithm::Md5 | Algorithm::Sha1);
        assert_eq!(info.collision_resistant, !broken, "{info:?}");
    }
    let root = format!("file://{}/", shared::source_root().display());
    assert!(capabilities.sources.iter().any(|source| source.uri_prefix == root), "{:?}", capabilities.sources);
    assert!(!capabilities.version.is_empty());
}
