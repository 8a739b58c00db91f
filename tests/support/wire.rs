//! gRPC calls over bare HTTP/2: what a client library would not let anybody send, and without the timers that would answer
//! in the server's place.

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::{
    RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{HeaderMap, Method, Request};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::wait::soon;

/// A connection.
#[derive(Debug)]
pub(crate) struct Wire {
    sender: SendRequest<Bytes>,
    authority: String,
    _connection: AbortOnDropHandle<()>,
}

/// A call under way.
#[derive(Debug)]
pub(crate) struct Call {
    response: ResponseFuture,
    /// The request's body.
    pub(crate) body: SendStream<Bytes>,
}

impl Wire {
    /// A connection to `http://HOST:PORT` with everything as h2 has it.
    pub(crate) async fn connect(server: &str) -> Self {
        Self::connect_as(server, &h2::client::Builder::new()).await
    }

    /// One with these settings.
    pub(crate) async fn connect_as(server: &str, settings: &h2::client::Builder) -> Self {
        let authority = server.trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&authority).await.expect("it listens");
        let (sender, connection) = settings.handshake(stream).await.expect("it speaks HTTP/2");
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            // How it ends is seen by the calls on it.
            let _ = connection.await;
        }));
        Self { sender, authority, _connection: connection }
    }

    /// Begins a call of a method; its body follows.
    pub(crate) async fn begin(&self, path: &str, headers: &[(&'static str, &str)]) -> Result<Call, h2::Error> {
        let mut sender = self.sender.clone().ready().await?;
        let uri = format!("http://{}{path}", self.authority);
        let mut request = Request::builder().method(Method::POST).uri(uri);
        for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")].iter().chain(headers) {
            request = request.header(*name, *value);
        }
        let (response, body) = sender.send_request(request.body(()).expect("a request"), false)?;
        Ok(Call { response, body })
    }

    /// Calls a method with one message.
    pub(crate) async fn call(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
        message: &[u8],
    ) -> Result<Bytes, Status> {
        let mut call = self.begin(path, headers).await.map_err(|error| Status::unknown(error.to_string()))?;
        // The server may have said no already.
        let _ = call.body.send_data(framed(message), true);
        call.answer().await
    }
}

impl Call {
    /// Waits for the response's headers.
    pub(crate) async fn headers(&mut self) -> Result<(HeaderMap, RecvStream), h2::Error> {
        let response = (&mut self.response).await?;
        let (head, body) = response.into_parts();
        Ok((head.headers, body))
    }

    /// Waits for the end: everything that was answered, or the status. What breaks off without one is UNKNOWN.
    pub(crate) async fn answer(mut self) -> Result<Bytes, Status> {
        let ended = soon("a call to be answered", async {
            let (headers, mut body) = self.headers().await?;
            let mut received = BytesMut::new();
            while let Some(data) = body.data().await {
                let data = data?;
                body.flow_control().release_capacity(data.len())?;
                received.put(data);
            }
            Ok::<_, h2::Error>((headers, received, body.trailers().await?))
        });
        let (headers, received, trailers) = ended.await.map_err(|error| Status::unknown(error.to_string()))?;
        let status = Status::from_header_map(trailers.as_ref().unwrap_or(&headers));
        match status.unwrap_or_else(|| Status::unknown("no status")) {
            status if status.code() == tonic::Code::Ok => Ok(received.freeze()),
            status => Err(status),
        }
    }
}

/// A message as gRPC frames it, not compressed.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("it fits");
    [&[0][..], &length.to_be_bytes(), message].concat().into()
}
