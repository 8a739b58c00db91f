//! What stands in `observability/` is whole and true: rules, their tests, the runbook and the dashboards name what there is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use hashmesh::{
    gateway::v1::{ComputeDigestRequest, GetStatsRequest},
    v1::{Algorithm, SubmissionState},
};
use serde_json::Value;

use crate::support::{
    Gateway, Up,
    cli::{hashmesh, program},
    prometheus::promtool,
    raw::{file, inline, rows},
    redis::Redis,
    rundir,
};

/// Metrics that only a mesh with replicas or with certificates has.
const NOT_HERE: [&str; 3] =
    ["hashmesh_queue_replica_lag_seconds", "hashmesh_queue_replica_used", "hashmesh_certificate_expiry_seconds"];

pub(super) fn observability() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../observability").canonicalize().expect("it is there")
}

pub(super) fn read(path: &str) -> String {
    fs::read_to_string(observability().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands after this at the beginning of a line.
fn named<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    text.lines().filter_map(|line| line.trim_start().strip_prefix(prefix)).collect()
}

#[tokio::test]
async fn promtool_takes_configurations_and_rules_and_their_tests_pass() {
    let path = |name: &str| observability().join("prometheus").join(name).to_string_lossy().into_owned();
    for arguments in [
        ["check", "config", &path("prometheus.yml")],
        ["check", "config", &path("up.yml")],
        ["check", "rules", &path("rules.yaml")],
        ["test", "rules", &path("rules.test.yaml")],
    ] {
        promtool(arguments).run().await.succeeded();
    }
}

#[test]
fn every_alert_has_a_test_in_which_it_fires_and_a_section_of_the_runbook() {
    let (rules, tests, runbook) =
        (read("prometheus/rules.yaml"), read("prometheus/rules.test.yaml"), read("RUNBOOK.md"));
    let alerts = named(&rules, "- alert: ");
    assert!(alerts.len() > 40, "{alerts:?}");
    assert_eq!(alerts, named(&runbook, "### "));
    for alert in alerts {
        let link = format!("runbook: observability/RUNBOOK.md#{}\n", alert.to_lowercase());
        assert!(rules.contains(&link), "{alert} has no {link}");
        let expected = format!("{{labels: '{{alertname=\"{alert}\", severity=");
        let fires = |line: &str| line.contains(&expected) && line.contains("value: ") && !line.contains("value: 0");
        assert!(tests.lines().any(fires), "no test expects {alert} to fire");
    }
    let severities = named(&rules, "labels: ");
    assert_eq!(severities, BTreeSet::from(["{severity: page}", "{severity: ticket}"]));
}

#[tokio::test]
async fn dashboards_are_what_their_program_writes_and_prometheus_understands_them() {
    let directory = rundir::directory("dashboards");
    let written = directory.join("written");
    let made = program("python3", [observability().join("grafana/dashboards.py"), written.clone()]);
    made.run().await.succeeded();
    assert_eq!(files(&observability().join("grafana/dashboards")), files(&written), "make dashboards writes others");

    let mut queries = "groups:\n  - name: dashboards\n    rules:\n".to_owned();
    for (number, query) in queries_of_dashboards().iter().enumerate() {
        let query = Value::from(query.replace("$__rate_interval", "1m"));
        queries.push_str(&format!("      - {{record: \"query:{number}\", expr: {query}}}\n"));
    }
    let path = directory.join("queries.yaml");
    fs::write(&path, queries).expect("a file");
    promtool(["check", "rules", &path.to_string_lossy()]).run().await.succeeded();
}

/// Contents by name.
fn files(directory: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let content = |path: PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, fs::read_to_string(&path).expect("text"))
    };
    entries.map(|entry| content(entry.expect("an entry").path())).collect()
}

/// What the panels of all dashboards ask for. Each panel says what it shows, and asks whom the user has chosen.
fn queries_of_dashboards() -> Vec<String> {
    let mut queries = Vec::new();
    for (name, text) in files(&observability().join("grafana/dashboards")) {
        let dashboard: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        for panel in dashboard["panels"].as_array().expect("panels").iter().filter(|panel| panel["type"] != "row") {
            assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{name}: {}", panel["title"]);
            for target in panel["targets"].as_array().expect("targets") {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{name}: {}", panel["title"]);
                queries.push(target["expr"].as_str().expect("an expression").to_owned());
            }
        }
    }
    assert!(queries.len() > 80, "{} queries", queries.len());
    queries
}

#[tokio::test]
async fn every_metric_that_rules_and_dashboards_name_is_one_that_a_mesh_has() {
    let directory = rundir::directory("observed-sources");
    let redis = Redis::start("observed-redis").await;
    let options = ["--redis-url", &redis.url(), "--allow-source", &directory.to_string_lossy()];
    let up = Up::start("observed", &options).await;
    let mut gateway = Gateway::connect(&up.server).await;
    let (mut stream, opened) = gateway.open_new().await;
    // One that is digested, and one that cannot be read.
    stream.batch(0, rows(vec![inline("a", "a"), file("absent", &directory.join("absent"))])).await;
    stream.seal(1).await;
    stream.finish();
    stream.end().await.1.expect("it ends well");
    let end = gateway.reaches(&opened.submission_id, SubmissionState::Completed).await;
    assert_eq!((end.succeeded_tasks, end.failed_tasks), (1, 1), "{end:?}");
    gateway.get_stats(GetStatsRequest {}).await.expect("an answer");
    let algorithms = vec![Algorithm::Sha256.into()];
    let digest = ComputeDigestRequest { data: "a".into(), algorithms, ..ComputeDigestRequest::default() };
    gateway.compute_digest(digest).await.expect("a digest");

    let url = format!("http://{}/metrics", up.admin);
    let page = program("curl", ["--silent", "--fail", "--noproxy", "*", &url]).run().await.succeeded().text();
    let series = page.lines().filter(|line| !line.starts_with('#'));
    let mut known: BTreeSet<&str> = series.filter_map(|line| line.split(['{', ' ']).next()).collect();
    let documented = hashmesh_runtime::metrics::table();
    for name in NOT_HERE {
        assert!(documented.contains(name), "{name}");
        known.insert(name);
    }

    let rules = read("prometheus/rules.yaml");
    let recorded = named(&rules, "- record: ");
    let rules: Vec<&str> = rules.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let texts = [rules.join("\n"), queries_of_dashboards().join("\n")];
    let words = texts.iter().flat_map(|text| text.split(|c: char| !(c.is_ascii_alphanumeric() || "_:".contains(c))));
    let (mut metrics, mut unknown) = (0, BTreeSet::new());
    for word in words {
        let found = if word.starts_with("hashmesh_") {
            metrics += 1;
            known.contains(word)
        } else {
            !word.starts_with("hashmesh:") || recorded.contains(word)
        };
        if !found {
            unknown.insert(word);
        }
    }
    assert!(metrics > 100, "{metrics} names were found");
    assert!(unknown.is_empty(), "no mesh has {unknown:?}");
}

#[tokio::test]
async fn the_table_of_metrics_is_what_the_program_says() {
    let table = hashmesh(["explain", "metrics"]).run().await.succeeded().text();
    assert!(table == read("METRICS.md"), "observability/METRICS.md is not what the catalogue says: run make metrics");
}
