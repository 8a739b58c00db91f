//! The mesh for people with curl: JSON over HTTP, streams by lines and as events, errors as documents.

use std::fs;

use hashmesh::gateway::v1::GetSubmissionRequest;
use serde_json::{Value, json};

use super::curl;
use crate::support::{
    cli::{Ended, program},
    edge::Edge,
    envoy::repository,
    oracle,
    reflect::path_with_tools,
    rundir,
    wait::{PATIENCE, until},
};

async fn get(path: &str) -> (u16, Value) {
    let (status, head, body) = curl(&[], &format!("{}{path}", Edge::shared().await.envoy.url())).await;
    assert!(head.contains("content-type: application/json"), "{path}: {head}");
    (status, serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body:?}")))
}

async fn post(path: &str, document: &Value) -> (u16, Value) {
    let file = rundir::directory("json").join("body");
    fs::write(&file, document.to_string()).unwrap();
    let data = format!("@{}", file.display());
    let url = format!("{}{path}", Edge::shared().await.envoy.url());
    let (status, _, body) = curl(&["--data-binary", &data], &url).await;
    (status, serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body:?}")))
}

/// The console lines of a section of the README, and what it says that they print.
fn readme_lines(section: &str) -> Vec<(String, String)> {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let (_, text) = readme.split_once(&format!("\n### {section}\n")).unwrap_or_else(|| panic!("no section {section}"));
    let text = text.split("\n##").next().unwrap();
    let mut commands: Vec<(String, String)> = Vec::new();
    for block in text.split("```console\n").skip(1) {
        let mut continued = false;
        for line in block.split("\n```").next().unwrap().lines() {
            match (line.strip_prefix("$ "), commands.last_mut()) {
                (Some(command), _) => commands.push((command.to_owned(), String::new())),
                (None, Some((command, _))) if continued => *command = format!("{command}\n{line}"),
                (None, Some((_, printed))) => *printed = format!("{printed}{line}\n"),
                (None, None) => panic!("{section}: {line:?} is nobody's output"),
            }
            continued = line.ends_with('\\');
        }
    }
    assert!(!commands.is_empty(), "{section} has no lines");
    commands
}

