//! Calls for the same digests at the same time are one computation, and nobody gets another's.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use hashmesh::{
    error::{Reason, reason},
    gateway::v1::{ComputeDigestRequest, ComputeDigestResponse, GetStatsRequest},
    v1::{Algorithm, Scope},
};
use tonic::{Code, Request, Status};

use crate::support::{
    Gateway, Guarded, Mesh, MeshOptions,
    mesh::get_page,
    oracle,
    wait::{PATIENCE, until},
};

/// What the Gateway has not passed on, what Hash has computed, and what it has not because it was at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    coalesced: u64,
    computed: u64,
    joined: u64,
}

async fn counts(mesh: &Mesh, gateway: &Gateway) -> Counts {
    let (_, page) = get_page(&mesh.hash.admin, "/hash/stats").await.expect("a page");
    let number = |name: &str| page[name].as_u64().unwrap_or_else(|| panic!("{name}: {page}"));
    Counts { coalesced: coalesced(gateway).await, computed: number("computed"), joined: number("joined") }
}

async fn coalesced(gateway: &Gateway) -> u64 {
    gateway.clone().get_stats(GetStatsRequest {}).await.expect("an answer").into_inner().coalesced_digests
}

async fn ask(gateway: &Gateway, data: &Bytes, within: Duration) -> Result<ComputeDigestResponse, Status> {
    let mut request = Request::new(request(data));
    request.set_timeout(within);
    gateway.clone().compute_digest(request).await.map(tonic::Response::into_inner)
}

fn request(data: &Bytes) -> ComputeDigestRequest {
    let algorithms = [Algorithm::Sha256, Algorithm::Sha3256, Algorithm::Sha1].map(i32::from).to_vec();
    ComputeDigestRequest { data: data.clone(), algorithms, part_bytes: 0 }
}

/// Within which every call of these tests is answered.
const LONG: Duration = Duration::from_secs(50);

async fn right(gateway: &Gateway, data: &Bytes, sha256: &str) {
    let answer = ask(gateway, data, LONG).await.expect("digests");
    assert_eq!((answer.digests.len(), answer.hashed_bytes), (3, data.len() as u64));
    assert_eq!(answer.digests[0].hex, sha256);
}

fn sha256(data: &[u8]) -> String {
    hex::encode(&oracle::digests("sha256", std::iter::once(data))[0])
}

#[tokio::test]
async fn a_thousand_concurrent_calls_for_the_same_input_are_one_computation() {
    let mesh = Mesh::start("one-computation", MeshOptions { workers: 0, ..MeshOptions::default() }).await;
    let gateway = Gateway::connect(&mesh.gateway.url()).await;
    for bytes in [0, 100, 64 * 1024] {
        let data = Bytes::from(vec![7; bytes]);
        let (sha256, before) = (sha256(&data), counts(&mesh, &gateway).await);
        // So that the first is not answered before the last has asked.
        mesh.hash.process.freeze();
        let all = futures::future::join_all((0..1_000).map(|_| right(&gateway, &data, &sha256)));
        tokio::join!(all, async {
            until("all to have asked", PATIENCE, async || {
                (coalesced(&gateway).await == before.coalesced + 999).then_some(())
            })
            .await;
            mesh.hash.process.thaw();
        });
        let expected = Counts { coalesced: before.coalesced + 999, computed: before.computed + 1, ..before };
        assert_eq!(counts(&mesh, &gateway).await, expected);
    }
}

#[tokio::test]
async fn of_a_thousand_calls_for_a_long_input_each_is_computed_or_has_joined_another() {
    let mesh = Mesh::start("long-computation", MeshOptions { workers: 0, ..MeshOptions::default() }).await;
    let gateway = Gateway::connect(&mesh.gateway.url()).await;
    let data = Bytes::from(vec![7; 3 * 1024 * 1024 + 1]);
    let (sha256, before) = (sha256(&data), counts(&mesh, &gateway).await);
    let callers = (0..40).map(async |_| {
        for _ in 0..25 {
            right(&gateway, &data, &sha256).await;
        }
    });
    futures::future::join_all(callers).await;
    let after = counts(&mesh, &gateway).await;
    let (computed, coalesced) = (after.computed - before.computed, after.coalesced - before.coalesced);
    assert_eq!(computed + coalesced + (after.joined - before.joined), 1_000);
    assert!(coalesced > 500, "{before:?} {after:?}");
}

