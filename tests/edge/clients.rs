//! The reference clients of `examples/clients`, each in its own language, through Envoy, while Gateways die (promises 2, 5).

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    cli::program,
    edge::Edge,
    envoy::repository,
    heavy,
    process::HASHMESH,
    reflect::path_with_tools,
    wait::{PATIENCE, until},
};

const TASKS: u64 = 100_000;
/// For the one that would be done before the first Gateway dies.
const TASKS_IN_RUST: u64 = 1_000_000;

/// Where `make clients` puts what it builds.
fn built() -> PathBuf {
    let target = Path::new(HASHMESH).ancestors().nth(2).expect("a target directory");
    target.join("clients")
}

/// Builds the client if it is not there already, as its README says.
async fn executable(language: &str) -> PathBuf {
    if language == "rust" {
        return Path::new(HASHMESH).with_file_name("examples").join("submit");
    }
    let script = repository().join("examples/clients/build.sh");
    let build = program(script, [built().as_os_str(), language.as_ref()]).env("PATH", &path_with_tools());
    build.run().await.succeeded();
    built().join(language).join("submit")
}

/// Kills the Gateway that has a client's stream, or its calls; how many were under way there. `dead` are those that are gone.
async fn kill_the_busiest(edge: &mut Edge, dead: &mut Vec<usize>) -> u64 {
    let stats = edge.envoy.stats().await;
    let busy = |address: &str| {
        let found = stats.endpoints.iter().find(|endpoint| endpoint.address == address);
        found.map_or((0, 0), |endpoint| (endpoint.active_requests, endpoint.requests))
    };
    let alive = edge.addresses().into_iter().enumerate().filter(|(number, _)| !dead.contains(number));
    let (number, address) = alive.max_by_key(|(_, address)| busy(address)).expect("one lives");
    let (active, _) = busy(&address);
    edge.gateway_mut(number).process.kill();
    dead.push(number);
    active
}

async fn survives(language: &str) {
    let _turn = heavy::turn().await;
    let executable = executable(language).await;
    let tasks = if language == "rust" { TASKS_IN_RUST } else { TASKS };
    let mut edge = Edge::start(&format!("clients-{language}"), &[], &[]).await;
    let arguments = [edge.envoy.url(), tasks.to_string(), format!("client-{language}")];
    let running = tokio::spawn(program(executable, arguments).env("PATH", &path_with_tools()).run());
    let (mut dead, mut cut) = (Vec::new(), 0);
    for recorded in [10_000, 40_000] {
        let sql = "SELECT coalesce(max(position + task_count - 1), 0) FROM results";
        until("outcomes to be recorded", PATIENCE.max(Duration::from_secs(120)), async || {
            assert!(!running.is_finished(), "{language}: it ended before {recorded} outcomes");
            let count: u64 = edge.mesh.database.value(sql).await.parse().expect("a number");
            (count >= recorded).then_some(())
        })
        .await;
        cut += kill_the_busiest(&mut edge, &mut dead).await;
    }
    let ended = running.await.expect("no panic").succeeded();
    let line: Value = ended.json();
    assert_eq!((&line["tasks"], &line["succeeded"]), (&tasks.into(), &tasks.into()), "{line}");
    // The one in Rust counts what breaks of its writer's stream, and it may have been the reader's.
    let noticed = if language == "rust" { cut } else { line["reconnects"].as_u64().expect("a number") };
    assert!(noticed >= 1, "{language} noticed no death: {line}");
    let sql = "SELECT count(*) || ' ' || sum(task_count) FROM batches";
    assert_eq!(edge.mesh.database.value(sql).await, format!("{} {tasks}", tasks / 1_000), "{language}");

    // Run again, with its key, it finds what it did.
    let id = line["submission_id"].clone();
    let arguments = [edge.envoy.url(), tasks.to_string(), format!("client-{language}")];
    let again = program(self::executable(language).await, arguments).env("PATH", &path_with_tools()).run().await;
    assert_eq!(again.succeeded().json()["submission_id"], id, "{language}");
    assert_eq!(edge.mesh.database.value("SELECT count(*) FROM submissions").await, "1", "{language}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_2_and_5_the_client_in_python_survives_the_death_of_gateways() {
    survives("python").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_2_and_5_the_client_in_go_survives_the_death_of_gateways() {
    survives("go").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_2_and_5_the_client_in_java_survives_the_death_of_gateways() {
    survives("java").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_2_and_5_the_client_in_typescript_survives_the_death_of_gateways() {
    survives("node").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_2_and_5_the_client_in_a_browser_survives_the_death_of_gateways() {
    survives("web").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_2_and_5_the_client_in_rust_survives_the_death_of_gateways() {
    survives("rust").await;
}