#[tokio::test]
async fn the_lines_of_the_readme_work_as_printed() {
    let lines = readme_lines("JSON, curl and browsers");
    // They write files.
    let mut script = format!("set -euo pipefail\ncd '{}'\n", rundir::directory("readme").display());
    for (command, _) in &lines {
        script.push_str(&format!("{command}\necho ----\n"));
    }
    let script = script.replace("http://127.0.0.1:7480", &Edge::shared().await.envoy.url());
    let script = script.replace("127.0.0.1:7480", &Edge::shared().await.envoy.address());
    let ended: Ended = program("bash", ["-c", &script]).env("PATH", &path_with_tools()).run().await;
    let text = ended.text();
    let printed: Vec<&str> = text.split("----\n").collect();
    for (number, (command, wanted)) in lines.iter().enumerate() {
        let found = printed.get(number).unwrap_or_else(|| panic!("{command}: nothing came: {}", ended.stderr));
        // `…` stands for whatever is different each time.
        let mut rest = *found;
        for part in wanted.split('…') {
            let at = rest
                .find(part)
                .unwrap_or_else(|| panic!("{command}\nwanted: {wanted}\nfound: {found}\n{}", ended.stderr));
            rest = &rest[at + part.len()..];
        }
    }
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[tokio::test]
async fn a_submission_is_made_watched_and_read_by_http_alone() {
    let (status, created) = post("/v1/submissions", &json!({"options": {"labels": {"by": "curl"}}})).await;
    assert_eq!(status, 200, "{created}");
    let id = created["opened"]["submissionId"].as_str().unwrap().to_owned();
    for sequence in 0..2 {
        let tasks: Vec<Value> =
            (0..3).map(|task| json!({"name": format!("{sequence}-{task}"), "data": "aGVsbG8="})).collect();
        let batch = json!({"sequence": sequence, "rows": {"tasks": tasks}});
        let (status, answer) = post(&format!("/v1/submissions/{id}/batches"), &batch).await;
        assert_eq!((status, &answer["throughSequence"]), (200, &json!(sequence)), "{answer}");
    }
    let (status, answer) = post(&format!("/v1/submissions/{id}:seal"), &json!({"batchCount": 2})).await;
    assert_eq!(status, 200, "{answer}");

    // A line of JSON per frame.
    let (status, head, body) =
        curl(&[], &format!("{}/v1/submissions/{id}/results:stream?follow=true", Edge::shared().await.envoy.url()))
            .await;
    assert!(status == 200 && head.contains("content-type: application/json"), "{head}");
    let frames: Vec<Value> =
        String::from_utf8(body).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let rows: Vec<&Value> =
        frames.iter().flat_map(|frame| frame["results"]["rows"].as_array().into_iter().flatten()).collect();
    let positions: Vec<_> = rows.iter().map(|row| row["position"].as_str().unwrap()).collect();
    assert_eq!(positions, ["1", "2", "3", "4", "5", "6"]);
    assert!(rows.iter().all(|row| row["digests"][0]["hex"] == oracle::sha256_hex(b"hello").as_str()), "{rows:?}");
    assert!(frames.last().unwrap()["completed"].is_object());

    let (_, page) = get(&format!("/v1/submissions/{id}/results?after_position=2&pageSize=3")).await;
    assert_eq!(page["outcomes"].as_array().unwrap().len(), 3);
    assert_eq!(page["nextAfterPosition"], "5");
    let (_, watched) = get(&format!("/v1/submissions/{id}:watch")).await;
    assert_eq!(watched["submission"]["state"], "SUBMISSION_STATE_COMPLETED");
    let (_, list) = get("/v1/submissions?labels.by=curl").await;
    // Maps are not said in a query: what is unknown is refused, not ignored.
    assert_eq!(list["code"], 3, "{list}");
}

#[tokio::test]
async fn streams_come_as_events_to_whoever_accepts_them_or_says_so() {
    let (_, done) =
        post("/v1/submissions:submit", &json!({"rows": {"tasks": [{"data": "aGVsbG8="}]}, "wait": true})).await;
    let id = done["submission"]["submissionId"].as_str().unwrap();
    let url = format!("{}/v1/submissions/{id}:watch", Edge::shared().await.envoy.url());
    for (arguments, url) in
        [(vec!["--header", "accept: text/event-stream"], url.clone()), (vec![], format!("{url}?events=true"))]
    {
        let (status, head, body) = curl(&arguments, &url).await;
        assert!(status == 200 && head.contains("content-type: text/event-stream"), "{head}");
        let body = String::from_utf8(body).unwrap();
        let event =
            body.strip_prefix("data: ").and_then(|rest| rest.strip_suffix("\n\n")).unwrap_or_else(|| panic!("{body}"));
        let frame: Value = serde_json::from_str(event.trim()).unwrap();
        assert_eq!(frame["submission"]["state"], "SUBMISSION_STATE_COMPLETED");
    }
}

#[tokio::test]
async fn every_error_is_a_status_with_its_code_whoever_found_it() {
    // The mesh, with reason and field.
    let (status, error) = get("/v1/submissions/nope").await;
    assert_eq!((status, &error["code"]), (400, &json!(3)), "{error}");
    let details = error["details"].as_array().unwrap();
    assert!(
        details.iter().any(|detail| detail["reason"] == "INVALID_ARGUMENT" && detail["domain"] == "hashmesh"),
        "{error}"
    );
    assert!(details.iter().any(|detail| detail["fieldViolations"][0]["field"] == "submission_id"), "{error}");
    let (status, error) = get("/v1/submissions/01890a5d-ac96-774b-bcce-b302099a8057").await;
    assert_eq!(
        (status, &error["code"], &error["details"][0]["reason"]),
        (404, &json!(5), &json!("SUBMISSION_NOT_FOUND"))
    );

    // Envoy: no such path, no such parameter, no JSON.
    for path in ["/v1/nope", "/", "/v2/submissions", "/hashmesh.queue.v1.QueueService/GetStats"] {
        let (status, error) = get(path).await;
        assert_eq!((status, &error["code"]), (404, &json!(5)), "{path}: {error}");
    }
    let (status, error) = get("/v1/stats?bogus=1").await;
    assert_eq!((status, &error["code"]), (400, &json!(3)), "{error}");
    assert!(error["message"].as_str().unwrap().contains("bogus"), "{error}");
    let url = Edge::shared().await.envoy.url();
    for body in ["{", "nonsense", r#"{"data": "not base64!"}"#] {
        let (status, head, answer) = curl(&["--data-binary", body], &format!("{url}/v1/digests:compute")).await;
        let error: Value = serde_json::from_slice(&answer)
            .unwrap_or_else(|_| panic!("{body}: {head} {}", String::from_utf8_lossy(&answer)));
        assert_eq!((status, &error["code"]), (400, &json!(3)), "{body}: {error}");
    }
    let most = |bytes: usize| json!({"data": "A".repeat(bytes)});
    // The mesh says what it takes, whatever comes.
    for bytes in [6 * 1024 * 1024, 24 * 1024 * 1024] {
        let (status, error) = post("/v1/digests:compute", &most(bytes)).await;
        assert_eq!((status, &error["code"]), (400, &json!(3)), "{error}");
        assert!(error["message"].as_str().unwrap().contains("4128768"), "{error}");
    }
    // 4 MiB − 64 KiB in base64 is the most that it takes.
    let (status, answer) = post("/v1/digests:compute", &most((4 * 1024 * 1024 - 64 * 1024) / 3 * 4)).await;
    assert_eq!(
        (status, &answer["hashedBytes"]),
        (200, &json!((4 * 1024 * 1024 - 64 * 1024) / 3 * 3).to_string().into()),
        "{answer}"
    );
}

#[tokio::test]
async fn the_openapi_file_is_served_and_json_is_compressed_for_whoever_can_read_it() {
    let url = Edge::shared().await.envoy.url();
    let (status, head, body) = curl(&[], &format!("{url}/openapi.yaml")).await;
    assert!(status == 200 && head.contains("content-type: application/yaml"), "{head}");
    assert_eq!(body, fs::read(repository().join("envoy/openapi.yaml")).unwrap());
    for encoding in ["gzip", "br"] {
        let accept = format!("accept-encoding: {encoding}");
        let (_, head, compressed) = curl(&["--header", &accept], &format!("{url}/v1/capabilities")).await;
        assert!(head.contains(&format!("content-encoding: {encoding}")), "{head}");
        assert!(compressed.len() < 1_500, "{encoding}: {}", compressed.len());
    }
}

#[tokio::test]
async fn each_call_leaves_a_line_of_json_with_its_grpc_status() {
    let edge = Edge::shared().await;
    get("/v1/submissions/nope-in-the-log").await;
    let line = until("the line", PATIENCE, async || {
        let log = edge.envoy.process.output();
        let line = log.lines().find(|line| line.contains("nope-in-the-log"))?;
        serde_json::from_str::<Value>(line).ok()
    })
    .await;
    assert_eq!((&line["status"], &line["path"]), (&json!(400), &json!("/v1/submissions/nope-in-the-log")), "{line}");
    assert!(edge.addresses().contains(&line["gateway"].as_str().unwrap().to_owned()), "{line}");
    assert!(!line["trace"].as_str().unwrap().is_empty(), "{line}");

    // A gRPC failure is HTTP 200.
    let request = GetSubmissionRequest { submission_id: "nope".to_owned() };
    edge.connect().await.get_submission(request).await.expect_err("there is none");
    until("the line of the failure", PATIENCE, async || {
        let log = edge.envoy.process.output();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut lines = lines.filter(|line| line["path"] == "/hashmesh.gateway.v1.GatewayService/GetSubmission");
        lines.any(|line| line["grpc_status"] == "3" && line["status"] == 200).then_some(())
    })
    .await;
}
