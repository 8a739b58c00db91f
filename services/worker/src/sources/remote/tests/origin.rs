//! An HTTP server that answers as a test says, byte for byte, on a port of its own.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) path: String,
    pub(super) headers: HashMap<String, String>,
    /// Which request for this path it is, from 0.
    pub(super) nth: usize,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Where a `range: bytes=START-[LAST]` begins, and behind what it ends.
    pub(super) fn range(&self, size: usize) -> Option<(usize, usize)> {
        let (start, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        let end = last.parse::<usize>().map_or(size, |last| size.min(last + 1));
        Some((start.parse().ok()?, end))
    }
}

/// What goes back.
#[derive(Clone, Debug, Default)]
pub(super) struct Reply {
    head: String,
    body: Vec<u8>,
    /// Of head and body: then the connection is cut.
    cut_after: Option<usize>,
    /// Of head and body: then nothing more comes.
    stall_after: Option<usize>,
    /// After head and body comes this again and again.
    endless: Option<Vec<u8>>,
}

impl Reply {
    pub(super) fn status(status: u16) -> Self {
        Self { head: format!("HTTP/1.1 {status} Status\r\n"), ..Self::default() }.header("content-length", "0")
    }

    pub(super) fn ok(body: &[u8]) -> Self {
        let head = "HTTP/1.1 200 OK\r\n".to_owned();
        Self { head, body: body.to_vec(), ..Self::default() }.header("content-length", &body.len().to_string())
    }

    /// With no header but those that are added.
    pub(super) fn bare(status: &str, body: &[u8]) -> Self {
        Self { head: format!("HTTP/1.1 {status}\r\n"), body: body.to_vec(), ..Self::default() }
    }

    /// The object, or the part of it that was asked for.
    pub(super) fn object(seen: &Seen, object: &[u8]) -> Self {
        let Some((start, end)) = seen.range(object.len()) else { return Self::ok(object) };
        if start >= object.len() {
            return Self::status(416).header("content-range", &format!("bytes */{}", object.len()));
        }
        let part = &object[start..end];
        let range = format!("bytes {start}-{}/{}", end - 1, object.len());
        Self::bare("206 Partial Content", part)
            .header("content-length", &part.len().to_string())
            .header("content-range", &range)
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// Cuts the connection behind so many bytes of the body.
    pub(super) fn cut_after(mut self, bytes: usize) -> Self {
        self.cut_after = Some(bytes);
        self
    }

    pub(super) fn stall_after(mut self, bytes: usize) -> Self {
        self.stall_after = Some(bytes);
        self
    }

    pub(super) fn endless(mut self, piece: &[u8]) -> Self {
        self.endless = Some(piece.to_vec());
        self
    }
}

type Answers = dyn Fn(&Seen) -> Reply + Send + Sync;

/// Gone when it is dropped, with its connections.
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    serving: JoinHandle<()>,
}

impl Origin {
    pub(super) async fn start(answers: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, answers): (_, Arc<Answers>) = (Arc::clone(&seen), Arc::new(answers));
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&answers), Arc::clone(&log)));
            }
        });
        Self { address, seen, serving }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(stream: TcpStream, answers: Arc<Answers>, log: Arc<Mutex<Vec<Seen>>>) {
    let mut stream = BufReader::new(stream);
    while let Some((path, headers)) = request(&mut stream).await {
        let seen = {
            let mut log = log.lock().unwrap();
            let nth = log.iter().filter(|before| before.path == path).count();
            let seen = Seen { path, headers, nth };
            log.push(seen.clone());
            seen
        };
        if answer(stream.get_mut(), answers(&seen)).await.is_none() {
            return;
        }
    }
}

async fn request(stream: &mut BufReader<TcpStream>) -> Option<(String, HashMap<String, String>)> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|length| *length > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = HashMap::new();
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok().filter(|length| *length > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Some((path, headers)) };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
}

/// `None`: the connection is to be closed.
async fn answer(stream: &mut TcpStream, reply: Reply) -> Option<()> {
    let Reply { head, body, cut_after, stall_after, endless } = reply;
    stream.write_all(format!("{head}\r\n").as_bytes()).await.ok()?;
    let sent = cut_after.or(stall_after).unwrap_or(body.len()).min(body.len());
    stream.write_all(&body[..sent]).await.ok()?;
    if stall_after.is_some() {
        // Longer than any test; the test's end ends it.
        tokio::time::sleep(Duration::from_secs(3_600)).await;
    }
    if let Some(piece) = endless {
        loop {
            stream.write_all(&piece).await.ok()?;
        }
    }
    if cut_after.is_some() {
        return None;
    }
    // Without a length only the end of the connection ends the body.
    let framed = head.contains("content-length") || head.contains("chunked");
    framed.then_some(())
}
