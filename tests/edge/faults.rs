//! Gateways and Envoy itself are killed, stopped and cut off while clients work (promises 2, 5, 12).

use crate::support::{black_hole::BlackHole, edge::Edge, envoy::Envoy, heavy};

use super::{ends_well, goes_on, run};

/// Envoy notices within 2 s, and not within 15 s, that a Gateway says nothing any more.
const NOTICES: [(&str, &str); 2] = [
    ("connection_keepalive: {interval: 10s, timeout: 5s}", "connection_keepalive: {interval: 1s, timeout: 1s}"),
    ("timeout: 1s\n", "timeout: 0.5s\n"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_2_and_5_nothing_is_lost_or_repeated_while_gateways_are_killed_one_after_the_other() {
    let _turn = heavy::turn().await;
    let mut edge = Edge::start("edge-kills", &[], &NOTICES).await;
    let run = run(&edge.client()).await;
    goes_on(&run, "at first").await;
    for gateway in 0..3 {
        edge.gateway_mut(gateway).process.kill();
        goes_on(&run, "with one Gateway killed").await;
        edge.gateway_mut(gateway).restart().await;
        let all = edge.addresses();
        edge.envoy.healthy(&all).await;
    }
    assert!(run.reconnects() > 0, "no stream was at any of the Gateways");
    ends_well(run, &edge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_2_and_5_nothing_is_lost_or_repeated_while_gateways_are_stopped_one_after_the_other() {
    let _turn = heavy::turn().await;
    let mut edge = Edge::start("edge-stops", &[], &NOTICES).await;
    let run = run(&edge.client()).await;
    goes_on(&run, "at first").await;
    for gateway in 0..3 {
        edge.gateway_mut(gateway).process.freeze();
        goes_on(&run, "with one Gateway stopped").await;
        edge.gateway_mut(gateway).process.thaw();
        let all = edge.addresses();
        edge.envoy.healthy(&all).await;
    }
    assert!(run.reconnects() > 0, "no stream was at any of the Gateways");
    ends_well(run, &edge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_2_and_5_nothing_is_lost_or_repeated_while_gateways_are_cut_off_one_after_the_other() {
    let _turn = heavy::turn().await;
    let mut edge = Edge::start("edge-cuts", &[], &NOTICES).await;
    let mut ways = Vec::new();
    for address in edge.addresses() {
        ways.push(BlackHole::before(&address).await);
    }
    let all: Vec<String> = ways.iter().map(|way| way.address.clone()).collect();
    edge.envoy.set_gateways(&all).await;
    let run = run(&edge.client()).await;
    goes_on(&run, "at first").await;
    for way in &ways {
        way.swallow();
        goes_on(&run, "with one Gateway cut off").await;
        way.heal();
        edge.envoy.healthy(&all).await;
    }
    assert!(run.reconnects() > 0, "no stream was at any of the Gateways");
    ends_well(run, &edge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_2_and_5_nothing_is_lost_or_repeated_while_envoy_is_drained_and_started_again() {
    let _turn = heavy::turn().await;
    let mut edge = Edge::start("edge-drain", &[], &[("drain_timeout: 10s", "drain_timeout: 1s")]).await;
    let run = run(&edge.client()).await;
    goes_on(&run, "at first").await;
    edge.envoy.post("/drain_listeners?graceful&skip_exit").await;
    goes_on(&run, "while Envoy drains").await;
    edge.envoy.process.terminate().await;
    edge.envoy.restart().await;
    goes_on(&run, "with another Envoy").await;
    edge.envoy.restart().await;
    goes_on(&run, "after Envoy was killed").await;
    assert!(run.reconnects() > 0, "no stream noticed");
    ends_well(run, &edge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_2_and_5_nothing_is_lost_or_repeated_while_envoy_says_goaway_every_second() {
    let _turn = heavy::turn().await;
    let changes = [
        ("max_connection_duration: 3600s", "max_connection_duration: 1s"),
        ("drain_timeout: 10s", "drain_timeout: 0.1s"),
    ];
    let edge = Edge::start("edge-goaway", &[], &changes).await;
    let client = edge.client();
    let run = run(&client).await;
    let mut calls = 0;
    while goaways(&edge.envoy).await < 5 {
        client.get_capabilities().await.expect("no call fails");
        calls += 1;
    }
    goes_on(&run, "after GOAWAYs").await;
    assert!(calls > 5, "{calls}");
    ends_well(run, &edge).await;
}

/// Connections that Envoy has asked clients to leave.
async fn goaways(envoy: &Envoy) -> u64 {
    let stats = envoy.counters("^http\\.edge\\.downstream_cx_max_duration_reached$").await;
    stats.into_values().sum()
}
