//! `hashmesh top`: what a script reads, what a terminal shows, and that a terminal is left as it was found.

use serde_json::Value;

use crate::support::{
    Guarded, Up,
    cli::{Ended, hashmesh, program},
    process::{HASHMESH, Spawn},
    rundir, shared,
};

const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";
const HIDE: &str = "\x1b[?25l";
const SHOW: &str = "\x1b[?25h";
/// On every picture.
const PICTURE: &str = "queue     ready ";

/// Runs it on a terminal of 80 columns and 24 lines, on which these keys are pressed once there is a picture.
async fn on_a_terminal(name: &str, arguments: &str, keys: &str) -> Ended {
    let shown = rundir::directory(name).join("shown");
    let shown = shown.display();
    let top = format!("stty cols 80 rows 24; exec {HASHMESH} top {arguments}");
    let press =
        format!("for _ in $(seq 600); do grep -qs '{PICTURE}' {shown} && break; sleep 0.1; done; printf '{keys}'");
    let run = format!("({press}) | script -qefc '{top}' {shown}");
    // Without keys nobody waits for a picture.
    let run = if keys.is_empty() { format!("script -qefc '{top}' {shown} </dev/null") } else { run };
    program("bash", ["-c", &run]).env("TERM", "xterm").run().await
}

#[track_caller]
fn assert_restored(ended: &Ended) {
    let text = ended.text();
    let last = |code: &str| text.rfind(code).unwrap_or_else(|| panic!("{code:?} is missing in {text:?}"));
    assert!(last(ENTER) < last(LEAVE) && last(HIDE) < last(SHOW), "{text:?}");
}

#[tokio::test]
async fn an_object_per_interval_has_rates_and_all_that_stats_has() {
    let server = &shared::up().await.server;
    let lines: String = (0..1_000).map(|line| format!("line {line}\n")).collect();
    hashmesh(["submit", "--server", server, "--lines", "-"]).stdin(lines).run().await.succeeded();
    let top = ["top", "--server", server, "--count", "3", "--interval", "200ms", "--output", "jsonl"];
    let objects = hashmesh(top).run().await.succeeded().json_lines();
    assert_eq!(objects.len(), 3);
    for object in &objects {
        let rates = object["rates"].as_object().expect("rates");
        assert!(rates["seconds"].as_f64().expect("a number") > 0.0, "{object}");
        let negative = |rate: &Value| rate.as_f64().is_some_and(|rate| rate < 0.0);
        assert!(!rates.values().any(negative), "{object}");
        assert!(object["stats"]["database"]["pool_max"].as_u64().expect("a number") > 0, "{object}");
    }
    let phases = objects[2]["stats"]["queue"]["phases"].as_array().expect("phases");
    let names: Vec<&str> = phases.iter().filter_map(|phase| phase["phase"].as_str()).collect();
    assert_eq!(
        names,
        [
            "received_to_committed",
            "committed_to_leased",
            "leased_to_done",
            "done_to_recorded",
            "received_to_recorded",
            "lease_slack"
        ]
    );
    for phase in phases {
        assert!(phase["tasks"].as_u64().expect("a number") >= 1_000, "{phase}");
        let order = ["min_micros", "p50_micros", "p95_micros", "p99_micros", "max_micros"];
        let values = order.map(|field| phase[field].as_u64().expect("a number"));
        assert!(values.is_sorted(), "{phase}");
    }
}

#[tokio::test]
async fn into_a_pipe_it_writes_plain_blocks() {
    let server = &shared::up().await.server;
    let ended = hashmesh(["top", "--server", server, "--count", "2", "--interval", "100ms"]).run().await.succeeded();
    let text = ended.text();
    assert_eq!(text.matches("\nqueue     ready ").count(), 2, "{text}");
    assert!(text.contains("received to recorded") && text.contains("tasks/s"), "{text}");
    assert!(!text.contains(|one: char| one.is_control() && one != '\n'), "{text:?}");
}

#[tokio::test]
async fn a_terminal_is_left_as_it_was_found() {
    let server = &shared::up().await.server;
    let counted =
        on_a_terminal("top-counted", &format!("--server {server} --count 2 --interval 100ms"), "").await.succeeded();
    assert_restored(&counted);
    assert!(counted.text().contains(PICTURE), "{}", counted.text());
    assert_restored(&on_a_terminal("top-quit", &format!("--server {server}"), "q").await.succeeded());
    let ctrl_c = "\\003";
    assert_restored(&on_a_terminal("top-interrupted", &format!("--server {server}"), ctrl_c).await.exits(130));
    let guarded = &Guarded::shared().await.up.server;
    let refused = on_a_terminal("top-refused", &format!("--server {guarded}"), "").await.exits(80);
    assert_restored(&refused);
    let after = refused.text();
    let after = after.rsplit_once(LEAVE).expect("it is left").1;
    assert!(after.contains("hashmesh: error:") && after.contains("--api-key @FILE"), "{after:?}");
}

#[tokio::test]
async fn it_goes_on_while_the_mesh_is_away() {
    let mut up = Up::start("top-outage", &[]).await;
    let directory = rundir::directory("top");
    let arguments = ["top", "--server", &up.server, "--interval", "100ms", "--output", "jsonl"];
    let mut top = Spawn::hashmesh("top", &directory, arguments).start();
    let answered = |line: &str| line.contains("\"rates\":{");
    top.find_in_output("rates", |output| output.lines().any(answered).then_some(())).await;
    up.kill_with_postgres(true);
    let failed = |output: &str| {
        let line = output.lines().find(|line| line.contains("\"error\":"))?;
        serde_json::from_str::<Value>(line).ok()
    };
    let object = top.find_in_output("an error", failed).await;
    assert!(object["error"]["since"].is_string() && object["error"]["message"].is_string(), "{object}");
    up.restart().await;
    let back =
        |output: &str| output.lines().skip_while(|line| !line.contains("\"error\":")).any(answered).then_some(());
    top.find_in_output("rates again", back).await;
}

#[tokio::test]
async fn what_is_of_no_use_is_refused() {
    for interval in ["99ms", "61m", "soon"] {
        let ended = hashmesh(["top", "--interval", interval]).run().await.exits(2);
        assert!(ended.stderr.contains("--interval"), "{}", ended.stderr);
    }
    hashmesh(["top", "--output", "json"]).run().await.exits(2);
    hashmesh(["top", "--server", "http://127.0.0.1:1", "--retry-for", "300ms"]).run().await.exits(78);
    let guarded = &Guarded::shared().await.up.server;
    hashmesh(["top", "--server", guarded, "--count", "1"]).run().await.exits(80);
}
