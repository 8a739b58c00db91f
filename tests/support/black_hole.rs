//! A way between two processes that can become a black hole: connections stay open, and nothing comes through any more.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};
use tokio_util::task::AbortOnDropHandle;

use super::mesh::own_host;

/// Passes everything on, until it is told otherwise.
#[derive(Debug)]
pub(crate) struct BlackHole {
    /// `HOST:PORT`.
    pub(crate) address: String,
    open: watch::Sender<bool>,
    _task: AbortOnDropHandle<()>,
}

impl BlackHole {
    pub(crate) async fn before(server: &str) -> Self {
        let target: SocketAddr = server.parse().expect("an address");
        let listener = TcpListener::bind((own_host(), 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (open, opened) = watch::channel(true);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, target, opened.clone()));
            }
        });
        Self { address, open, _task: AbortOnDropHandle::new(task) }
    }

    /// From now on nothing comes through, in either direction; new connections are taken all the same.
    pub(crate) fn swallow(&self) {
        self.open.send_replace(false);
    }

    /// What was sent meanwhile comes through, and what follows.
    pub(crate) fn heal(&self) {
        self.open.send_replace(true);
    }
}

async fn pass(client: TcpStream, target: SocketAddr, open: watch::Receiver<bool>) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    // Whoever ends first takes the other along, as a network does not; but both ends have closed by then.
    tokio::select! {
        () = copy(from_client, to_server, open.clone()) => (),
        () = copy(from_server, to_client, open) => (),
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut open: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if open.wait_for(|open| *open).await.is_err() || to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    // An end is news too.
    let _ = open.wait_for(|open| *open).await;
}
