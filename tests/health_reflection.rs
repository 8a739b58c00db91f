//! What every process says of itself: health, reflection, readiness; and grpcurl by hand, with reflection alone.

use serde_json::{Value, json};

use crate::support::{
    Mesh, MeshOptions,
    mesh::get_page,
    oracle::sha256_hex,
    reflect::grpcurl,
    shared,
    wait::{PATIENCE, until_value},
};

const SUBMIT_BATCH: &str = "hashmesh.gateway.v1.GatewayService/SubmitBatch";
const SUBMIT_TASKS: &str = "hashmesh.gateway.v1.GatewayService/SubmitTasks";

async fn address() -> String {
    shared::up().await.server.trim_start_matches("http://").to_owned()
}

#[tokio::test]
async fn grpcurl_lists_and_describes_the_public_api_by_reflection_alone() {
    let address = address().await;
    let list = grpcurl([address.as_str(), "list"]).run().await.succeeded().text();
    for service in ["hashmesh.gateway.v1.GatewayService", "grpc.health.v1.Health"] {
        assert!(list.lines().any(|line| line == service), "{list}");
    }
    let methods =
        grpcurl([address.as_str(), "list", "hashmesh.gateway.v1.GatewayService"]).run().await.succeeded().text();
    assert_eq!(methods.lines().count(), 29, "{methods}");
    for symbol in ["hashmesh.gateway.v1.GatewayService", "hashmesh.gateway.v1.SubmitBatchRequest", "hashmesh.v1.Task"] {
        let described = grpcurl([address.as_str(), "describe", symbol]).run().await.succeeded().text();
        assert!(described.contains(symbol), "{described}");
    }
}

#[tokio::test]
async fn grpcurl_submits_two_inline_tasks_and_reads_hex_digests() {
    let address = address().await;
    let request =
        json!({"rows": {"tasks": [{"name": "a", "data": "aGVsbG8="}, {"name": "b", "data": ""}]}, "wait": true});
    let ended = grpcurl(["-d", &request.to_string(), &address, SUBMIT_BATCH]).run().await.succeeded();
    let answer = ended.json();
    assert_eq!(answer["submission"]["state"], "SUBMISSION_STATE_COMPLETED");
    let outcomes = answer["outcomes"].as_array().expect("outcomes");
    for (name, content) in [("a", &b"hello"[..]), ("b", b"")] {
        let outcome = outcomes.iter().find(|outcome| outcome["name"] == name).expect("it has one");
        assert_eq!(outcome["digests"][0]["hex"], sha256_hex(content).as_str(), "{outcome}");
    }
}

#[tokio::test]
async fn grpcurl_streams_three_frames_from_standard_input_and_reads_to_the_end() {
    let address = address().await;
    let frames = [
        json!({"open": {"results": true}}),
        json!({"batch": {"sequence": 0, "rows": {"tasks": [{"name": "a", "data": "aGVsbG8="}]}}}),
        json!({"seal": {"batch_count": 1}}),
    ];
    let frames: String = frames.iter().map(|frame| format!("{frame}\n")).collect();
    let ended = grpcurl(["-d", "@", &address, SUBMIT_TASKS]).stdin(frames).run().await.succeeded();
    let answers: Vec<Value> = serde_json::Deserializer::from_slice(&ended.stdout)
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap_or_else(|error| panic!("{error} in {}", ended.text()));
    let has = |what: &str| answers.iter().any(|answer| answer.get(what).is_some());
    assert!(has("opened") && has("accepted") && has("results") && has("completed"), "{answers:?}");
    assert!(ended.text().contains(&sha256_hex(b"hello")), "{}", ended.text());
    assert_eq!(answers.last().expect("there are some")["completed"]["summary"]["recordedTasks"], "1");
}

/// The methods of grpcurl's reflection are chosen by the server; a client that knows one of the two versions only names it.
#[tokio::test]
async fn every_role_answers_health_and_both_versions_of_reflection() {
    let mesh = Mesh::start("health", MeshOptions::default()).await;
    let roles = [
        (&mesh.gateway, Some("hashmesh.gateway.v1.GatewayService")),
        (&mesh.queue, Some("hashmesh.queue.v1.QueueService")),
        (&mesh.hash, Some("hashmesh.hash.v1.HashService")),
        (&mesh.workers[0], None),
    ];
    for (role, service) in roles {
        let address = role.address.as_str();
        let services = grpcurl([address, "list"]).run().await.succeeded().text();
        for expected in
            ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]
                .into_iter()
                .chain(service)
        {
            assert!(services.lines().any(|line| line == expected), "{expected} of {address} is not in:\n{services}");
        }
        for version in ["v1", "v1alpha"] {
            let method = format!("grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
            let asked = grpcurl(["-d", r#"{"list_services": "*"}"#, address, &method]).run().await.succeeded();
            assert!(asked.text().contains("grpc.health.v1.Health"), "{}", asked.text());
        }

        for name in std::iter::once("").chain(service) {
            let request = json!({ "service": name }).to_string();
            let check = grpcurl(["-d", &request, address, "grpc.health.v1.Health/Check"]).run().await.succeeded();
            assert_eq!(check.json()["status"], "SERVING", "{name} of {address}");
        }
        let unknown = grpcurl(["-d", r#"{"service": "no.such"}"#, address, "grpc.health.v1.Health/Check"]).run().await;
        // grpcurl: 64 + NOT_FOUND.
        unknown.exits(69);
        let list = grpcurl([address, "grpc.health.v1.Health/List"]).run().await.succeeded();
        assert_eq!(list.json()["statuses"][service.unwrap_or("")]["status"], "SERVING", "{}", list.text());
        // A watch stays until it is cut: the first state is there.
        let watch = grpcurl(["-max-time", "1", address, "grpc.health.v1.Health/Watch"]).run().await;
        assert!(watch.text().contains("SERVING"), "{watch:?}");
        let (status, page) = get_page(&role.admin, "/livez").await.expect("it answers");
        assert_eq!(status, 200, "{page}");
    }
}

#[tokio::test]
async fn readiness_means_that_the_work_is_done() {
    let mut mesh = Mesh::start("readiness", MeshOptions::default()).await;
    let (status, stats) = get_page(&mesh.queue.admin, "/db/pool/stats").await.expect("it answers");
    assert_eq!(status, 200, "{stats}");
    mesh.queue.process.kill();
    for role in [&mesh.gateway, &mesh.workers[0]] {
        let readiness = async || role.readiness().await.map(|(status, _)| status);
        until_value("a role without its queue to be not ready", PATIENCE, readiness, |status| *status == Some(503))
            .await;
        let health = grpcurl([role.address.as_str(), "grpc.health.v1.Health/Check"]).run().await.succeeded();
        assert_eq!(health.json()["status"], "NOT_SERVING");
    }
    mesh.queue.restart().await;
    mesh.queue.ready().await;
    mesh.gateway.ready().await;
    mesh.workers[0].ready().await;
}

#[tokio::test]
async fn errors_seen_by_grpcurl_say_why_and_where() {
    let address = address().await;
    let request = json!({"rows": {"tasks": []}}).to_string();
    let ended = grpcurl(["-d", &request, &address, SUBMIT_BATCH]).run().await;
    assert_eq!(ended.code, Some(64 + 3), "{}", ended.stderr);
    assert!(ended.stderr.contains("INVALID_ARGUMENT") && ended.stderr.contains("rows.tasks"), "{}", ended.stderr);
}
