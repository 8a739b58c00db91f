//! A real Envoy with the configuration of `envoy/`, on an address of its own.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use hashmesh_runtime::envoy::{LbStats, lb_stats};

use super::{
    cli::{hashmesh, program},
    mesh::own_host,
    process::{Process, Spawn},
    reflect::installed,
    rundir,
    wait::{PATIENCE, until},
};

/// Each has a host of its own, so the port is free.
const PORT: u16 = 7480;
/// How often its Gateways are asked for their health, instead of every 2 s.
pub(crate) const HEALTH_INTERVAL: Duration = Duration::from_millis(200);

/// The directory of the repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("it is there")
}

/// Where the program is.
pub(crate) fn program_path() -> PathBuf {
    installed("envoy")
}

/// Gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Envoy {
    spawn: Spawn,
    pub(crate) process: Process,
    directory: PathBuf,
    pub(crate) host: String,
}

impl Envoy {
    /// Starts one before these Gateways (`HOST:PORT`) and waits until it calls them healthy. `changes` are texts of the development
    /// configuration, and what stands there instead.
    pub(crate) async fn start(name: &str, gateways: &[String], changes: &[(&str, &str)]) -> Self {
        let directory = rundir::directory(name);
        let host = own_host();
        let admin = directory.join("admin.sock");
        let (admin, health) = (admin.to_string_lossy(), format!("interval: {}s", HEALTH_INTERVAL.as_secs_f64()));
        let address = format!("address: {host}, port_value: {PORT}");
        let ours = [
            ("address: 127.0.0.1, port_value: 7480", &*address),
            ("/tmp/hashmesh-envoy.sock", &*admin),
            // Both, the one without traffic too.
            ("interval: 2s", &*health),
            // Nobody is there either, but nobody else's tests are.
            ("address: 127.0.0.1, port_value: 4317", &*format!("address: {host}, port_value: 4317")),
            ("address: 127.0.0.1, port_value: 7460", &*format!("address: {host}, port_value: 7460")),
        ];
        // What a test says comes first: ours then finds it changed already.
        let changes = changes.iter().copied().chain(ours).collect::<Vec<_>>();
        Self::start_variant(directory, host, "envoy.dev.yaml", &changes, gateways).await
    }

    /// The same with another one of the files `envoy/envoy*.yaml`, and nothing changed but what is said.
    pub(crate) async fn start_variant(
        directory: PathBuf,
        host: String,
        file: &str,
        changes: &[(&str, &str)],
        gateways: &[String],
    ) -> Self {
        copy_changed(&repository().join("envoy"), &directory.join("envoy"), changes);
        let arguments =
            ["-c", &format!("envoy/{file}"), "--concurrency", "1", "--disable-hot-restart"].map(str::to_owned);
        let spawn = Spawn::program(program_path(), "envoy", &directory, arguments);
        set_gateways(&directory, gateways).await;
        let process = spawn.start();
        let mut envoy = Self { spawn, process, directory, host };
        envoy.serves().await;
        envoy.healthy(gateways).await;
        envoy
    }

