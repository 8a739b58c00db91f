//! A real Prometheus of a test's own, and `promtool`.

use std::{collections::BTreeMap, fs};

use serde_json::Value;

use super::{
    cli::{Run, program},
    mesh::own_host,
    process::{Process, Spawn},
    reflect::path_with_tools,
    rundir,
    wait::{PATIENCE, until, until_value},
};

/// Each has a host of its own. Not the usual one: a Prometheus of the machine has it on all hosts.
const PORT: u16 = 7490;

/// Gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Prometheus {
    pub(crate) process: Process,
    host: String,
}

/// What `/api/v1/alerts` says of one.
#[derive(Clone, Debug)]
pub(crate) struct Alert {
    pub(crate) name: String,
    /// `pending` or `firing`.
    pub(crate) state: String,
    pub(crate) labels: BTreeMap<String, String>,
}

impl Prometheus {
    /// Starts one with this configuration and waits until it is ready. The rules are a file beside it, `rules.yml`, which a
    /// configuration without `rule_files` gets to know. How often it reads and evaluates is the configuration's to say: if it does
    /// not, once a minute.
    pub(crate) async fn start(name: &str, config: &str, rules: Option<&str>) -> Self {
        let (directory, host) = (rundir::directory(name), own_host());
        let mut config = config.to_owned();
        if let Some(rules) = rules {
            fs::write(directory.join("rules.yml"), rules).expect("a file");
            if !config.lines().any(|line| line.starts_with("rule_files:")) {
                config.push_str("\nrule_files: [rules.yml]\n");
            }
        }
        fs::write(directory.join("prometheus.yml"), config).expect("a file");
        let listen = format!("--web.listen-address={host}:{PORT}");
        let arguments = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", &listen];
        let process = Spawn::program("prometheus", "prometheus", &directory, arguments)
            .env(&[("PATH".to_owned(), path_with_tools())])
            .start();
        let mut prometheus = Self { process, host };
        until("Prometheus to be ready", PATIENCE, async || {
            let ended = prometheus.process.exited();
            assert!(ended.is_none(), "Prometheus ended with {ended:?} and said:\n{}", prometheus.process.log());
            let url = format!("{}/-/ready", prometheus.url());
            (curl(&[&url]).run().await.code == Some(0)).then_some(())
        })
        .await;
        prometheus
    }

    /// `http://HOST:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}:{PORT}", self.host)
    }

    /// What an expression is now: labels and value of each series. A scalar has no labels.
    pub(crate) async fn query(&self, expression: &str) -> Vec<(BTreeMap<String, String>, f64)> {
        let data = self.get("query", &["--data-urlencode", &format!("query={expression}")]).await;
        let number = |sample: &Value| -> f64 { sample[1].as_str().expect("a value").parse().expect("a number") };
        if data["resultType"] == "scalar" {
            return vec![(BTreeMap::new(), number(&data["result"]))];
        }
        assert_eq!(data["resultType"], "vector", "{expression}");
        let series = data["result"].as_array().expect("a list").iter();
        series.map(|series| (labels(&series["metric"]), number(&series["value"]))).collect()
    }

    /// Those that are pending or firing.
    pub(crate) async fn alerts(&self) -> Vec<Alert> {
        let data = self.get("alerts", &[]).await;
        let alerts = data["alerts"].as_array().expect("a list").iter();
        let parse = |alert: &Value| {
            let labels = labels(&alert["labels"]);
            let state = alert["state"].as_str().expect("a state").to_owned();
            Alert { name: labels["alertname"].clone(), state, labels }
        };
        alerts.map(parse).collect()
    }

    /// Waits until every target of the configuration has been read without an error, and says how many each job has.
    pub(crate) async fn targets_up(&self) -> BTreeMap<String, usize> {
        let ask = async || {
            let data = self.get("targets", &["--data-urlencode", "state=active"]).await;
            let targets = data["activeTargets"].as_array().expect("a list").iter();
            let text = |value: &Value| value.as_str().expect("text").to_owned();
            let parse = |target: &Value| {
                let [job, health, error] =
                    [&target["labels"]["job"], &target["health"], &target["lastError"]].map(text);
                (job, health, error)
            };
            targets.map(parse).collect::<Vec<_>>()
        };
        // Some seconds after its start it does not know any.
        let all_up = |targets: &Vec<_>| !targets.is_empty() && targets.iter().all(|(_, health, _)| health == "up");
        let mut jobs = BTreeMap::new();
        for (job, ..) in until_value("all targets to be up", PATIENCE, ask, all_up).await {
            *jobs.entry(job).or_default() += 1;
        }
        jobs
    }

    /// `data` of an answer of its API.
    async fn get(&self, path: &str, parameters: &[&str]) -> Value {
        let url = format!("{}/api/v1/{path}", self.url());
        let mut answer = curl(&[&["--get"], parameters, &[&url]].concat()).run().await.succeeded().json();
        answer["data"].take()
    }
}

/// `promtool ARGUMENTS`: `check rules FILE`, `check config FILE`, `check metrics` of standard input, `test rules FILE`.
pub(crate) fn promtool<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Run {
    program("promtool", arguments).env("PATH", &path_with_tools())
}

fn curl(arguments: &[&str]) -> Run {
    let usual = ["--silent", "--show-error", "--fail-with-body", "--noproxy", "*", "--max-time", "10"];
    program("curl", usual.iter().chain(arguments))
}

fn labels(value: &Value) -> BTreeMap<String, String> {
    let pairs = value.as_object().expect("labels").iter();
    pairs.map(|(name, value)| (name.clone(), value.as_str().expect("text").to_owned())).collect()
}
