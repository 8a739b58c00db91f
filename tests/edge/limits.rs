//! What Envoy refuses by itself: too many calls of one address, by the count that all share; too many calls at all.

use hashmesh::gateway::v1::GetCapabilitiesRequest;
use tonic::Code;

use crate::support::{
    Mesh, MeshOptions, Role,
    cli::program,
    edge::Edge,
    envoy::Envoy,
    raw::Gateway,
    redis::Redis,
    rundir,
    wait::{PATIENCE, until},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_makes_so_many_calls_a_minute_however_many_envoys_it_asks() {
    const CALLS: usize = 20;
    let redis = Redis::start("edge-limits-redis").await;
    let directory = rundir::directory("edge-limits-cache");
    let arguments = ["--redis-url", &redis.url(), "--limit-per-address", "20"].map(str::to_owned).to_vec();
    // A busy machine is slow.
    let environment = [("HASHMESH_REDIS_TIMEOUT".to_owned(), "250ms".to_owned())];
    let mut cache = Role::start("cache", "cache", arguments, &environment, directory).await;
    cache.ready().await;
    let mesh = Mesh::start("edge-limits", MeshOptions::default()).await;
    let (host, port) = cache.address.split_once(':').expect("an address");
    let gateways = [mesh.gateway.address.clone()];
    let mut envoys = Vec::new();
    let there = format!("address: {host}, port_value: {port}");
    for name in ["edge-limits-1", "edge-limits-2"] {
        let changes = [("timeout: 0.02s", "timeout: 1s"), ("address: 127.0.0.1, port_value: 7460", &*there)];
        envoys.push(Envoy::start(name, &gateways, &changes).await);
    }
    let mut admitted = 0;
    let mut refused = None;
    for number in 0..CALLS * 3 {
        let mut gateway = Gateway::connect(&envoys[number % 2].url()).await;
        match gateway.get_capabilities(GetCapabilitiesRequest {}).await {
            Ok(_) => admitted += 1,
            Err(status) => {
                refused = Some((number, status));
                break;
            }
        }
    }
    let (number, status) = refused.expect("one is too many");
    assert_eq!(admitted, CALLS, "{status:?}");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let url = format!("{}/v1/capabilities", envoys[number % 2].url());
    let answer = program("curl", ["--silent", "--noproxy", "*", &url]).run().await.succeeded().json();
    assert_eq!(answer["code"], 8, "{answer}");

    // Without Redis nobody counts, and nobody is refused.
    drop(redis);
    let url = envoys[0].url();
    until("calls to go through", PATIENCE, async || {
        Gateway::connect(&url).await.get_capabilities(GetCapabilitiesRequest {}).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_refused_before_it_reaches_a_gateway() {
    let mesh = Mesh::start("edge-flood", MeshOptions::default()).await;
    let few = [(
        "max_tokens: 40000, tokens_per_fill: 20000, fill_interval: 1s",
        "max_tokens: 5, tokens_per_fill: 1, fill_interval: 3600s",
    )];
    let envoy = Envoy::start("edge-flood-envoy", std::slice::from_ref(&mesh.gateway.address), &few).await;
    let mut gateway = Gateway::connect(&envoy.url()).await;
    for _ in 0..5 {
        gateway.get_capabilities(GetCapabilitiesRequest {}).await.expect("there is room");
    }
    let refused = gateway.get_capabilities(GetCapabilitiesRequest {}).await.expect_err("there is none");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert_eq!(envoy.requests_to(&mesh.gateway.address).await, 5);
}

#[tokio::test]
async fn without_a_cache_service_calls_go_through() {
    let edge = Edge::shared().await;
    edge.connect().await.get_capabilities(GetCapabilitiesRequest {}).await.expect("it is not asked");
    let errors = edge.envoy.counters("^cluster\\.gateway\\.ratelimit\\.(error|failure_mode_allowed)$").await;
    assert!(errors.values().all(|count| *count > 0) && errors.len() == 2, "{errors:?}");
}
