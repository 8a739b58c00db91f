//! Against real servers, each on a loopback address of its own.

use std::{
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use redis::{Client, Value, cmd};

use super::*;

const PORT: u16 = 6379;
const BUDGET: Duration = Duration::from_secs(5);
static HOSTS: AtomicU32 = AtomicU32::new(1);

/// Gone when it is dropped.
struct Server {
    process: Child,
    host: String,
    _directory: tempfile::TempDir,
}

impl Server {
    async fn start(options: &[&str]) -> Self {
        let host = format!("127.0.{}.{}", 1 + std::process::id() % 254, HOSTS.fetch_add(1, Ordering::Relaxed));
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "redis-server", "--bind", &host, "--port", &PORT.to_string()]);
        command.args(["--save", "", "--appendonly", "no", "--cluster-announce-ip", &host]).args(options);
        command.current_dir(directory.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self { process: command.spawn().unwrap(), host, _directory: directory };
        until(async || tokio::net::TcpStream::connect((&*server.host, PORT)).await.is_ok()).await;
        server
    }

    fn url(&self) -> String {
        format!("redis://{}:{PORT}", self.host)
    }

    fn ask(&self, command: &str) -> Value {
        self::command(command).query(&mut Client::open(self.url()).unwrap().get_connection().unwrap()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < Duration::from_secs(60), "in vain");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Two primaries with half of the slots each.
async fn cluster() -> (Vec<Server>, String) {
    let mut servers = Vec::new();
    for slots in ["0 8191", "8192 16383"] {
        let server = Server::start(&["--cluster-enabled", "yes"]).await;
        server.ask(&format!("CLUSTER ADDSLOTSRANGE {slots}"));
        servers.push(server);
    }
    servers[0].ask(&format!("CLUSTER MEET {} {PORT}", servers[1].host));
    until(async || {
        servers.iter().all(|server| {
            let Value::BulkString(info) = server.ask("CLUSTER INFO") else { panic!("text") };
            let info = String::from_utf8(info).unwrap();
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:2")
        })
    })
    .await;
    let url = format!("redis-cluster://{}:{PORT}", servers[0].host);
    (servers, url)
}

fn command(text: &str) -> Cmd {
    let mut words = text.split(' ');
    let mut command = cmd(words.next().unwrap());
    words.for_each(|word| {
        command.arg(word);
    });
    command
}

/// What each of these answers, errors by their code.
async fn each(redis: &Redis, commands: &[&str]) -> Vec<Result<Value, String>> {
    let answers = redis.each(commands.iter().map(|text| command(text)).collect()).await.unwrap();
    answers.into_iter().map(|answer| answer.map_err(|error| error.code().unwrap_or("none").to_owned())).collect()
}

async fn answers_each_by_itself(url: &str) {
    let redis = Redis::new(url, BUDGET).unwrap();
    let text = |text: &str| Ok(Value::BulkString(text.as_bytes().to_vec()));
    // Often enough that a breaker that took them for failures would open.
    for _ in 0..50 {
        let answers = each(&redis, &["SET a 1", "LPUSH a 2", "SET b 3", "GET a", "GET b", "NONSENSE a", "GET c"]).await;
        let wrong_type = Err("WRONGTYPE".to_owned());
        let nonsense = Err("ERR".to_owned());
        let expected = [Ok(Value::Okay), wrong_type, Ok(Value::Okay), text("1"), text("3"), nonsense, Ok(Value::Nil)];
        assert_eq!(answers, expected);
    }
    assert!(redis.each(Vec::new()).await.unwrap().is_empty());
}

async fn answers_many(url: &str) -> Duration {
    let redis = Redis::new(url, BUDGET).unwrap();
    let piece = "x".repeat(2_000);
    let keys: Vec<String> = (0..512).map(|number| format!("key {number}")).collect();
    let set = keys.iter().map(|key| cmd("SET").arg(key).arg(format!("{key}{piece}")).to_owned()).collect();
    redis.each(set).await.unwrap();
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let get = keys.iter().map(|key| cmd("GETRANGE").arg(key).arg(0).arg(1_000).to_owned()).collect();
        let began = Instant::now();
        let answers = redis.each(get).await.unwrap();
        best = best.min(began.elapsed());
        for (key, answer) in keys.iter().zip(answers) {
            let Ok(Value::BulkString(found)) = answer else { panic!("{key}") };
            assert!(found.len() == 1_001 && found.starts_with(format!("{key}x").as_bytes()), "{key}");
        }
    }
    best
}

#[tokio::test]
async fn commands_that_are_sent_together_are_answered_each_by_itself() {
    let server = Server::start(&[]).await;
    answers_each_by_itself(&server.url()).await;
    let (_servers, url) = cluster().await;
    answers_each_by_itself(&url).await;
}

#[tokio::test]
async fn hundreds_of_commands_are_one_trip() {
    let server = Server::start(&[]).await;
    let (_servers, url) = cluster().await;
    for (what, url) in [("server", server.url()), ("cluster", url)] {
        let best = answers_many(&url).await;
        println!("512 GETRANGE, {what}: {best:?}");
        // One after another they would take longer than this on the slowest machine.
        assert!(best < Duration::from_millis(50), "{what}: {best:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_no_primary_any_more_has_failed() {
    let server = Server::start(&[]).await;
    let redis = Redis::new(&server.url(), BUDGET).unwrap();
    assert_eq!(each(&redis, &["SET a 1"]).await, [Ok(Value::Okay)]);
    server.ask("REPLICAOF 127.0.0.1 1");
    let mut times = 0;
    let opened = loop {
        match redis.each(vec![command("SET a 1"), command("GET a")]).await {
            Ok(answers) => {
                assert_eq!(answers[0].as_ref().unwrap_err().code(), Some("READONLY"));
                assert_eq!(answers[1].as_ref().unwrap(), &Value::BulkString(b"1".to_vec()));
            }
            Err(error) => break error,
        }
        times += 1;
        assert!(times < 100, "it was asked again and again");
    };
    assert!(matches!(opened, RedisError::Open { .. }), "{opened:?}");
    server.ask("REPLICAOF NO ONE");
    until(async || redis.each(vec![command("SET a 2")]).await.is_ok()).await;
}

#[tokio::test]
async fn a_password_is_never_shown() {
    for url in [
        "redis://me:hunter2@127.0.0.1:1",
        "redis-sentinel://me:hunter2@127.0.0.1:1/main",
        "redis-cluster://me:hunter2@127.0.0.1:1",
        "rediss-cluster://:hunter2@127.0.0.1:1",
        "rediss-sentinel://:hunter2@127.0.0.1:1/main/2",
    ] {
        let redis = Redis::new(url, BUDGET).unwrap();
        let Err(error) = redis.each(vec![command("GET a")]).await else { panic!("nobody is there") };
        assert!(matches!(error, RedisError::Failed(_)), "{error:?}");
        assert!(!format!("{redis:?} {error:?} {error}").contains("hunter2"), "{url}: {redis:?} {error:?}");
    }
    for url in ["http://me:hunter2@h", "hunter2", "redis-ring://me:hunter2@h:1", "redis://me:hunter2@h:port"] {
        let Err(error) = Redis::new(url, BUDGET) else { panic!("{url}") };
        assert!(!format!("{error:?} {error}").contains("hunter2"), "{url}: {error:?}");
    }
}
