//! The roles as processes of their own, each on a loopback address of its own.

use std::{
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    database::Database,
    process::{HASHMESH, Process, Spawn},
    raw::Gateway,
    rundir,
    wait::{PATIENCE, until},
};

static HOSTS: AtomicU32 = AtomicU32::new(0);

/// A loopback address that nobody else of this machine's tests uses. A process that is started again on its port finds it
/// free: nobody's outgoing connection, which may take any port of 127.0.0.1, can have taken it.
pub(crate) fn own_host() -> String {
    let number = HOSTS.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id() % (254 * 64);
    assert!(number < 1_000, "more hosts than four /24 have");
    format!("127.{}.{}.{}", 1 + process / 64, process % 64 * 4 + number / 250, 1 + number % 250)
}

/// One role's process.
#[derive(Debug)]
pub(crate) struct Role {
    name: String,
    /// What its next start runs.
    program: PathBuf,
    directory: PathBuf,
    /// Everything after the addresses.
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    pub(crate) process: Process,
    /// `HOST:PORT`, the same after a restart.
    pub(crate) address: String,
    /// `HOST:PORT` of the admin pages, the same after a restart.
    pub(crate) admin: String,
}

impl Role {
    /// Starts `hashmesh ROLE ARGUMENTS` on an address of its own and waits until it listens.
    pub(crate) async fn start(
        role: &str,
        name: &str,
        arguments: Vec<String>,
        environment: &[(String, String)],
        directory: PathBuf,
    ) -> Self {
        Self::start_on(&own_host(), role, name, arguments, environment, directory).await
    }

    /// The same of this program.
    pub(crate) async fn start_program(
        program: &Path,
        role: &str,
        name: &str,
        arguments: Vec<String>,
        environment: &[(String, String)],
        directory: PathBuf,
    ) -> Self {
        Self::launched(program, &own_host(), role, name, arguments, environment, directory).await
    }

    /// The same on this host.
    pub(crate) async fn start_on(
        host: &str,
        role: &str,
        name: &str,
        arguments: Vec<String>,
        environment: &[(String, String)],
        directory: PathBuf,
    ) -> Self {
        Self::launched(Path::new(HASHMESH), host, role, name, arguments, environment, directory).await
    }

    async fn launched(
        program: &Path,
        host: &str,
        role: &str,
        name: &str,
        mut arguments: Vec<String>,
        environment: &[(String, String)],
        directory: PathBuf,
    ) -> Self {
        let anywhere = format!("{host}:0");
        arguments.insert(0, role.to_owned());
        let (program, environment) = (program.to_owned(), environment.to_vec());
        let (process, address, admin) =
            launch(&program, name, &directory, &arguments, &environment, [&anywhere, &anywhere]).await;
        Self { name: name.to_owned(), program, directory, arguments, environment, process, address, admin }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Kills it, unless it has ended, and starts it again on the same addresses.
    pub(crate) async fn restart(&mut self) {
        self.process.kill();
        let listen = [self.address.as_str(), self.admin.as_str()];
        let (process, address, admin) =
            launch(&self.program, &self.name, &self.directory, &self.arguments, &self.environment, listen).await;
        assert_eq!((&address, &admin), (&self.address, &self.admin));
        self.process = process;
    }

    /// The program of its next start.
    pub(crate) fn set_program(&mut self, program: &Path) {
        program.clone_into(&mut self.program);
    }

    /// The environment of its next start.
    #[cfg(feature = "mutants")]
    pub(crate) fn set_environment(&mut self, environment: &[(String, String)]) {
        self.environment = environment.to_vec();
    }

    /// `/readyz`, if it answers.
    pub(crate) async fn readiness(&self) -> Option<(u16, Value)> {
        get_page(&self.admin, "/readyz").await
    }

    /// Waits until it says that it does its work.
    pub(crate) async fn ready(&mut self) {
        let what = format!("{} to be ready", self.name);
        until(&what, PATIENCE, async || {
            let ended = self.process.exited();
            assert!(ended.is_none(), "{what}: it ended with {ended:?}");
            matches!(self.readiness().await, Some((200, _))).then_some(())
        })
        .await;
    }

    /// SIGTERM, and its exit status.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.process.terminate().await
    }
}

async fn launch(
    program: &Path,
    name: &str,
    directory: &Path,
    arguments: &[String],
    environment: &[(String, String)],
    [listen, admin_listen]: [&str; 2],
) -> (Process, String, String) {
    let mut all: Vec<&str> = vec!["--log-format", "json"];
    all.extend(arguments.iter().map(String::as_str));
    all.extend(["--listen", listen, "--admin-listen", admin_listen]);
    let mut process = Spawn::program(program, name, directory, all).bound_by_permissions().env(environment).start();
    let (address, admin) = process
        .find_in_log("where it listens", |log| {
            // The last line may be half written.
            let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let starting = events.into_iter().find(|event| event["message"] == "starting")?;
            Some((starting["address"].as_str()?.to_owned(), starting["admin"].as_str()?.to_owned()))
        })
        .await;
    (process, address, admin)
}

/// Status and body of an admin page, if the process answers.
pub(crate) async fn get_page(admin: &str, path: &str) -> Option<(u16, Value)> {
    let exchange = async {
        let mut stream = TcpStream::connect(admin).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await.ok()?;
        let (head, body) = response.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, serde_json::from_str(body).unwrap_or_default()))
    };
    // A stopped process takes connections and says nothing.
    tokio::time::timeout(Duration::from_secs(2), exchange).await.ok()?
}