    /// `http://HOST:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    pub(crate) fn address(&self) -> String {
        format!("{}:{PORT}", self.host)
    }

    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.directory.join("admin.sock")
    }

    /// What it says of its Gateways.
    pub(crate) async fn stats(&self) -> LbStats {
        lb_stats(&self.admin_socket()).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Calls and streams that a Gateway was given so far.
    pub(crate) async fn requests_to(&self, gateway: &str) -> u64 {
        let stats = self.stats().await;
        let found = stats.endpoints.iter().find(|endpoint| endpoint.address == gateway);
        found.unwrap_or_else(|| panic!("no {gateway}: {stats:?}")).requests
    }

    /// Changes which Gateways there are, as an operator does, and waits until they get calls.
    pub(crate) async fn set_gateways(&mut self, gateways: &[String]) {
        set_gateways(&self.directory, gateways).await;
        self.healthy(gateways).await;
    }

    /// Changes how it chooses among them, as an operator does, and waits until it does so.
    pub(crate) async fn set_policy(&self, policy: &str) {
        let file = self.directory.join("envoy/lb/gateway.dev.yaml");
        let arguments = ["lb", "policy", policy, "--file", &file.to_string_lossy()].map(str::to_owned);
        hashmesh(arguments).run().await.succeeded();
        until("Envoy to change its policy", PATIENCE, async || (self.stats().await.policy == policy).then_some(()))
            .await;
    }

    /// Waits until exactly these Gateways get calls.
    pub(crate) async fn healthy(&mut self, gateways: &[String]) {
        let mut wanted = gateways.to_vec();
        wanted.sort();
        until(&format!("Envoy to use {wanted:?}"), PATIENCE, async || {
            let Ok(stats) = lb_stats(&self.admin_socket()).await else { return None };
            let healthy = stats.endpoints.into_iter().filter(|endpoint| endpoint.healthy);
            let mut found: Vec<String> = healthy.map(|endpoint| endpoint.address).collect();
            found.sort();
            (found == wanted).then_some(())
        })
        .await;
    }

    /// Its counters whose names match, and what they count.
    pub(crate) async fn counters(&self, pattern: &str) -> BTreeMap<String, u64> {
        let socket = self.admin_socket();
        let arguments = ["--silent", "--show-error", "--fail", "--globoff", "--unix-socket", &socket.to_string_lossy()];
        let url = format!("http://envoy/stats?format=json&filter={pattern}");
        let answer = program("curl", arguments).arg(url).run().await.succeeded().json();
        let named = answer["stats"].as_array().expect("a list").iter();
        let counted = named.filter_map(|stat| Some((stat["name"].as_str()?.to_owned(), stat["value"].as_u64()?)));
        counted.collect()
    }

    /// Posts to its admin interface.
    pub(crate) async fn post(&self, path: &str) -> String {
        let socket = self.admin_socket();
        let arguments =
            ["--silent", "--show-error", "--fail", "-X", "POST", "--unix-socket", &socket.to_string_lossy()];
        program("curl", arguments).arg(format!("http://envoy{path}")).run().await.succeeded().text()
    }

    /// Starts it again, on its port and with its files, once it has ended.
    pub(crate) async fn restart(&mut self) {
        self.process.kill();
        self.process = self.spawn.start();
        self.serves().await;
    }

    async fn serves(&mut self) {
        self.process.find_in_log("that it works", |log| log.contains("starting workers").then_some(())).await;
    }
}

async fn set_gateways(directory: &Path, gateways: &[String]) {
    let file = directory.join("envoy/lb/endpoints.dev.yaml");
    let arguments = ["lb", "endpoints", "--file", &file.to_string_lossy()].map(str::to_owned);
    hashmesh(arguments.iter().chain(gateways)).run().await.succeeded();
}

/// Copies a directory, with texts changed. Each must stand somewhere.
fn copy_changed(from: &Path, to: &Path, changes: &[(&str, &str)]) {
    let mut found = vec![false; changes.len()];
    for relative in ["", "lb", "tls"] {
        fs::create_dir_all(to.join(relative)).expect("a directory");
        for entry in fs::read_dir(from.join(relative)).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                continue;
            }
            let target = to.join(relative).join(path.file_name().expect("a name"));
            let bytes = fs::read(&path).expect("a file");
            match String::from_utf8(bytes) {
                Ok(mut text) => {
                    let original = text.clone();
                    for ((before, after), found) in changes.iter().zip(&mut found) {
                        *found |= original.contains(before);
                        text = text.replace(before, after);
                    }
                    fs::write(target, text)
                }
                Err(binary) => fs::write(target, binary.into_bytes()),
            }
            .expect("a file");
        }
    }
    let missing: Vec<_> =
        changes.iter().zip(found).filter(|(_, found)| !found).map(|((before, _), _)| before).collect();
    assert!(missing.is_empty(), "nowhere in envoy/: {missing:?}");
}
