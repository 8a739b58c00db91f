//! Alerts fire when what they are about happens, and end with it: a real Prometheus reads real processes, of which some are
//! killed, stopped or kept from their work.
//!
//! The rules are those of `observability/`, made fast enough to be waited for.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hashmesh::{
    gateway::v1::{GetCapabilitiesRequest, ListSubmissionsRequest},
    v1::SubmissionState,
};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::rules::read;
use crate::support::{
    Gateway, Mesh, MeshOptions, Role, SubmitStream,
    prometheus::{Alert, Prometheus},
    raw::packed,
    redis::Redis,
    rundir,
    wait::{PATIENCE, until, until_value},
};

/// Between two calls of a caller: many in a window, and other tests have their CPU.
const PACE: Duration = Duration::from_millis(10);
/// Tasks of a batch.
const TASKS: usize = 100;

/// The rules with windows of 10 s, without patience, and with a second for what may be old.
fn fast_rules() -> String {
    let rules = read("prometheus/rules.yaml");
    let age = "hashmesh_queue_oldest_ready_seconds > ";
    assert!(rules.contains(&format!("{age}600")), "OldestTaskWaits has another age");
    let fast = rules.lines().map(|line| {
        let indent = line.len() - line.trim_start().len();
        if line.trim_start().starts_with("for: ") { format!("{:indent$}for: 1s", "") } else { line.to_owned() }
    });
    let mut fast = fast.collect::<Vec<_>>().join("\n").replace(&format!("{age}600"), &format!("{age}1"));
    for window in ["[2m]", "[5m]", "[15m]", "[1h]", "[1d]"] {
        fast = fast.replace(window, "[10s]");
    }
    let windows = fast.split('[').filter(|text| text.starts_with(|c: char| c.is_ascii_digit()));
    for window in windows.filter_map(|text| text.split(']').next()) {
        assert_eq!(window, "10s", "a window that this test does not know");
    }
    fast
}

/// A Prometheus that has read all of these, each a role and a process, and has computed its rules of them.
async fn watch(name: &str, processes: &[(&str, &Role)]) -> Prometheus {
    let mut config = "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n".to_owned();
    config.push_str("scrape_configs:\n  - job_name: mesh\n    static_configs:\n");
    for (job, role) in processes {
        // Writing to a string does not fail.
        let _ = writeln!(config, "      - {{targets: [\"{}\"], labels: {{job: {job}}}}}", role.admin);
    }
    let prometheus = Prometheus::start(name, &config, Some(&fast_rules())).await;
    let found: usize = prometheus.targets_up().await.values().sum();
    assert_eq!(found, processes.len());
    let computed = async || prometheus.query("hashmesh:process_memory:ratio").await.len();
    until_value("the rules to be computed", PATIENCE, computed, |count| *count == found).await;
    prometheus
}

/// The processes of a mesh with their roles.
fn processes(mesh: &Mesh) -> Vec<(&'static str, &Role)> {
    let mut all = vec![("gateway", &mesh.gateway), ("queue", &mesh.queue), ("hash", &mesh.hash)];
    all.extend(mesh.workers.iter().map(|worker| ("worker", worker)));
    all
}

/// Waits until an expression is at least this much.
async fn reaches(prometheus: &Prometheus, expression: &str, least: f64) {
    let ask = async || prometheus.query(expression).await;
    until_value(expression, PATIENCE, ask, |series| series.iter().any(|(_, value)| *value >= least)).await;
}

async fn firing(prometheus: &Prometheus) -> Vec<Alert> {
    let mut alerts = prometheus.alerts().await;
    alerts.retain(|alert| alert.state == "firing");
    alerts
}

/// None of these fires.
async fn assert_quiet(prometheus: &Prometheus, names: &[&str]) {
    let alerts = firing(prometheus).await;
    assert!(!alerts.iter().any(|alert| names.contains(&alert.name.as_str())), "{alerts:?}");
}

/// Waits until none of these fires any more.
async fn end(prometheus: &Prometheus, names: &[&str]) {
    let none = |alerts: &Vec<Alert>| !alerts.iter().any(|alert| names.contains(&alert.name.as_str()));
    until_value(&format!("{names:?} to end"), PATIENCE, async || firing(prometheus).await, none).await;
}

/// Waits until it fires, for this role and with this severity.
async fn fires(prometheus: &Prometheus, name: &str, job: &str, severity: &str) {
    let ask = async || firing(prometheus).await;
    let wanted = |alert: &Alert| {
        let label = |key: &str| alert.labels.get(key).map(String::as_str);
        alert.name == name && label("job") == Some(job) && label("severity") == Some(severity)
    };
    until_value(&format!("{name} of {job}"), PATIENCE, ask, |alerts| alerts.iter().any(wanted)).await;
}

