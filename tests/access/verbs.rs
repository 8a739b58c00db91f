//! Keys by the command.

use serde_json::Value;

use crate::support::{
    Guarded,
    cli::{Run, hashmesh},
    rundir,
};

fn verb(mesh: &Guarded, key: &str, arguments: &[&str]) -> Run {
    hashmesh(arguments).env("HASHMESH_SERVER", &mesh.up.server).env("HASHMESH_API_KEY", key)
}

#[tokio::test]
async fn keys_are_made_used_rotated_and_revoked_by_the_command() {
    let mesh = Guarded::shared().await;
    let admin = mesh.admin.reveal();
    let create = ["admin", "keys", "create", "--tenant", "by-hand", "--description", "mine", "--output", "json"];
    let created = verb(mesh, admin, &create).run().await.succeeded().json();
    let (text, id) = (created["text"].as_str().expect("a text"), created["key_id"].as_str().expect("an id"));
    assert_eq!(created["scopes"], serde_json::json!(["submit", "read"]));

    let lines = ["submit", "--lines", "-", "--output", "jsonl"];
    let ended = verb(mesh, text, &lines).stdin("one\ntwo\n").run().await.succeeded();
    assert_eq!(ended.json_lines().len(), 2);
    // From a file too; and 64 + UNAUTHENTICATED without, 64 + PERMISSION_DENIED where it does not reach.
    let file = rundir::directory("api-key").join("key");
    std::fs::write(&file, format!("{text}\n")).expect("a file");
    let file = format!("@{}", file.display());
    // What the command line says is what counts.
    let list = ["list", "--output", "json", "--api-key", &file];
    let ended = verb(mesh, "not a key at all", &list).run().await.succeeded();
    assert_eq!(ended.json()["submissions"].as_array().map(Vec::len), Some(1));
    let ended = hashmesh(["list"]).env("HASHMESH_SERVER", &mesh.up.server).run().await.exits(80);
    assert!(ended.stderr.contains("--api-key @FILE"), "{}", ended.stderr);
    verb(mesh, text, &["admin", "keys", "list"]).run().await.exits(71);

    let rotate = ["admin", "keys", "rotate", id, "--keep-previous", "0s", "--output", "json"];
    let rotated = verb(mesh, admin, &rotate).run().await.succeeded().json();
    assert_ne!(rotated["text"], created["text"]);
    verb(mesh, admin, &["admin", "keys", "revoke", id]).run().await.succeeded();
    let listed = verb(mesh, admin, &["admin", "keys", "list", "--tenant", "by-hand", "--output", "jsonl"]);
    let listed: Vec<Value> = listed.run().await.succeeded().json_lines();
    assert_eq!(listed.len(), 1);
    assert!(listed[0]["revoked"].is_string() && listed[0]["text"].is_null(), "{listed:?}");
    let audit = verb(mesh, admin, &["admin", "audit", "--output", "jsonl"]).run().await.succeeded().json_lines();
    let of_key: Vec<&str> =
        audit.iter().filter(|entry| entry["target"] == id).filter_map(|entry| entry["action"].as_str()).collect();
    assert_eq!(of_key, ["key.revoke", "key.rotate", "key.create"]);
}

#[tokio::test]
async fn an_administrator_pauses_and_limits_any_tenant() {
    let mesh = Guarded::shared().await;
    let admin = mesh.admin.reveal();
    let tenants = async |arguments: &[&str]| {
        let all: Vec<&str> =
            ["admin", "tenants"].iter().chain(arguments).chain(&["--output", "json"]).copied().collect();
        verb(mesh, admin, &all).run().await.succeeded().json()
    };
    assert_eq!(tenants(&["pause", "far-away"]).await["paused"], true);
    assert_eq!(tenants(&["limit", "far-away", "--max-leased-tasks", "7"]).await["max_leased_tasks"], 7);
    assert_eq!(tenants(&["get", "far-away"]).await["paused"], true);
    assert_eq!(tenants(&["resume", "far-away"]).await["paused"], false);
    verb(mesh, admin, &["admin", "tenants", "pause", "Not A Name"]).run().await.exits(67);
}

#[tokio::test]
async fn a_wrong_key_is_refused_before_anybody_is_asked_and_never_repeated() {
    let mistyped = "hm_0123456789abcdef_SECRETSECRET";
    let ended = hashmesh(["list", "--server", "http://127.0.0.1:1"]).env("HASHMESH_API_KEY", mistyped);
    let ended = ended.run().await.exits(2);
    assert!(ended.stderr.contains("not an API key") && !ended.stderr.contains("SECRET"), "{}", ended.stderr);
    let ended = hashmesh(["list", "--api-key", "@/no/such/file"]).run().await.exits(2);
    assert!(ended.stderr.contains("/no/such/file"), "{}", ended.stderr);
}

#[tokio::test]
async fn what_others_can_reach_is_not_served_unencrypted_unless_asked_for() {
    let directory = rundir::directory("reachable");
    let data = directory.to_str().expect("UTF-8");
    let up = ["up", "--data-dir", data, "--listen", "0.0.0.0:0", "--admin-listen", "127.0.0.1:0"];
    let ended = hashmesh(up).run().await.exits(1);
    assert!(ended.stderr.contains("--insecure") && ended.stderr.contains("encrypted"), "{}", ended.stderr);
    let gateway = ["gateway", "--listen", "0.0.0.0:0", "--queue", "http://127.0.0.1:1", "--hash", "http://127.0.0.1:1"];
    let ended = hashmesh(gateway).run().await.exits(1);
    assert!(ended.stderr.contains("--insecure"), "{}", ended.stderr);
}
