//! `hashmesh doctor` through Envoys that are as they should be, and through others.

use serde_json::Value;

use crate::support::{
    cli::{Ended, hashmesh},
    edge::Edge,
};

/// Its findings through this Envoy.
async fn doctor(edge: &Edge, arguments: &[&str]) -> Ended {
    let url = edge.envoy.url();
    let usual = ["doctor", "--server", &url, "--output", "json"];
    hashmesh(usual.iter().chain(arguments)).run().await
}

/// A check by its name.
#[track_caller]
fn check(ended: &Ended, name: &str) -> Value {
    let findings = ended.json();
    let found = findings["checks"].as_array().expect("checks").iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {findings}")).clone()
}

/// True if nothing of the doctor's is left open.
async fn all_cancelled(edge: &Edge) -> bool {
    let url = edge.envoy.url();
    let arguments = ["list", "--server", &url, "--label", "by=doctor", "--output", "jsonl"];
    let ours = hashmesh(arguments).run().await.succeeded().json_lines();
    !ours.is_empty() && ours.iter().all(|submission| submission["state"] == "cancelled")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mesh_behind_our_envoy_is_well_in_every_respect() {
    let edge = Edge::shared().await;
    // Long enough for a ping.
    let ended = doctor(edge, &["--for", "22s", "--database-url", &edge.mesh.database.url]).await.succeeded();
    for name in
        ["reach", "version", "proxy", "keys", "health", "reflection", "message size", "stream", "clock", "schema"]
    {
        assert_eq!(check(&ended, name)["state"], "ok", "{name}: {}", ended.text());
    }
    assert_eq!(check(&ended, "tls")["state"], "skipped", "it is plain text");
    assert!(check(&ended, "stream")["measured"]["pings"].as_u64().is_some_and(|pings| pings >= 1), "{}", ended.text());
    assert!(check(&ended, "proxy")["found"].as_str().is_some_and(|found| found.contains("envoy")), "{}", ended.text());
    assert!(all_cancelled(edge).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_of_the_streams_route_is_found_measured_and_its_remedy_named() {
    let edge = Edge::start("edge-doctor", &[], &[("timeout: 0s\n", "timeout: 3s\n")]).await;
    let ended = doctor(&edge, &["--for", "8s"]).await.exits(1);
    let stream = check(&ended, "stream");
    assert_eq!(stream["state"], "fail", "{stream}");
    let seconds = stream["measured"]["seconds"].as_f64().expect("a number");
    assert!((2.5..6.0).contains(&seconds), "{stream}");
    assert!(stream["remedy"].as_str().is_some_and(|remedy| remedy.contains("timeout: 0s")), "{stream}");
    for name in ["reach", "health", "reflection", "message size", "clock"] {
        assert_eq!(check(&ended, name)["state"], "ok", "{name}: {}", ended.text());
    }
    assert!(all_cancelled(&edge).await, "whatever became of its stream");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_and_health_that_lead_elsewhere_are_found() {
    let changes = [
        ("{prefix: /grpc.reflection.}", "{prefix: /nowhere.reflection.}"),
        ("{prefix: /grpc.health.v1.Health/}", "{prefix: /nowhere.health.}"),
    ];
    let edge = Edge::start("edge-doctor-lost", &[], &changes).await;
    let ended = doctor(&edge, &["--for", "1s"]).await.exits(1);
    for (name, route) in [("reflection", "/grpc.reflection."), ("health", "/grpc.health.v1.Health/")] {
        let found = check(&ended, name);
        assert_eq!(found["state"], "fail", "{found}");
        assert!(found["remedy"].as_str().is_some_and(|remedy| remedy.contains(route)), "{found}");
    }
    assert_eq!(check(&ended, "stream")["state"], "ok", "{}", ended.text());
}
