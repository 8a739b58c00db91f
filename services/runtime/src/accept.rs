//! The accept loop of every listener: bounded, and hard to end by accident.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::{
    places::{Place, Places},
    shutdown::Shutdown,
    telemetry::Repeated,
};

/// Waits after an error of the process or the machine (no descriptors or memory left), doubled while it lasts.
const BACK_OFF_FIRST: Duration = Duration::from_millis(10);
const BACK_OFF_LAST: Duration = Duration::from_secs(1);

/// Where connections come from: a listener, or a script of a test.
pub(crate) trait Accept {
    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send;
}

impl Accept for TcpListener {
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        Self::accept(self).await
    }
}

/// Accepts until the shutdown begins, and spawns `handle` for each connection on `connections`.
///
/// `handle` keeps a connection's [`Place`] once its peer has begun to speak. With all places taken a silent one is ended, else
/// it stops accepting until one ends: further peers wait in the kernel's backlog. No error of `accept` ends the loop.
pub(crate) async fn run<A, H, F>(
    source: A,
    places: &Arc<Places>,
    shutdown: &Shutdown,
    connections: &TaskTracker,
    handle: H,
) where
    A: Accept,
    H: Fn(TcpStream, SocketAddr, Arc<Place>) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let mut back_off = BACK_OFF_FIRST;
    let again = Repeated::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.wait() => return,
            accepted = source.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                back_off = BACK_OFF_FIRST;
                if again.fine() {
                    tracing::info!("connections are accepted again");
                }
                // Small frames (acknowledgements, pings) must not wait for Nagle's algorithm.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%peer, %error, "connection was gone before it was served");
                    continue;
                }
                let entered = tokio::select! {
                    biased;
                    () = shutdown.wait() => return,
                    entered = places.enter(peer.ip()) => entered,
                };
                let Some(place) = entered.map(Arc::new) else {
                    tracing::debug!(%peer, "connection closed: its address has too many");
                    continue;
                };
                let connection = handle(stream, peer, Arc::clone(&place));
                connections.spawn(async move {
                    tokio::select! {
                        () = connection => {}
                        () = place.wanted() => tracing::debug!(%peer, "connection closed: silent, and its place is wanted"),
                    }
                });
            }
            Err(error) if concerns_one_connection(&error) => {
                tracing::debug!(%error, "connection was gone before it was accepted");
            }
            Err(error) => {
                if let Some(left_out) = again.failed() {
                    tracing::warn!(%error, left_out, "cannot accept connections; trying again");
                }
                tokio::select! {
                    () = shutdown.wait() => return,
                    () = tokio::time::sleep(back_off) => {}
                }
                back_off = (back_off * 2).min(BACK_OFF_LAST);
            }
        }
    }
}

/// Errors that `accept` reports about the connection it would have returned (accept(2)).
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::mpsc;

    use super::*;

    /// EMFILE of Linux.
    const TOO_MANY_OPEN_FILES: i32 = 24;

    struct FailingFirst {
        listener: TcpListener,
        failures_left: AtomicU32,
    }

    impl Accept for FailingFirst {
        async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
            let fails = self.failures_left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            if fails.is_ok() {
                return Err(io::Error::from_raw_os_error(TOO_MANY_OPEN_FILES));
            }
            self.listener.accept().await
        }
    }

    #[tokio::test]
    async fn running_out_of_descriptors_delays_connections_and_ends_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let source = FailingFirst { listener, failures_left: AtomicU32::new(3) };
        let shutdown = Shutdown::new();
        let (served, mut serving) = mpsc::channel(1);
        let accepting = tokio::spawn({
            let shutdown = shutdown.clone();
            async move {
                run(source, &Places::new(1, 1), &shutdown, &TaskTracker::new(), move |_stream, _peer, _place| {
                    let served = served.clone();
                    async move { served.send(()).await.unwrap() }
                })
                .await;
            }
        });
        let _peer = TcpStream::connect(address).await.unwrap();
        serving.recv().await.unwrap();
        shutdown.begin();
        accepting.await.unwrap();
    }
}
