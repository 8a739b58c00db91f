use hashmesh::{error::reason, limits::MAX_BATCH_BYTES};
use tokio_stream::iter;

use super::*;
use crate::PoolLimits;

fn service(max_streams: usize) -> Service {
    let pool = HashPool::new("test", 2, PoolLimits::new(2, 8 * 1024 * 1024)).unwrap();
    Service::new(pool, max_streams, HashStats::default())
}

fn piece(data: Vec<u8>) -> Result<ComputeDigestStreamRequest, Status> {
    Ok(ComputeDigestStreamRequest { data: data.into(), ..Default::default() })
}

async fn at_once(algorithms: &[Algorithm], data: &[u8]) -> ComputeDigestResponse {
    let algorithms = algorithms.iter().map(|algorithm| (*algorithm).into()).collect();
    let request = ComputeDigestRequest { data: data.to_vec().into(), algorithms, part_bytes: 0 };
    service(1).compute_digest(Request::new(request)).await.unwrap().into_inner()
}

#[tokio::test]
async fn the_default_is_sha256_in_lower_case() {
    let answer = at_once(&[], b"abc").await;
    let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned();
    assert_eq!(answer.digests, [Digest { algorithm: Algorithm::Sha256.into(), hex }]);
    assert_eq!(answer.hashed_bytes, 3);
}

#[tokio::test]
async fn a_stream_of_any_pieces_has_the_digests_of_the_whole() {
    let algorithms = [Algorithm::Sha1, Algorithm::Sha3256];
    for (piece_bytes, pieces) in [(0, 5), (1, 1_000), (GATHERED_BYTES, 3), (GATHERED_BYTES - 1, 4), (1_000_000, 5)] {
        let bytes: Vec<u8> = (0..piece_bytes * pieces).map(|place| (place % 253) as u8).collect();
        let mut frames: Vec<_> =
            (0..pieces).map(|at| piece(bytes[at * piece_bytes..(at + 1) * piece_bytes].to_vec())).collect();
        if let Ok(first) = &mut frames[0] {
            first.algorithms = algorithms.map(i32::from).to_vec();
        }
        let answer = service(1).digest_stream(iter(frames)).await.unwrap();
        let wanted = if bytes.len() <= MAX_BATCH_BYTES as usize {
            at_once(&algorithms, &bytes).await.digests
        } else {
            let mut digests = Vec::new();
            digest_into(&Recipe::new(algorithms, 0).unwrap(), &bytes, &mut digests);
            rows(&algorithms, &digests)
        };
        assert_eq!((answer.digests, answer.hashed_bytes), (wanted, bytes.len() as u64), "{pieces} × {piece_bytes}");
    }
}

#[tokio::test]
async fn bad_frames_are_refused_by_field() {
    let algorithms_late = ComputeDigestStreamRequest { algorithms: vec![2], ..Default::default() };
    let parts_late = ComputeDigestStreamRequest { part_bytes: 8 << 20, ..Default::default() };
    let parts_for_nothing = ComputeDigestStreamRequest { part_bytes: 8 << 20, ..Default::default() };
    for (frames, field) in [
        (vec![], "algorithms"),
        (vec![piece(Vec::new()), Ok(algorithms_late)], "algorithms"),
        (vec![piece(Vec::new()), Ok(parts_late)], "part_bytes"),
        (vec![Ok(parts_for_nothing)], "part_bytes"),
        (vec![piece(vec![0; MAX_BATCH_BYTES as usize + 1])], "data"),
        (vec![piece(Vec::new()), piece(vec![0; MAX_BATCH_BYTES as usize + 1])], "data"),
    ] {
        let status = service(1).digest_stream(iter(frames)).await.unwrap_err();
        assert_eq!(reason(&status), Some(Reason::InvalidArgument));
        assert!(status.message().starts_with(&format!("{field}: ")), "{status}");
    }
}

#[tokio::test]
async fn a_sender_that_fails_fails_its_stream() {
    let frames = [piece(vec![1]), Err(Status::cancelled("gone"))];
    assert_eq!(service(1).digest_stream(iter(frames)).await.unwrap_err().code(), tonic::Code::Cancelled);
}

#[tokio::test]
async fn one_stream_too_many_is_refused_and_its_place_is_free_again_when_one_ends() {
    let service = service(1);
    let (sender, pieces) = tokio::sync::mpsc::channel(1);
    let first = service.digest_stream(tokio_stream::wrappers::ReceiverStream::new(pieces));
    let second = async {
        let status = service.digest_stream(iter([piece(Vec::new())])).await.unwrap_err();
        assert_eq!(reason(&status), Some(Reason::Overloaded));
        sender.send(piece(Vec::new())).await.unwrap();
        drop(sender);
    };
    let (first, ()) = tokio::join!(first, second);
    first.unwrap();
    service.digest_stream(iter([piece(Vec::new())])).await.unwrap();
}

#[tokio::test]
async fn who_asks_for_the_same_while_it_is_hashed_is_answered_with_it_and_who_asks_for_less_is_not() {
    let service = service(1);
    let data = bytes::Bytes::from(vec![5; SMALL_BYTES]);
    let ask = |algorithms: &[Algorithm], data: &bytes::Bytes| {
        let algorithms = algorithms.iter().map(|algorithm| i32::from(*algorithm)).collect();
        service.compute_digest(Request::new(ComputeDigestRequest { data: data.clone(), algorithms, part_bytes: 0 }))
    };
    let (one, two) = ([Algorithm::Sha256], [Algorithm::Sha256, Algorithm::Sha1]);
    let shorter = data.slice(1..);
    // Nobody is done before all have asked: there is one thread here, and it asks.
    let asked = [
        ask(&one, &data),
        ask(&one, &data),
        ask(&two, &data),
        ask(&two, &data),
        ask(&one, &shorter),
        ask(&one, &shorter),
    ];
    let answers = futures::future::join_all(asked).await;
    let digests: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().into_inner().digests).collect();
    assert_eq!(digests[0], at_once(&one, &data).await.digests);
    assert_eq!(digests[2], at_once(&two, &data).await.digests);
    assert_eq!(digests[4], at_once(&one, &shorter).await.digests);
    assert!(digests.chunks(2).all(|pair| pair[0] == pair[1]));
    assert_eq!((service.stats.computed(), service.stats.joined()), (4, 2));
}
