//! The command's names and shapes that scripts rely on.

use std::fs;

use serde_json::json;

use crate::support::{
    Database, Up,
    cli::{Run, hashmesh, program},
    oracle::sha256_hex,
    rundir, shared,
};

async fn verb(arguments: &[&str]) -> Run {
    hashmesh(arguments).env("HASHMESH_SERVER", &shared::up().await.server)
}

fn new_key() -> String {
    format!("cli-{:032x}", rand::random::<u128>())
}

#[tokio::test]
async fn lines_are_tasks_and_jsonl_has_exactly_one_object_per_task() {
    let submit = ["submit", "--output", "jsonl", "--algorithm", "md5", "--algorithm", "sha256", "--lines", "-"];
    let ended = verb(&submit).await.stdin("first\n\nthird \r\nlast without a line feed").run().await.succeeded();
    let mut lines = ended.json_lines();
    let positions: Vec<u64> = lines.iter().map(|line| line["position"].as_u64().expect("a position")).collect();
    assert_eq!(positions, [1, 2, 3, 4]);
    lines.sort_by_key(|line| line["name"].as_str().map(str::to_owned));
    for (line, (name, input)) in
        lines.iter().zip([("1", "first"), ("2", ""), ("3", "third \r"), ("4", "last without a line feed")])
    {
        let object = line.as_object().expect("an object");
        let mut keys: Vec<&str> = object.keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["digests", "name", "outcome", "position", "size"]);
        assert_eq!(line["size"], input.len());
        assert_eq!((line["name"].as_str(), line["outcome"].as_str()), (Some(name), Some("succeeded")));
        let digests = line["digests"].as_object().expect("an object");
        assert_eq!(digests.keys().collect::<Vec<_>>(), ["md5", "sha256"]);
        assert_eq!(digests["sha256"].as_str(), Some(sha256_hex(input.as_bytes()).as_str()));
    }
    assert!(!ended.stderr.is_empty(), "the summary goes to standard error");
}

#[tokio::test]
async fn a_failed_task_has_an_error_and_the_exit_code_is_1() {
    let directory = shared::source_root().join(new_key());
    fs::create_dir(&directory).expect("a directory");
    let name = std::ffi::OsString::from(String::from("fine"));
    fs::write(directory.join(&name), "fine").expect("a file");
    let raw: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff");
    fs::write(directory.join(raw), "raw").expect("a file");
    let ended = verb(&["submit", "--output", "jsonl"]).await.arg(&directory).run().await.succeeded();
    let lines = ended.json_lines();
    let raw = lines.iter().find_map(|line| line["raw_name_base64"].as_str()).expect("a name that is not UTF-8");
    let raw = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, raw).expect("base64");
    assert!(raw.ends_with(b"/\xff"), "{raw:?}");
    assert_eq!(lines.len(), 2);

    let manifest = format!("{}  {}/fine\n{0}  {1}/gone\n", sha256_hex(b"fine"), directory.display());
    let ended =
        verb(&["verify", "--by-reference", "--output", "jsonl", "-"]).await.stdin(manifest).run().await.exits(1);
    let failed = ended.json_lines().into_iter().find(|line| line["outcome"] == "failed");
    if let Some(failed) = failed {
        assert!(failed["error"]["reason"].is_string() && failed["error"]["message"].is_string(), "{failed}");
    }
    assert!(format!("{}{}", ended.text(), ended.stderr).contains("gone"));
}

#[tokio::test]
async fn a_rerun_with_its_key_prints_the_same_and_submits_nothing_new() {
    let key = new_key();
    let submit = ["submit", "--idempotency-key", &key, "--output", "jsonl", "--lines", "-"];
    let lines: String = (0..2_500).map(|line| format!("line {line}\n")).collect();
    let first = verb(&submit).await.stdin(lines.clone()).run().await.succeeded();
    let again = verb(&submit).await.stdin(lines.clone()).run().await.succeeded();
    assert_eq!(first.json_lines().len(), 2_500);
    assert_eq!(first.text(), again.text());
    let id = |ended: &str| ended.lines().find_map(|line| line.strip_prefix("hashmesh: submission ").map(str::to_owned));
    assert_eq!(id(&first.stderr).expect("it says which"), id(&again.stderr).expect("it says which"));

    // Under the same key other options are a conflict: 64 + ALREADY_EXISTS.
    let other = ["submit", "--idempotency-key", &key, "--algorithm", "md5", "--lines", "-"];
    verb(&other).await.stdin(lines).run().await.exits(70);
}

#[tokio::test]
async fn a_detached_submission_is_found_again_by_its_id() {
    let ended = verb(&["submit", "--detach", "--lines", "-"]).await.stdin("a\nb\nc\n").run().await.succeeded();
    let id = ended.text().trim().to_owned();
    let results = verb(&["results", &id, "--follow", "--output", "jsonl"]).await.run().await.succeeded();
    assert_eq!(results.json_lines().len(), 3);
    let after = verb(&["results", &id, "--after", "2", "--output", "jsonl"]).await.run().await.succeeded();
    assert_eq!(after.json_lines(), results.json_lines()[2..]);
    let resumed = verb(&["submit", "--id", &id, "--output", "jsonl", "--lines", "-"]).await;
    let resumed = resumed.stdin("a\nb\nc\n").run().await.succeeded();
    assert_eq!(resumed.text(), results.text());

    let get = verb(&["get", &id, "--output", "json"]).await.run().await.succeeded().json();
    assert_eq!(get["submission_id"], json!(id), "{get}");
    assert_eq!(get["state"], "completed", "{get}");
    let watched = verb(&["watch", &id]).await.run().await.succeeded();
    assert!(watched.text().contains("completed"), "{}", watched.text());
    let listed = verb(&["list", "--limit", "1000", "--output", "jsonl"]).await.run().await.succeeded();
    assert!(listed.json_lines().iter().any(|line| line["submission_id"] == json!(id)));
    // Completed: 64 + FAILED_PRECONDITION.
    verb(&["cancel", &id]).await.run().await.exits(73);
    verb(&["retry", &id]).await.run().await.exits(73);
    let stats = verb(&["stats", "--output", "json"]).await.run().await.succeeded().json();
    assert!(stats.is_object());
}

