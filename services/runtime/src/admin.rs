//! The admin HTTP server of a process: liveness, readiness, and pages for people and collectors.
//!
//! Plain HTTP/1.1, for a network that clients do not reach.

use std::{fmt, io, pin::pin, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::{Bytes, to_bytes},
    extract::Request,
    routing::{get, post},
};
use futures::future::BoxFuture;
pub use http::StatusCode;
use http::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{accept, health::Health, metrics, places::Places, shutdown::Shutdown};

/// Probes, a collector and a few people.
const MAX_CONNECTIONS: usize = 64;
/// For the head of a request, idle time before it included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// For the making of a page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(5);
/// For requests under way when the server stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// What is taken of what is sent to us.
const MAX_BODY_BYTES: usize = 1024 * 1024;

type Page = dyn Fn() -> BoxFuture<'static, Value> + Send + Sync;
type Receiver = dyn Fn(Bytes) -> BoxFuture<'static, (StatusCode, Value)> + Send + Sync;

/// The server under construction. `/livez` answers while the process runs, `/readyz` says whether every role does its
/// work: 200 or 503, and `{"ready": bool, "roles": {NAME: {"ready": bool, "why": string?}}}`; `/metrics` is for Prometheus.
#[derive(Default)]
#[must_use]
pub struct Admin {
    roles: Vec<(&'static str, Health)>,
    pages: Vec<(&'static str, Arc<Page>)>,
    receivers: Vec<(&'static str, Arc<Receiver>)>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pages: Vec<_> = self.pages.iter().map(|(path, _)| path).collect();
        f.debug_struct("Admin").field("roles", &self.roles).field("pages", &pages).finish_non_exhaustive()
    }
}

impl Admin {
    /// Without roles and pages.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a role that must serve for the process to be ready.
    pub fn health(mut self, name: &'static str, health: Health) -> Self {
        metrics::ready(name, health.clone());
        self.roles.push((name, health));
        self
    }

    /// Adds a page of JSON at `path`, made anew for each request, within 5 s.
    ///
    /// # Panics
    /// In [`Admin::serve`], if `path` does not start with `/` or is taken.
    pub fn page(
        mut self,
        path: &'static str,
        page: impl Fn() -> BoxFuture<'static, Value> + Send + Sync + 'static,
    ) -> Self {
        self.pages.push((path, Arc::new(page)));
        self
    }

    /// Takes what is sent by POST to `path`, up to 1 MiB, and answers with a status and JSON, within 5 s.
    ///
    /// # Panics
    /// In [`Admin::serve`], if `path` does not start with `/` or is taken.
    pub fn receive(
        mut self,
        path: &'static str,
        receiver: impl Fn(Bytes) -> BoxFuture<'static, (StatusCode, Value)> + Send + Sync + 'static,
    ) -> Self {
        self.receivers.push((path, Arc::new(receiver)));
        self
    }

    /// Serves until the shutdown begins. Give it one that begins after the roles have drained: until then probes shall
    /// hear that the process lives and is not ready.
    ///
    /// # Errors
    /// If the listener is not usable.
    pub async fn serve(self, listener: TcpListener, shutdown: Shutdown) -> io::Result<()> {
        let address = listener.local_addr()?;
        tracing::info!(%address, "serving admin pages");
        let router = self.into_router();
        let tasks = TaskTracker::new();
        let hard_stop = CancellationToken::new();
        let _stop_on_drop = hard_stop.clone().drop_guard();

        let places = Places::new(MAX_CONNECTIONS, MAX_CONNECTIONS);
        accept::run(listener, &places, &shutdown, &tasks, |stream, _peer, place| {
            // Whoever connects here asks for something.
            place.keep();
            connection(stream, router.clone(), shutdown.clone(), hard_stop.clone())
        })
        .await;

        tasks.close();
        if tokio::time::timeout(SHUTDOWN_GRACE, tasks.wait()).await.is_err() {
            hard_stop.cancel();
            tasks.wait().await;
        }
        Ok(())
    }

    fn into_router(self) -> Router {
        let roles = Arc::new(self.roles);
        let router = Router::new()
            .route("/livez", get(async || Json(json!({ "live": true }))))
            .route("/readyz", get(async move || readiness(&roles)))
            .route("/metrics", get(async || ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::scrape())));
        let router = self
            .pages
            .into_iter()
            .fold(router, |router, (path, page)| router.route(path, get(async move || answer(page()).await)));
        self.receivers.into_iter().fold(router, |router, (path, receiver)| {
            router.route(path, post(async move |request: Request| take(request, &*receiver).await))
        })
    }
}

fn readiness(roles: &[(&'static str, Health)]) -> (StatusCode, Json<Value>) {
    let mut ready = true;
    let mut by_name = serde_json::Map::new();
    for (name, health) in roles {
        let role = match health.state() {
            Ok(()) => json!({ "ready": true }),
            Err(why) => {
                ready = false;
                json!({ "ready": false, "why": why })
            }
        };
        by_name.insert((*name).to_owned(), role);
    }
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(json!({ "ready": ready, "roles": by_name })))
}

async fn answer(page: BoxFuture<'static, Value>) -> (StatusCode, Json<Value>) {
    match tokio::time::timeout(PAGE_TIMEOUT, page).await {
        Ok(value) => (StatusCode::OK, Json(value)),
        Err(_) => (StatusCode::GATEWAY_TIMEOUT, Json(json!({ "error": "the page was not ready in time" }))),
    }
}

/// Reads what was sent, and has it taken.
async fn take(request: Request, receiver: &Receiver) -> (StatusCode, Json<Value>) {
    let taken = async {
        match to_bytes(request.into_body(), MAX_BODY_BYTES).await {
            Ok(body) => receiver(body).await,
            Err(_) => {
                let error = format!("wanted at most {MAX_BODY_BYTES} bytes, all of them");
                (StatusCode::PAYLOAD_TOO_LARGE, json!({ "error": error }))
            }
        }
    };
    let late = (StatusCode::GATEWAY_TIMEOUT, json!({ "error": "it was not taken in time; send it again" }));
    let (status, answer) = tokio::time::timeout(PAGE_TIMEOUT, taken).await.unwrap_or(late);
    (status, Json(answer))
}

async fn connection(stream: TcpStream, router: Router, shutdown: Shutdown, hard_stop: CancellationToken) {
    let mut http1 = http1::Builder::new();
    http1.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let mut connection = pin!(http1.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let mut draining = false;
    loop {
        tokio::select! {
            // Errors are the peer's, and end its connection only.
            _ended = connection.as_mut() => return,
            () = shutdown.wait(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = hard_stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    struct Running {
        address: std::net::SocketAddr,
        queue: Health,
        shutdown: Shutdown,
        served: tokio::task::JoinHandle<io::Result<()>>,
    }

    async fn start() -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (queue, gateway, shutdown) = (Health::new(), Health::new(), Shutdown::new());
        gateway.serving();
        let admin = Admin::new()
            .health("queue", queue.clone())
            .health("gateway", gateway)
            .page("/pool", || async { json!({ "connections": 3 }) }.boxed())
            .receive("/sent", |body| async move { (StatusCode::ACCEPTED, json!({ "bytes": body.len() })) }.boxed());
        let served = tokio::spawn(admin.serve(listener, shutdown.clone()));
        Running { address, queue, shutdown, served }
    }

    /// Status and body of a GET.
    async fn get_page(address: std::net::SocketAddr, path: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    #[tokio::test]
    async fn readiness_names_what_is_not_ready_and_why() {
        let server = start().await;
        assert_eq!(get_page(server.address, "/livez").await.0, 200);
        server.queue.not_serving("database unreachable");
        let (status, body) = get_page(server.address, "/readyz").await;
        assert_eq!(status, 503);
        let queue = json!({ "ready": false, "why": "database unreachable" });
        assert_eq!(body, json!({ "ready": false, "roles": { "gateway": { "ready": true }, "queue": queue } }));
        server.queue.serving();
        assert_eq!(get_page(server.address, "/readyz").await.0, 200);
    }

    #[tokio::test]
    async fn pages_are_served_and_unknown_ones_are_not_found() {
        let server = start().await;
        assert_eq!(get_page(server.address, "/pool").await, (200, json!({ "connections": 3 })));
        assert_eq!(get_page(server.address, "/none").await.0, 404);
    }

    #[tokio::test]
    async fn what_is_sent_is_taken_up_to_a_limit() {
        let server = start().await;
        let send = async |length: usize| {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            let head =
                format!("POST /sent HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            // Who refuses early does not read to the end.
            let _ = stream.write_all(&vec![b'x'; length]).await;
            let mut response = String::new();
            let _ = stream.read_to_string(&mut response).await;
            response.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok())
        };
        assert_eq!(send(0).await, Some(202));
        assert_eq!(send(MAX_BODY_BYTES).await, Some(202));
        assert_ne!(send(MAX_BODY_BYTES + 1).await, Some(202));
        assert_eq!(get_page(server.address, "/sent").await.0, 405);
    }

    #[tokio::test]
    async fn an_idle_connection_does_not_hold_up_the_stop() {
        let server = start().await;
        let mut idle = TcpStream::connect(server.address).await.unwrap();
        get_page(server.address, "/livez").await;
        server.shutdown.begin();
        tokio::time::timeout(Duration::from_secs(20), server.served).await.unwrap().unwrap().unwrap();
        let _closed = idle.read_to_end(&mut Vec::new()).await;
    }
}
