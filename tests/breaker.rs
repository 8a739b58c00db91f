//! A service behind the Gateway that fails is left alone, and found again when it works.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hashmesh::{
    error::{Reason, reason, retry_after},
    gateway::v1::ComputeDigestRequest,
    v1::Algorithm,
};
use tokio::{io::AsyncReadExt as _, net::TcpListener, task::JoinHandle};
use tonic::{Code, Request, Status};

use crate::support::{
    Gateway, Mesh, MeshOptions, Role, rundir,
    wait::{PATIENCE, until},
};

/// What a caller waits for at most, longer than what counts as hanging.
const DEADLINE: Duration = Duration::from_millis(1_500);
/// Within which a refused call is answered: nobody is waited for.
const AT_ONCE: Duration = Duration::from_millis(500);

async fn digest(gateway: &mut Gateway) -> Result<(), Status> {
    let message =
        ComputeDigestRequest { data: "input".into(), algorithms: vec![Algorithm::Sha256.into()], ..Default::default() };
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    gateway.compute_digest(request).await.map(drop)
}

/// Calls until the breaker is open, and then once more: that one is answered at once.
async fn trip(gateway: &mut Gateway, before: &[Reason]) {
    until("the breaker to open", PATIENCE, async || {
        let status = digest(gateway).await.expect_err("it does not work");
        let found = reason(&status);
        if found == Some(Reason::CircuitOpen) {
            assert!(retry_after(&status).is_some());
            return Some(());
        }
        // Our own transport has the same deadline, and may be the first to notice.
        let waited = status.code() == Code::Cancelled && before.contains(&Reason::DeadlineExceeded);
        assert!(waited || found.is_some_and(|found| before.contains(&found)), "{status:?}");
        None
    })
    .await;
}

async fn works_again(gateway: &mut Gateway) {
    until("the breaker to close", PATIENCE, async || digest(gateway).await.ok()).await;
    for _ in 0..20 {
        digest(gateway).await.expect("it works");
    }
}

#[tokio::test]
async fn a_service_that_is_killed_or_stopped_is_left_alone_and_found_again() {
    let mut mesh = Mesh::start("breaker", MeshOptions::default()).await;
    let mut gateway = mesh.connect().await;
    digest(&mut gateway).await.expect("it works");

    mesh.hash.process.kill();
    trip(&mut gateway, &[Reason::UpstreamUnavailable]).await;
    // What needs it not is served.
    gateway.get_stats(hashmesh::gateway::v1::GetStatsRequest {}).await.expect("the queue works");
    mesh.hash.restart().await;
    works_again(&mut gateway).await;

    // A stopped process takes calls and says nothing: callers wait for their deadlines, and soon no longer.
    mesh.hash.process.freeze();
    trip(&mut gateway, &[Reason::DeadlineExceeded]).await;
    let began = Instant::now();
    let refused = digest(&mut gateway).await.expect_err("it is open");
    // The probe may be this very call.
    assert!(reason(&refused) != Some(Reason::CircuitOpen) || began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    mesh.hash.process.thaw();
    works_again(&mut gateway).await;
}

/// Takes connections and what is sent on them, and never says a word.
struct BlackHole {
    url: String,
    bytes: Arc<AtomicU64>,
    _task: JoinHandle<()>,
}

impl BlackHole {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("it listens"));
        let bytes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&bytes);
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                        counted.fetch_add(count as u64, Ordering::Relaxed);
                    }
                });
            }
        });
        Self { url, bytes, _task: task }
    }
}

#[tokio::test]
async fn a_black_hole_swallows_a_few_calls_and_then_one_now_and_again() {
    let mesh = Mesh::start("black-hole", MeshOptions { workers: 0, ..MeshOptions::default() }).await;
    let hole = BlackHole::open().await;
    let arguments = ["--queue", &mesh.queue.url(), "--hash", &hole.url].map(str::to_owned).to_vec();
    let mut lost =
        Role::start("gateway", "lost-gateway", arguments, &[], rundir::directory("black-hole-gateway")).await;
    lost.ready().await;
    let mut gateway = Gateway::connect(&lost.url()).await;
    until("0.1 s without a probe", PATIENCE, async || {
        trip(&mut gateway, &[Reason::DeadlineExceeded, Reason::UpstreamUnavailable]).await;
        let (mut refused, before) = (0, hole.bytes.load(Ordering::Relaxed));
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(100) {
            let status = digest(&mut gateway).await.expect_err("nobody answers");
            if reason(&status) != Some(Reason::CircuitOpen) {
                // It was open for a part of that only.
                return None;
            }
            refused += 1;
        }
        assert!(refused > 10, "refused calls are answered at once: {refused} in 0.1 s");
        let sent = hole.bytes.load(Ordering::Relaxed) - before;
        assert!(sent < 200, "{refused} refused calls sent {sent} bytes");
        Some(())
    })
    .await;
}