#[tokio::test]
async fn inputs_that_differ_by_a_byte_are_never_mixed_up() {
    let mesh = Mesh::start("not-mixed-up", MeshOptions { workers: 0, ..MeshOptions::default() }).await;
    let gateway = Gateway::connect(&mesh.gateway.url()).await;
    let input = |number: usize| {
        let mut data = vec![7; 100_000];
        // Where no sample is that a hash could be made of.
        data[50_001 + 7 * number] = 8;
        (sha256(&data), Bytes::from(data))
    };
    let inputs: Vec<(String, Bytes)> = (0..7).map(input).collect();
    assert_eq!(inputs.iter().map(|(sha256, _)| sha256).collect::<BTreeSet<_>>().len(), inputs.len());
    let before = coalesced(&gateway).await;
    let callers = (0..56).map(async |caller: usize| {
        for number in 0..20 {
            let (sha256, data) = &inputs[(caller + number) % inputs.len()];
            right(&gateway, data, sha256).await;
        }
    });
    futures::future::join_all(callers).await;
    assert!(coalesced(&gateway).await > before);
}

#[tokio::test]
async fn who_has_more_time_than_the_first_is_answered_although_the_first_is_not() {
    let mesh = Mesh::start("more-time", MeshOptions { workers: 0, ..MeshOptions::default() }).await;
    let gateway = Gateway::connect(&mesh.gateway.url()).await;
    let data = Bytes::from(vec![7; 10_000]);
    let (sha256, before) = (sha256(&data), counts(&mesh, &gateway).await);
    mesh.hash.process.freeze();
    // One that ends early, and one whose client goes away.
    for cancelled in [false, true] {
        let before = coalesced(&gateway).await;
        let within = if cancelled { LONG } else { Duration::from_secs(3) };
        let begin = |within| {
            let (gateway, data) = (gateway.clone(), data.clone());
            tokio::spawn(async move { ask(&gateway, &data, within).await })
        };
        let asked = async |joined| {
            let what = format!("{joined} to have joined");
            until(&what, PATIENCE, async || (coalesced(&gateway).await >= before + joined).then_some(())).await;
        };
        // Whichever of these is the first.
        let first = [begin(within), begin(within)];
        asked(1).await;
        let others: Vec<_> = (0..10).map(|_| begin(LONG)).collect();
        asked(11).await;
        if cancelled {
            first.iter().for_each(tokio::task::JoinHandle::abort);
        } else {
            for first in first {
                let status = first.await.expect("it ends").expect_err("nobody answers");
                let found = (status.code(), reason(&status));
                let ours = [(Code::DeadlineExceeded, Some(Reason::DeadlineExceeded)), (Code::Cancelled, None)];
                assert!(ours.contains(&found), "{status:?}");
            }
            // One of the others asks again, and the rest with it.
            asked(20).await;
        }
        mesh.hash.process.thaw();
        for other in others {
            assert_eq!(other.await.expect("it ends").expect("digests").digests[0].hex, sha256);
        }
        mesh.hash.process.freeze();
    }
    mesh.hash.process.thaw();
    let after = counts(&mesh, &gateway).await;
    assert!(after.computed - before.computed <= 4, "{before:?} {after:?}");
}

#[tokio::test]
async fn another_tenants_input_is_another() {
    let mesh = Guarded::start("coalescing-tenants", &[]).await;
    let mut clients = Vec::new();
    for tenant in ["one", "other"] {
        clients.push(mesh.client(&mesh.key(tenant, &[Scope::Read, Scope::Submit]).await).gateway());
    }
    let data = Bytes::from(vec![7; 1024 * 1024]);
    let call = async |client: usize| {
        let answer = clients[client].clone().compute_digest(request(&data)).await.expect("digests");
        assert_eq!(answer.into_inner().hashed_bytes, 1024 * 1024);
    };
    let stats = async || {
        let answer = clients[0].clone().get_stats(GetStatsRequest {}).await.expect("an answer");
        answer.into_inner().coalesced_digests
    };
    let one_after_another = async |client| {
        for _ in 0..40 {
            call(client).await;
        }
    };
    futures::future::join_all([0, 1].map(one_after_another)).await;
    assert_eq!(stats().await, 0);
    // While a tenant's own are one.
    futures::future::join_all((0..40).map(|_| call(0))).await;
    assert!(stats().await > 0);
}