/// Sends a batch that is accepted and not sealed.
async fn accepted_batch(mesh: &Mesh) -> (SubmitStream, String) {
    let (mut stream, opened) = mesh.connect().await.open_new().await;
    stream.batch(0, packed(vec!["input"; TASKS])).await;
    stream.accepted(0).await;
    (stream, opened.submission_id)
}

/// Seals it and waits until all of it is done.
async fn completes(mesh: &Mesh, mut stream: SubmitStream, submission_id: &str) {
    stream.seal(1).await;
    stream.finish();
    stream.end().await.1.expect("it ends well");
    let end = mesh.connect().await.reaches(submission_id, SubmissionState::Completed).await;
    assert_eq!(end.succeeded_tasks, TASKS as u64);
}

/// Callers that go on until this is dropped.
struct Load {
    begun: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    _callers: Vec<AbortOnDropHandle<()>>,
}

impl Load {
    /// So many callers of one Gateway.
    fn start<F, C>(gateway: &Gateway, callers: usize, call: C) -> Self
    where
        F: Future<Output = Result<(), Status>> + Send,
        C: Fn(Gateway) -> F + Copy + Send + 'static,
    {
        let (begun, failed) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let caller = || {
            let (gateway, begun, failed) = (gateway.clone(), Arc::clone(&begun), Arc::clone(&failed));
            AbortOnDropHandle::new(tokio::spawn(async move {
                let mut pace = interval(PACE);
                pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    pace.tick().await;
                    begun.fetch_add(1, Ordering::Relaxed);
                    if call(gateway.clone()).await.is_err() {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }))
        };
        let callers = (0..callers).map(|_| caller()).collect();
        Self { begun, failed, _callers: callers }
    }

    fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Waits until so many more calls were begun.
    async fn goes_on(&self, more: u64) {
        let wanted = self.begun() + more;
        until("calls", PATIENCE, async || (self.begun() >= wanted).then_some(())).await;
    }
}

async fn list(mut gateway: Gateway) -> Result<(), Status> {
    gateway.list_submissions(ListSubmissionsRequest::default()).await.map(drop)
}

async fn ask(mut gateway: Gateway) -> Result<(), Status> {
    gateway.get_capabilities(GetCapabilitiesRequest {}).await.map(drop)
}

#[tokio::test]
async fn a_killed_worker_is_told_and_that_nobody_is_there_for_what_is_ready() {
    let mut mesh = Mesh::start("alerts-killed", MeshOptions::default()).await;
    let prometheus = watch("alerts-killed-prometheus", &processes(&mesh)).await;
    let names = ["TargetDown", "NoWorkers", "RoleNotReady", "QueueNotOwned"];
    let (stream, id) = accepted_batch(&mesh).await;
    completes(&mesh, stream, &id).await;
    reaches(&prometheus, "sum(hashmesh_queue_recorded_tasks_total)", TASKS as f64).await;
    reaches(&prometheus, "sum(hashmesh_queue_workers)", 1.0).await;
    assert_quiet(&prometheus, &names).await;

    mesh.workers[0].process.kill();
    let (stream, id) = accepted_batch(&mesh).await;
    fires(&prometheus, "TargetDown", "worker", "page").await;
    fires(&prometheus, "NoWorkers", "queue", "page").await;

    mesh.workers[0].restart().await;
    completes(&mesh, stream, &id).await;
    end(&prometheus, &names).await;
}

#[tokio::test]
async fn tasks_that_a_stopped_worker_does_not_take_grow_old() {
    let mesh = Mesh::start("alerts-old", MeshOptions::default()).await;
    let prometheus = watch("alerts-old-prometheus", &processes(&mesh)).await;
    let names = ["OldestTaskWaits"];
    let (stream, id) = accepted_batch(&mesh).await;
    completes(&mesh, stream, &id).await;
    reaches(&prometheus, "sum(hashmesh_queue_recorded_tasks_total)", TASKS as f64).await;
    assert_quiet(&prometheus, &names).await;

    mesh.workers[0].process.freeze();
    let (stream, id) = accepted_batch(&mesh).await;
    // What it was given before it was missed is ready again after some seconds.
    fires(&prometheus, "OldestTaskWaits", "queue", "ticket").await;
    reaches(&prometheus, "sum(hashmesh_queue_ready_tasks)", TASKS as f64).await;

    mesh.workers[0].process.thaw();
    completes(&mesh, stream, &id).await;
    end(&prometheus, &names).await;
}

#[tokio::test]
async fn a_redis_that_is_gone_is_told_and_that_gateways_count_alone() {
    let mut redis = Redis::start("alerts-redis").await;
    let mesh = Mesh::start("alerts-redis-mesh", MeshOptions { workers: 0, ..MeshOptions::default() }).await;
    // Whether they count together, not how soon: these tests share two CPUs with all others.
    let options = ["--redis-url", &redis.url(), "--redis-timeout", "1s", "--database-url", &mesh.database.url];
    let options = options.map(str::to_owned).to_vec();
    let mut cache = Role::start("cache", "cache", options, &[], rundir::directory("alerts-redis-cache")).await;
    cache.ready().await;
    let cache_url = cache.url();
    let environment = [
        ("HASHMESH_CACHE_URL", cache_url.as_str()),
        ("HASHMESH_CACHE_TIMEOUT", "1s"),
        ("HASHMESH_LIMITS", "on"),
        ("HASHMESH_LIMIT_PER_ADDRESS", "1000000"),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let limiting = mesh.further_gateway("limiting-gateway", &environment).await;
    let prometheus = watch("alerts-redis-prometheus", &[("gateway", &limiting), ("cache", &cache)]).await;
    let names = ["RedisDown", "LimitsCountedAlone"];

    let load = Load::start(&Gateway::connect(&limiting.url()).await, 2, ask);
    reaches(&prometheus, r#"sum(hashmesh_gateway_limit_counts_total{place="shared"})"#, 100.0).await;
    reaches(&prometheus, "sum(hashmesh_cache_redis_up)", 1.0).await;
    assert_quiet(&prometheus, &names).await;

    redis.kill();
    fires(&prometheus, "RedisDown", "cache", "ticket").await;
    fires(&prometheus, "LimitsCountedAlone", "gateway", "ticket").await;
    load.goes_on(100).await;

    redis.restart().await;
    end(&prometheus, &names).await;
    // Nothing of it was a client's trouble.
    assert_eq!(load.failed(), 0, "of {} calls", load.begun());
}

#[tokio::test]
async fn callers_that_wait_for_connections_are_told() {
    let mesh = Mesh::start("alerts-pool", MeshOptions { workers: 0, ..MeshOptions::default() }).await;
    let prometheus = watch("alerts-pool-prometheus", &processes(&mesh)).await;
    let names = ["PoolExhausted", "PoolNearlyExhausted", "PoolRefuses"];
    let gateway = mesh.connect().await;
    list(gateway.clone()).await.expect("a list");
    reaches(&prometheus, r#"sum(hashmesh_db_pool_callers_total{result="at_once"})"#, 1.0).await;
    assert_quiet(&prometheus, &names).await;

    let lock = mesh.database.client().await;
    lock.batch_execute("BEGIN; LOCK TABLE submissions IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    let load = Load::start(&gateway, 40, list);
    load.goes_on(40).await;
    fires(&prometheus, "PoolExhausted", "queue", "page").await;
    fires(&prometheus, "PoolNearlyExhausted", "queue", "ticket").await;

    lock.batch_execute("ROLLBACK").await.expect("no longer locked");
    drop(load);
    until("a list", PATIENCE, async || list(gateway.clone()).await.ok()).await;
    end(&prometheus, &names).await;
}

#[tokio::test]
async fn calls_that_fail_because_the_queue_is_gone_are_told() {
    let mut mesh = Mesh::start("alerts-errors", MeshOptions { workers: 0, ..MeshOptions::default() }).await;
    let prometheus = watch("alerts-errors-prometheus", &processes(&mesh)).await;
    let names = ["ErrorRateHigh", "ErrorRateCritical", "BreakerOpen", "TargetDown"];
    let load = Load::start(&mesh.connect().await, 4, list);
    reaches(&prometheus, r#"sum(hashmesh:rpc_server_calls:rate5m{job="gateway", code="OK"})"#, 1.0).await;
    assert_eq!(load.failed(), 0);
    assert_quiet(&prometheus, &names).await;

    mesh.queue.process.kill();
    fires(&prometheus, "ErrorRateCritical", "gateway", "page").await;
    fires(&prometheus, "ErrorRateHigh", "gateway", "ticket").await;
    fires(&prometheus, "BreakerOpen", "gateway", "page").await;
    fires(&prometheus, "TargetDown", "queue", "page").await;
    assert!(load.failed() > 0);

    mesh.queue.restart().await;
    mesh.queue.ready().await;
    load.goes_on(100).await;
    end(&prometheus, &names).await;
}
