//! The beginning of a connection: TLS where it is spoken, then the preface of HTTP/2.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::tls::{Identity, Tls};

/// What every HTTP/2 client sends first (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The first byte of a TLS connection: a handshake record (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// A fatal alert, `protocol_version` (RFC 8446, 6.2).
const PROTOCOL_VERSION_ALERT: &[u8] = &[0x15, 3, 3, 0, 2, 2, 70];

/// A connection whose preface has come.
pub(super) enum Opened {
    /// As it is.
    Plain(AfterPreface<TcpStream>),
    /// Within TLS, and who the peer is.
    Encrypted(Box<AfterPreface<TlsStream<TcpStream>>>, Identity),
    /// As it is, where TLS was wanted: the peer is to be told.
    NotEncrypted(AfterPreface<TcpStream>),
}

/// Why a connection came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotOpened {
    #[error("no HTTP/2 preface")]
    Preface(#[source] io::Error),
    #[error("no TLS")]
    Handshake { source: io::Error, stream: TcpStream },
    #[error("these bytes are TLS, which is not spoken here")]
    UnexpectedTls { stream: TcpStream },
}

impl NotOpened {
    /// Tells a peer of TLS why, and lets it read that: with bytes of its own unread, or still coming, closing would reset the
    /// connection and take back what was said last. Waits until the peer closes too.
    pub(super) async fn farewell(self) {
        let (mut stream, said) = match self {
            Self::Preface(_) => return,
            // The alert that says why is on its way.
            Self::Handshake { stream, .. } => (stream, Ok(())),
            Self::UnexpectedTls { mut stream } => {
                let said = stream.write_all(PROTOCOL_VERSION_ALERT).await;
                (stream, said)
            }
        };
        if said.is_err() || stream.shutdown().await.is_err() {
            return;
        }
        let mut ignored = [0; 1024];
        while let Ok(1..) = stream.read(&mut ignored).await {}
    }
}

/// Reads what comes before the first call. Waits as long as the peer does.
pub(super) async fn open(mut stream: TcpStream, tls: Option<&Tls>) -> Result<Opened, NotOpened> {
    let mut first = [0];
    stream.peek(&mut first).await.map_err(NotOpened::Preface)?;
    let speaks_tls = first[0] == TLS_HANDSHAKE;
    let tls = match tls {
        Some(tls) if speaks_tls => tls,
        None if speaks_tls => return Err(NotOpened::UnexpectedTls { stream }),
        tls => {
            expect_preface(&mut stream).await.map_err(NotOpened::Preface)?;
            let stream = AfterPreface::new(stream);
            return Ok(if tls.is_some() { Opened::NotEncrypted(stream) } else { Opened::Plain(stream) });
        }
    };
    // What is current now, not what was when the server started.
    let acceptor = TlsAcceptor::from(tls.server());
    let handshake = acceptor.accept(stream).into_fallible().await;
    let mut stream = handshake.map_err(|(source, stream)| NotOpened::Handshake { source, stream })?;
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    // It was verified, so it can be read.
    let identity = shown.map(Identity::of).transpose().map_err(|error| NotOpened::Preface(io::Error::other(error)))?;
    expect_preface(&mut stream).await.map_err(NotOpened::Preface)?;
    Ok(Opened::Encrypted(Box::new(AfterPreface::new(stream)), identity.unwrap_or_default()))
}

/// Reads the preface and stops at the first byte that cannot belong to it.
async fn expect_preface(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut received = [0; PREFACE.len()];
    let mut length = 0;
    while length < PREFACE.len() {
        let count = reader.read(&mut received[length..]).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        length += count;
        if received[..length] != PREFACE[..length] {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "these bytes are not HTTP/2"));
        }
    }
    Ok(())
}

/// A stream whose preface was read: h2 reads it itself, so it gets it once more.
pub(super) struct AfterPreface<S> {
    preface_left: &'static [u8],
    inner: S,
}

impl<S> AfterPreface<S> {
    fn new(inner: S) -> Self {
        Self { preface_left: PREFACE, inner }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for AfterPreface<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.preface_left.is_empty() {
            return Pin::new(&mut self.inner).poll_read(context, buffer);
        }
        let (now, later) = self.preface_left.split_at(self.preface_left.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.preface_left = later;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for AfterPreface<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
