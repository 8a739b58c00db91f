//! Who gets what: policies that change under load, Gateways that come, die and stop (promise 12).

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hashmesh::{
    client::ResultsQuery,
    gateway::v1::{ComputeDigestRequest, GetCapabilitiesRequest},
};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::support::{
    Gateway,
    edge::Edge,
    heavy,
    wait::{PATIENCE, until},
};

/// Callers, each on a connection of its own, for as long as it is wanted. A call that fails ends the test.
struct Callers {
    enough: watch::Sender<bool>,
    made: Arc<AtomicU64>,
    tasks: Vec<AbortOnDropHandle<()>>,
}

impl Callers {
    async fn start(edge: &Edge, count: usize) -> Self {
        let (enough, no_more) = watch::channel(false);
        let made = Arc::new(AtomicU64::new(0));
        let mut tasks = Vec::new();
        for _ in 0..count {
            let (gateway, no_more, made) = (edge.connect().await, no_more.clone(), Arc::clone(&made));
            tasks.push(AbortOnDropHandle::new(tokio::spawn(call(gateway, no_more, made))));
        }
        Self { enough, made, tasks }
    }

    /// Waits until so many more calls were answered.
    async fn answered(&self, more: u64) {
        let wanted = self.made.load(Ordering::Relaxed) + more;
        until("calls to be answered", PATIENCE, async || {
            let failed = self.tasks.iter().any(AbortOnDropHandle::is_finished);
            assert!(!failed, "a call failed");
            (self.made.load(Ordering::Relaxed) >= wanted).then_some(())
        })
        .await;
    }

    async fn end(self) {
        self.enough.send_replace(true);
        for task in self.tasks {
            task.await.expect("no call failed");
        }
    }
}

/// A read, and a call that is none, in turns.
async fn call(mut gateway: Gateway, no_more: watch::Receiver<bool>, made: Arc<AtomicU64>) {
    let mut number = 0_u64;
    while !*no_more.borrow() {
        gateway.get_capabilities(GetCapabilitiesRequest {}).await.expect("no read fails");
        number += 1;
        let request = ComputeDigestRequest { data: format!("{number}").into(), ..Default::default() };
        gateway.compute_digest(request).await.expect("no call fails");
        made.fetch_add(2, Ordering::Relaxed);
    }
}

/// What each Gateway gets of the next calls, as shares of them, the largest last.
async fn shares(edge: &Edge, callers: &Callers) -> Vec<f64> {
    let count = async || {
        let endpoints = edge.envoy.stats().await.endpoints;
        endpoints.into_iter().map(|endpoint| (endpoint.address, endpoint.requests)).collect::<BTreeMap<_, _>>()
    };
    let before = count().await;
    callers.answered(1_500).await;
    let after = count().await;
    let given: Vec<u64> =
        after.iter().map(|(address, requests)| requests - before.get(address).unwrap_or(&0)).collect();
    let all: u64 = given.iter().sum();
    let mut shares: Vec<f64> = given.into_iter().map(|given| given as f64 / all as f64).collect();
    shares.sort_by(f64::total_cmp);
    shares
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_12_the_policy_changes_under_load_and_no_call_fails() {
    let _turn = heavy::turn().await;
    let edge = Edge::start("edge-policy", &[], &[]).await;
    let callers = Callers::start(&edge, 6).await;
    let even = |shares: &[f64]| shares.iter().all(|share| (0.28..0.39).contains(share));

    edge.envoy.set_policy("round-robin").await;
    let found = shares(&edge, &callers).await;
    assert!(even(&found), "round robin: {found:?}");

    edge.envoy.set_policy("source-ip").await;
    // Calls of before may still be under way.
    callers.answered(20).await;
    let found = shares(&edge, &callers).await;
    assert!(found[2] > 0.99, "one address, one Gateway: {found:?}");

    edge.envoy.set_policy("random").await;
    callers.answered(20).await;
    let found = shares(&edge, &callers).await;
    assert!(found[0] > 0.2, "random: {found:?}");

    edge.envoy.set_policy("least-request").await;
    callers.answered(20).await;
    let found = shares(&edge, &callers).await;
    assert!(found[0] > 0.1, "least request: {found:?}");
    callers.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_12_a_gateway_that_is_stopped_in_order_fails_no_call() {
    let _turn = heavy::turn().await;
    let mut edge = Edge::start("edge-stop-in-order", &[], &[]).await;
    let callers = Callers::start(&edge, 6).await;
    for gateway in 0..3 {
        callers.answered(300).await;
        assert!(edge.gateway_mut(gateway).terminate().await.success());
        callers.answered(300).await;
        edge.gateway_mut(gateway).restart().await;
        let all = edge.addresses();
        edge.envoy.healthy(&all).await;
    }
    callers.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_gateway_gets_nothing_after_two_failed_checks() {
    let _turn = heavy::turn().await;
    let mut edge = Edge::start("edge-dead", &[], &[]).await;
    let dead = edge.gateway_mut(2).address.clone();
    edge.gateway_mut(2).process.kill();
    let wanted: Vec<String> = edge.addresses().into_iter().filter(|address| *address != dead).collect();
    edge.envoy.healthy(&wanted).await;
    until("the health checks to have failed", PATIENCE, async || {
        let endpoints = edge.envoy.stats().await.endpoints;
        let endpoint = endpoints.into_iter().find(|endpoint| endpoint.address == dead)?;
        endpoint.why.iter().any(|why| why == "failed_active_health_check").then_some(())
    })
    .await;
    let failures = edge.envoy.counters("^cluster\\.gateway\\.health_check\\.failure$").await;
    assert!(failures.values().sum::<u64>() >= 2, "{failures:?}");
    let before = edge.envoy.requests_to(&dead).await;
    let callers = Callers::start(&edge, 2).await;
    callers.answered(200).await;
    callers.end().await;
    assert_eq!(edge.envoy.requests_to(&dead).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_gateway_gets_its_share_of_long_streams_within_their_age() {
    const STREAMS: u64 = 24;
    let _turn = heavy::turn().await;
    let mut edge = Edge::start("edge-age", &[("HASHMESH_MAX_STREAM_AGE", "3s")], &[]).await;
    let (stream, opened) = edge.connect().await.open_new().await;
    drop(stream);
    let mut readers = Vec::new();
    for _ in 0..STREAMS {
        let mut results = edge.client().results(ResultsQuery::following(&opened.submission_id));
        readers.push(AbortOnDropHandle::new(tokio::spawn(async move { results.next().await })));
    }
    let active = async |edge: &Edge, address: &str| {
        let endpoints = edge.envoy.stats().await.endpoints;
        endpoints.into_iter().find(|endpoint| endpoint.address == address).map(|endpoint| endpoint.active_requests)
    };
    until("all streams to be there", PATIENCE, async || {
        let mut all = 0;
        for address in edge.addresses() {
            all += active(&edge, &address).await.unwrap_or(0);
        }
        (all >= STREAMS).then_some(())
    })
    .await;
    let new = edge.further_gateway().await;
    let all = edge.addresses();
    edge.envoy.set_gateways(&all).await;
    let share = STREAMS / 4;
    let moved = async || (active(&edge, &new).await? >= share / 2).then_some(());
    until("the new Gateway to have its share of the streams", PATIENCE, moved).await;
    // They still wait for outcomes: to be moved is no end.
    assert!(readers.iter().all(|reader| !reader.is_finished()));
}
