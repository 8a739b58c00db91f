//! A proxy that cuts connections.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::AbortOnDropHandle;

/// Passes everything on, but cuts the first connections that bring much, each after so many bytes of the client's.
pub(super) struct CuttingProxy {
    pub(super) url: String,
    cuts: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl CuttingProxy {
    pub(super) async fn start(server: &str, after: Vec<usize>) -> Self {
        let target: SocketAddr = server.trim_start_matches("http://").parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let cuts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&cuts);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, target, after.clone(), Arc::clone(&counted)));
            }
        });
        Self { url, cuts, _task: AbortOnDropHandle::new(task) }
    }

    /// How many connections were cut.
    pub(super) fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

async fn pass(client: TcpStream, target: SocketAddr, after: Vec<usize>, cuts: Arc<AtomicUsize>) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let back = tokio::spawn(async move { copy(&mut from_server, &mut to_client).await });
    let (mut passed, mut buffer) = (0, vec![0; 16 * 1024]);
    while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
        passed += length;
        // The next cut of all, whichever connection it meets.
        let due = after.get(cuts.load(Ordering::SeqCst)).is_some_and(|limit| passed >= *limit);
        if due {
            cuts.fetch_add(1, Ordering::SeqCst);
            break;
        }
        if to_server.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    back.abort();
}
