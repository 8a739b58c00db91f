//! gRPC by h2 alone, so that a call costs its caller next to nothing.

use std::net::{IpAddr, SocketAddr};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::{RecvStream, client::SendRequest};
use hashmesh::error::reason;
use http::{HeaderMap, Request};
use prost::Message;
use tokio::net::TcpSocket;
use tonic::{Code, Status};

use crate::Outcome;

/// As every client of ours.
const STREAM_WINDOW: u32 = 1024 * 1024;
const PREFIX: usize = 5;

/// A connection. Clones share it; it ends with the last.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    requests: SendRequest<Bytes>,
    server: SocketAddr,
}

/// The frames of a stream.
#[derive(Debug)]
pub(crate) struct Frames {
    body: RecvStream,
    read: BytesMut,
}

/// A message as it is sent.
pub(crate) fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).expect("small"));
    message.encode(&mut bytes).expect("there is room");
    bytes.freeze()
}

impl Connection {
    /// Connects, from an address if that is said.
    pub(crate) async fn open(server: SocketAddr, source: Option<IpAddr>) -> Outcome<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(source) = source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(server).await?;
        stream.set_nodelay(true)?;
        let (requests, connection) =
            h2::client::Builder::new().initial_window_size(STREAM_WINDOW).handshake(stream).await?;
        tokio::spawn(connection);
        Ok(Self { requests, server })
    }

    /// A unary call; else what failed, shortly.
    pub(crate) async fn call<T: Message + Default>(&self, path: &str, message: Bytes) -> Result<T, String> {
        let mut frames = self.stream(path, message).await?;
        let answer = frames.next().await?.ok_or("no answer")?;
        match frames.next::<T>().await? {
            None => Ok(answer),
            Some(_) => Err("two answers".to_owned()),
        }
    }

    /// A call whose answers are a stream.
    pub(crate) async fn stream(&self, path: &str, message: Bytes) -> Result<Frames, String> {
        let request = Request::post(format!("http://{}{path}", self.server))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .map_err(|error| error.to_string())?;
        let mut requests = self.requests.clone().ready().await.map_err(|error| error.to_string())?;
        let (response, mut body) = requests.send_request(request, false).map_err(|error| error.to_string())?;
        body.send_data(message, true).map_err(|error| error.to_string())?;
        let (head, body) = response.await.map_err(|error| error.to_string())?.into_parts();
        if !head.status.is_success() {
            return Err(format!("HTTP {}", head.status.as_u16()));
        }
        ended(&head.headers)?;
        Ok(Frames { body, read: BytesMut::new() })
    }
}

impl Frames {
    /// The next frame; `None` is the stream's good end.
    pub(crate) async fn next<T: Message + Default>(&mut self) -> Result<Option<T>, String> {
        loop {
            if let Some(length) = self.read.get(1..PREFIX).map(|mut length| length.get_u32() as usize)
                && self.read.len() >= PREFIX + length
            {
                self.read.advance(PREFIX);
                let message = T::decode(self.read.split_to(length)).map_err(|error| error.to_string())?;
                if self.read.is_empty() {
                    // What it was in is as large as many of these.
                    self.read = BytesMut::new();
                }
                return Ok(Some(message));
            }
            let Some(data) = self.body.data().await else { break };
            let data = data.map_err(|error| error.to_string())?;
            self.body.flow_control().release_capacity(data.len()).map_err(|error| error.to_string())?;
            self.read.extend_from_slice(&data);
        }
        let trailers = self.body.trailers().await.map_err(|error| error.to_string())?.ok_or("no trailers")?;
        ended(&trailers).map(|()| None)
    }
}

/// The status, if there is one that is not OK.
fn ended(headers: &HeaderMap) -> Result<(), String> {
    match Status::from_header_map(headers) {
        Some(status) if status.code() != Code::Ok => Err(match reason(&status) {
            Some(reason) => format!("{:?} {reason:?}", status.code()),
            None => format!("{:?} {}", status.code(), status.message()),
        }),
        _ => Ok(()),
    }
}
