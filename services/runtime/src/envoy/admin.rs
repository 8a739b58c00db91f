//! One question to Envoy's admin interface.

use std::{io, path::Path, time::Duration};

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// For one answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// More than ten thousand endpoints take.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// Why Envoy could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum EnvoyError {
    /// Its socket cannot be opened.
    #[error(
        "cannot open Envoy's admin socket {path}: {source}; `admin.address` of its configuration says where it is, and its mode who may"
    )]
    Socket {
        /// Where it should be.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// It did not answer, or not so that it can be understood.
    #[error("Envoy's admin interface did not answer {question}: {cause}")]
    Answer {
        /// What was asked.
        question: String,
        /// What went wrong.
        cause: String,
    },
}

/// Asks for a page of JSON.
pub(super) async fn ask<T: DeserializeOwned>(socket: &Path, question: &str) -> Result<T, EnvoyError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| EnvoyError::Socket { path: socket.display().to_string(), source })?;
    let failed = |cause: String| EnvoyError::Answer { question: question.to_owned(), cause };
    let answer = async {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(error.to_string()))?;
        let request = Request::get(question).header(header::HOST, "envoy").body(Empty::<Bytes>::new());
        let request = request.map_err(|error| failed(error.to_string()))?;
        let exchange = async move {
            let response = sender.send_request(request).await.map_err(|error| failed(error.to_string()))?;
            let status = response.status();
            if status != StatusCode::OK {
                return Err(failed(format!("{status}; `admin.allow_paths` of its configuration may leave it out")));
            }
            let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
            Ok(body.map_err(|error| failed(error.to_string()))?.to_bytes())
        };
        // The connection is what carries the exchange, and ends with it; what breaks it, the exchange says too.
        let (body, _) = tokio::join!(exchange, connection);
        body
    };
    let body =
        tokio::time::timeout(TIMEOUT, answer).await.map_err(|_| failed(format!("nothing within {TIMEOUT:?}")))??;
    serde_json::from_slice(&body).map_err(|error| failed(error.to_string()))
}
