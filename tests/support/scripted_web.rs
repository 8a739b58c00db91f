//! A web server that says what a test wants it to.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::mesh::own_host;

/// Serves until the test ends, one connection after the other: `answer` is given the head of a request, and gives status line
/// and headers, and the body; `None`: the connection is closed without a word.
pub(crate) async fn serve(mut answer: impl FnMut(&str) -> Option<(String, String)> + Send + 'static) -> String {
    let listener = TcpListener::bind((own_host().as_str(), 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut request, mut bytes) = (Vec::new(), [0; 4096]);
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read(&mut bytes).await {
                    Ok(length) if length > 0 => request.extend_from_slice(&bytes[..length]),
                    _ => break,
                }
            }
            let Some((head, body)) = answer(&String::from_utf8_lossy(&request)) else { continue };
            let length = body.len();
            let answer = format!("HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
            // Who has gone asks again.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}
