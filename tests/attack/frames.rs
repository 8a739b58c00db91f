//! HTTP/2 by the byte (RFC 9113): what no library would send.

use std::io;

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, tcp::OwnedWriteHalf},
};
use tokio_util::task::AbortOnDropHandle;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;

/// A frame with its 9 bytes of header.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("it fits").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The headers of a call as HPACK, nothing indexed and nothing compressed (RFC 7541, 6.2.2).
pub(super) fn headers(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    // From the static table: `:method POST`, `:scheme http`.
    let mut block = vec![0x83, 0x86];
    let call = [(":path", path), (":authority", "mesh"), ("content-type", "application/grpc"), ("te", "trailers")];
    for (name, value) in call.iter().chain(more) {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "longer texts have longer lengths");
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// An attacker's connection. What the server says is read and forgotten, so that it is never the server that waits.
#[derive(Debug)]
pub(super) struct Peer {
    writer: OwnedWriteHalf,
    reader: AbortOnDropHandle<()>,
    next_stream: u32,
}

impl Peer {
    /// One that has said nothing yet.
    pub(super) async fn mute(address: &str) -> io::Result<Self> {
        let (mut reader, writer) = TcpStream::connect(address).await?.into_split();
        let reader = tokio::spawn(async move {
            let mut forgotten = vec![0; 64 * 1024];
            while matches!(reader.read(&mut forgotten).await, Ok(1..)) {}
        });
        Ok(Self { writer, reader: AbortOnDropHandle::new(reader), next_stream: 1 })
    }

    /// One that has said hello, with these settings.
    pub(super) async fn connect(address: &str, settings: &[(u16, u32)]) -> io::Result<Self> {
        let mut peer = Self::mute(address).await?;
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        peer.send(&[PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat()).await?;
        Ok(peer)
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes).await?;
        // That it was cut off shows in the reader first.
        if self.reader.is_finished() { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }

    /// A stream's number that was not used yet.
    pub(super) fn stream(&mut self) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        stream
    }

    /// A whole call: its headers, its message, its end.
    pub(super) fn call(&mut self, path: &str, more: &[(&str, &str)], framed: &Bytes) -> Vec<u8> {
        let stream = self.stream();
        let mut bytes = frame(HEADERS, END_HEADERS, stream, &headers(path, more));
        for part in framed.chunks(16 * 1024) {
            bytes.extend(frame(DATA, 0, stream, part));
        }
        bytes.extend(frame(DATA, END_STREAM, stream, &[]));
        bytes
    }

    /// Waits until the server has had enough.
    pub(super) async fn cut_off(&mut self) {
        let _ = (&mut self.reader).await;
    }
}