/// How a mesh of separate processes is to be.
#[derive(Clone, Debug)]
pub(crate) struct MeshOptions {
    /// What every role runs.
    pub(crate) program: PathBuf,
    pub(crate) workers: usize,
    /// Threads of each worker.
    pub(crate) threads: usize,
    /// What workers may read.
    pub(crate) sources: Vec<PathBuf>,
    /// Environment of the Queue.
    pub(crate) queue_environment: Vec<(String, String)>,
    /// Environment of the Gateway.
    pub(crate) gateway_environment: Vec<(String, String)>,
    /// Environment of the workers.
    pub(crate) worker_environment: Vec<(String, String)>,
}

impl Default for MeshOptions {
    fn default() -> Self {
        Self {
            program: PathBuf::from(HASHMESH),
            workers: 1,
            threads: 1,
            sources: Vec::new(),
            queue_environment: Vec::new(),
            gateway_environment: Vec::new(),
            worker_environment: Vec::new(),
        }
    }
}

/// Gateway, Queue, Hash and Workers, on a database of their own.
#[derive(Debug)]
pub(crate) struct Mesh {
    // Dropped in this order: who is used last ends last.
    pub(crate) gateway: Role,
    pub(crate) workers: Vec<Role>,
    pub(crate) hash: Role,
    pub(crate) queue: Role,
    pub(crate) database: Database,
    pub(crate) options: MeshOptions,
    directory: PathBuf,
}

impl Mesh {
    /// Starts all, and waits until all do their work.
    pub(crate) async fn start(name: &str, options: MeshOptions) -> Self {
        Self::start_with(Database::create().await, name, options).await
    }

    /// The same with these tables.
    pub(crate) async fn start_with(database: Database, name: &str, options: MeshOptions) -> Self {
        let program = &options.program;
        let directory = rundir::directory(name);
        let arguments = vec!["--database-url".to_owned(), database.url.clone(), "--no-migrate".to_owned()];
        let queue =
            Role::start_program(program, "queue", "queue", arguments, &options.queue_environment, directory.clone())
                .await;
        let arguments = vec!["--threads".to_owned(), "1".to_owned()];
        let hash = Role::start_program(program, "hash", "hash", arguments, &[], directory.clone()).await;
        let arguments = ["--queue", &queue.url(), "--hash", &hash.url()].map(str::to_owned).to_vec();
        let gateway = Role::start_program(
            program,
            "gateway",
            "gateway",
            arguments,
            &options.gateway_environment,
            directory.clone(),
        )
        .await;
        let count = options.workers;
        let mut mesh = Self { gateway, workers: Vec::new(), hash, queue, database, options, directory };
        mesh.queue.ready().await;
        for _ in 0..count {
            mesh.add_worker().await;
        }
        mesh.hash.ready().await;
        mesh.gateway.ready().await;
        mesh
    }

    /// Starts a further worker, named `worker-N` from 0, and waits until it does its work.
    pub(crate) async fn add_worker(&mut self) {
        let queue = self.queue.url();
        self.add_worker_of(&[queue]).await;
    }

    /// The same, one that knows several Queues.
    pub(crate) async fn add_worker_of(&mut self, queues: &[String]) {
        let name = format!("worker-{}", self.workers.len());
        let (queues, threads) = (queues.join(","), self.options.threads.to_string());
        let mut arguments =
            ["--queue", &queues, "--threads", &threads, "--worker-id", &name].map(str::to_owned).to_vec();
        for source in &self.options.sources {
            arguments.extend(["--allow-source".to_owned(), source.to_string_lossy().into_owned()]);
        }
        let worker = Role::start_program(
            &self.options.program,
            "worker",
            &name,
            arguments,
            &self.options.worker_environment,
            self.directory.clone(),
        )
        .await;
        self.workers.push(worker);
        self.workers.last_mut().expect("it was pushed").ready().await;
    }

    /// A further Queue on the same database. It takes its part of the shards once others have given it up.
    pub(crate) async fn second_queue(&self) -> Role {
        let arguments = vec!["--database-url".to_owned(), self.database.url.clone(), "--no-migrate".to_owned()];
        Role::start_program(&self.options.program, "queue", "second-queue", arguments, &[], self.directory.clone())
            .await
    }

    /// A further Gateway, which knows several Queues.
    pub(crate) async fn gateway_to(&self, queues: &[&Role]) -> Role {
        self.start_gateway("further-gateway", queues, &[]).await
    }

    /// A further Gateway of this name in this environment; waits until it does its work.
    pub(crate) async fn further_gateway(&self, name: &str, environment: &[(String, String)]) -> Role {
        self.start_gateway(name, &[&self.queue], environment).await
    }

    async fn start_gateway(&self, name: &str, queues: &[&Role], environment: &[(String, String)]) -> Role {
        let queues: Vec<String> = queues.iter().map(|queue| queue.url()).collect();
        let arguments = ["--queue", &queues.join(","), "--hash", &self.hash.url()].map(str::to_owned).to_vec();
        let mut gateway =
            Role::start_program(&self.options.program, "gateway", name, arguments, environment, self.directory.clone())
                .await;
        gateway.ready().await;
        gateway
    }

    /// A client of the Gateway.
    pub(crate) async fn connect(&self) -> Gateway {
        Gateway::connect(&self.gateway.url()).await
    }
}