#[tokio::test]
async fn exit_codes_say_what_kind_of_failure_it_was() {
    verb(&["no-such-verb"]).await.run().await.exits(2);
    verb(&["submit"]).await.run().await.exits(2);
    verb(&["submit", "--no-such-flag", "x"]).await.run().await.exits(2);
    verb(&["submit", "--algorithm", "sha257", "-"]).await.run().await.exits(2);
    verb(&["submit", "/no/such/file"]).await.run().await.exits(1);
    // NOT_FOUND, INVALID_ARGUMENT.
    verb(&["get", "01890a5d-ac96-774b-bcce-b302099a8057"]).await.run().await.exits(69);
    verb(&["get", "garbage"]).await.run().await.exits(67);
    // Nobody listens on port 1; UNAVAILABLE once the patience is over.
    let alone =
        ["get", "--server", "http://127.0.0.1:1", "--retry-for", "300ms", "01890a5d-ac96-774b-bcce-b302099a8057"];
    hashmesh(alone).run().await.exits(78);
    verb(&["--version"]).await.run().await.succeeded();
    verb(&["submit", "--help"]).await.run().await.succeeded();
}

#[tokio::test]
async fn config_prints_every_value_with_its_origin_and_a_database_url_that_psql_can_use() {
    let up = shared::up().await;
    let data_dir = up.data_dir();
    let ended = hashmesh(["config", "--output", "json", "--data-dir"]).arg(&data_dir).run().await.succeeded();
    let settings = ended.json();
    for (key, setting) in settings.as_object().expect("an object") {
        let fields: Vec<&String> = setting.as_object().expect("an object").keys().collect();
        assert_eq!(fields, ["origin", "value"], "{key}");
    }
    assert!(settings["data_dir"]["origin"].as_str().expect("a text").contains("--data-dir"));
    let by_server = hashmesh(["config", "--output", "json", "--server", &up.server]).run().await.succeeded().json();
    assert_eq!(by_server["database_url"]["value"], settings["database_url"]["value"]);
    let from_environment = hashmesh(["config", "--output", "json"])
        .env("DATABASE_URL", "postgresql://u@h/d")
        .run()
        .await
        .succeeded()
        .json();
    assert_eq!(from_environment["database_url"]["value"], "postgresql://u@h/d");
    assert!(from_environment["database_url"]["origin"].as_str().expect("a text").contains("DATABASE_URL"));

    let url = settings["database_url"]["value"].as_str().expect("a URL");
    let query = "SELECT status, COUNT(*) FROM tasks GROUP BY status";
    program("psql", ["--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-c", query, url]).run().await.succeeded();
}

#[tokio::test]
async fn a_bench_prints_the_agreed_fields() {
    let bench = ["bench", "--tasks", "20000", "--size", "64", "--batch", "1000", "--streams", "2", "--output", "json"];
    let report = verb(&bench).await.run().await.succeeded().json();
    for field in ["seconds", "durable_tasks_per_second", "bytes_per_second", "wal_bytes_per_task"] {
        assert!(report[field].as_f64().is_some_and(|value| value > 0.0), "{field}: {report}");
    }
    assert_eq!(report["tasks"], json!(20_000));
    assert!(report["submit_to_result_ms"]["p50"].is_number() && report["submit_to_result_ms"]["p99"].is_number());
}

#[tokio::test]
async fn a_second_up_on_a_data_directory_is_refused() {
    let up = shared::up().await;
    let data_dir = up.data_dir();
    let second = hashmesh(["up", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data_dir).run().await.exits(1);
    assert!(second.stderr.contains("another `hashmesh up`"), "{}", second.stderr);
}

#[tokio::test]
async fn migrate_brings_a_new_database_up_to_date_and_may_be_repeated() {
    let database = Database::create().await;
    for _ in 0..2 {
        hashmesh(["migrate", "--database-url", &database.url]).run().await.succeeded();
    }
    assert_eq!(database.value("SELECT count(*) FROM shards").await, "64");
}

#[tokio::test]
async fn what_up_prints_are_commands_that_work() {
    let up = shared::up().await;
    let banner = up.process().output();
    let lines: Vec<&str> = banner.lines().filter(|line| line.starts_with("grpcurl ")).collect();
    assert_eq!(lines.len(), 3, "{banner}");
    let directory = rundir::directory("banner");
    for line in lines {
        let path = crate::support::reflect::path_with_tools();
        program("sh", ["-c", line]).env("PATH", &path).in_directory(&directory).run().await.succeeded();
    }
}

#[tokio::test]
async fn an_up_on_a_named_postgres_starts_none_of_its_own() {
    let database = Database::create().await;
    let mut up = Up::start("named-postgres", &["--database-url", &database.url]).await;
    assert_eq!(up.database_url(), database.url);
    assert!(up.postgres_pid().is_none());
    let submit = hashmesh(["submit", "--server", &up.server, "--lines", "-"]).stdin("a\nb\n");
    assert_eq!(submit.run().await.succeeded().text().lines().count(), 2);
    assert_eq!(database.value("SELECT count(*) FROM tasks WHERE status = 'succeeded'").await, "2");
    assert!(up.terminate().await.success());
}
