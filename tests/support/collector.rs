//! A real OpenTelemetry collector, which hands all it is given to the test.
//!
//! Without a queue: what it has accepted is here, and what it cannot pass on it refuses.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use serde_json::Value;

use super::{
    mesh::own_host,
    process::{Process, Spawn},
    reflect::installed,
    rundir,
    wait::{PATIENCE, until},
};

/// Each has a host of its own, so the ports are free: these are the usual ones.
pub(crate) const GRPC_PORT: u16 = 4317;
pub(crate) const HTTP_PORT: u16 = 4318;

/// Gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Collector {
    // Dropped in this order: the collector's connections end with it, and what reads them with these.
    pub(crate) process: Process,
    inbox: Inbox,
    pub(crate) host: String,
}

impl Collector {
    /// Starts one and waits until it takes spans and metrics, by gRPC and by HTTP.
    pub(crate) async fn start(name: &str) -> Self {
        let (directory, host) = (rundir::directory(name), own_host());
        let inbox = Inbox::open(&host);
        let file = configure(&directory, &host, inbox.address);
        let spawn =
            Spawn::program(installed("otelcol"), "otelcol", &directory, ["--config".as_ref(), file.as_os_str()]);
        let mut collector = Self { process: spawn.start(), inbox, host };
        collector.serves().await;
        collector
    }

    /// `http://HOST:PORT`, for OTLP by gRPC.
    pub(crate) fn grpc_endpoint(&self) -> String {
        format!("http://{}:{GRPC_PORT}", self.host)
    }

    /// `http://HOST:PORT`, for OTLP by HTTP: a client appends `/v1/traces` or `/v1/metrics`.
    pub(crate) fn http_endpoint(&self) -> String {
        format!("http://{}:{HTTP_PORT}", self.host)
    }

    /// What has come so far, in this order.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.with_spans(<[Span]>::to_vec)
    }

    /// Waits until `find` finds something in what has come.
    pub(crate) async fn wait_for<T>(&self, what: &str, find: impl Fn(&[Span]) -> Option<T>) -> T {
        until(&format!("spans: {what}"), PATIENCE, async || self.with_spans(&find)).await
    }

    /// Names of all metrics that have come so far by OTLP.
    pub(crate) fn metric_names(&self) -> BTreeSet<String> {
        self.inbox.with(|received| received.metrics.clone())
    }

    fn with_spans<T>(&self, ask: impl FnOnce(&[Span]) -> T) -> T {
        self.inbox.with(|received| ask(&received.spans))
    }

    async fn serves(&mut self) {
        self.process.find_in_log("that it works", |log| log.contains("Everything is ready").then_some(())).await;
    }
}

fn configure(directory: &Path, host: &str, inbox: SocketAddr) -> PathBuf {
    let configuration = format!(
        r#"
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "{host}:{GRPC_PORT}"}}, http: {{endpoint: "{host}:{HTTP_PORT}"}}}}}}
exporters:
  otlp_http:
    endpoint: http://{inbox}
    encoding: json
    compression: none
    sending_queue: {{enabled: false}}
    retry_on_failure: {{enabled: false}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [otlp_http]}}
    metrics: {{receivers: [otlp], exporters: [otlp_http]}}
"#
    );
    let file = directory.join("otelcol.yaml");
    fs::write(&file, configuration).expect("a file");
    file
}

/// One span, as OTLP has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Span {
    /// `service.name` of its resource.
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Hexadecimal, as all ids are.
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    /// Empty: it has none.
    pub(crate) parent_span_id: String,
    /// Trace and span.
    pub(crate) links: Vec<(String, String)>,
    /// Its own, as text.
    pub(crate) attributes: BTreeMap<String, String>,
    /// Those of its resource.
    pub(crate) resource: BTreeMap<String, String>,
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    pub(crate) status: Status,
    /// Name of its instrumentation.
    pub(crate) scope: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Unspecified,
    Internal,
    Server,
    Client,
    Producer,
    Consumer,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Unset,
    Ok,
    /// With its message.
    Error(String),
}

/// What has come.
#[derive(Debug, Default)]
struct Received {
    spans: Vec<Span>,
    metrics: BTreeSet<String>,
    /// What nobody understood.
    refused: Option<String>,
}

impl Received {
    /// Takes one export request in OTLP/JSON, all of it or nothing.
    fn take(&mut self, path: &str, body: &[u8]) -> Option<()> {
        let request: Value = serde_json::from_slice(body).ok()?;
        match path {
            "/v1/traces" => self.spans.extend(spans(&request)?),
            "/v1/metrics" => self.metrics.extend(metric_names(&request)?),
            _ => return None,
        }
        Some(())
    }
}

/// Spans of an `ExportTraceServiceRequest`. What has its default value is left out in JSON.
fn spans(request: &Value) -> Option<Vec<Span>> {
    let mut found = Vec::new();
    for of_resource in list(&request["resourceSpans"])? {
        let resource = attributes(&of_resource["resource"]["attributes"])?;
        for of_scope in list(&of_resource["scopeSpans"])? {
            for span in list(&of_scope["spans"])? {
                found.push(parse_span(span, &resource, &text(&of_scope["scope"]["name"])?)?);
            }
        }
    }
    Some(found)
}

fn parse_span(span: &Value, resource: &BTreeMap<String, String>, scope: &str) -> Option<Span> {
    let linked = |link: &Value| Some((text(&link["traceId"])?, text(&link["spanId"])?));
    Some(Span {
        service: resource.get("service.name").cloned().unwrap_or_default(),
        name: text(&span["name"])?,
        kind: match number(&span["kind"])? {
            0 => Kind::Unspecified,
            1 => Kind::Internal,
            2 => Kind::Server,
            3 => Kind::Client,
            4 => Kind::Producer,
            5 => Kind::Consumer,
            _ => return None,
        },
        trace_id: text(&span["traceId"])?,
        span_id: text(&span["spanId"])?,
        parent_span_id: text(&span["parentSpanId"])?,
        links: list(&span["links"])?.iter().map(linked).collect::<Option<_>>()?,
        attributes: attributes(&span["attributes"])?,
        resource: resource.clone(),
        start_ns: number(&span["startTimeUnixNano"])?,
        end_ns: number(&span["endTimeUnixNano"])?,
        status: match number(&span["status"]["code"])? {
            0 => Status::Unset,
            1 => Status::Ok,
            2 => Status::Error(text(&span["status"]["message"])?),
            _ => return None,
        },
        scope: scope.to_owned(),
    })
}

/// Names of the metrics of an `ExportMetricsServiceRequest`.
fn metric_names(request: &Value) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for of_resource in list(&request["resourceMetrics"])? {
        for of_scope in list(&of_resource["scopeMetrics"])? {
            for metric in list(&of_scope["metrics"])? {
                found.push(text(&metric["name"])?);
            }
        }
    }
    Some(found)
}

fn attributes(attributes: &Value) -> Option<BTreeMap<String, String>> {
    list(attributes)?.iter().map(|pair| Some((text(&pair["key"])?, any_text(&pair["value"])))).collect()
}

/// An `AnyValue` as text: that of strings as it is, all else in JSON.
fn any_text(value: &Value) -> String {
    match any_value(value) {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn any_value(value: &Value) -> Value {
    let Some((kind, inner)) = value.as_object().and_then(|object| object.iter().next()) else { return Value::Null };
    let values = || inner["values"].as_array().into_iter().flatten();
    match kind.as_str() {
        "arrayValue" => values().map(any_value).collect(),
        "kvlistValue" => {
            values().map(|pair| (pair["key"].as_str().unwrap_or_default(), any_value(&pair["value"]))).collect()
        }
        "intValue" => inner.as_str().and_then(|digits| digits.parse::<i64>().ok()).map_or(inner.clone(), Value::from),
        _ => inner.clone(),
    }
}

fn list(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Null => Some(&[]),
        other => other.as_array().map(Vec::as_slice),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        other => other.as_str().map(str::to_owned),
    }
}

/// One of 64 bits is a string.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Null => Some(0),
        Value::String(digits) => digits.parse().ok(),
        other => other.as_u64(),
    }
}

/// Where the collector sends everything: a web server on threads of its own, so that no test has to run for it.
#[derive(Debug)]
struct Inbox {
    address: SocketAddr,
    received: Arc<Mutex<Received>>,
    closed: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Inbox {
    fn open(host: &str) -> Self {
        let listener = TcpListener::bind((host, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (received, closed) = (Arc::<Mutex<Received>>::default(), Arc::<AtomicBool>::default());
        let (into, ended) = (Arc::clone(&received), Arc::clone(&closed));
        let accepting = thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept()
                && !ended.load(Ordering::SeqCst)
            {
                let into = Arc::clone(&into);
                thread::spawn(move || serve(stream, &into));
            }
        });
        Self { address, received, closed, accepting: Some(accepting) }
    }

    /// # Panics
    /// If something has come that is not OTLP.
    fn with<T>(&self, ask: impl FnOnce(&Received) -> T) -> T {
        let received = self.received.lock().expect("no panic under the lock");
        let refused = received.refused.clone();
        let answer = if refused.is_none() { Some(ask(&received)) } else { None };
        // Not under the lock.
        drop(received);
        answer.unwrap_or_else(|| panic!("not OTLP/JSON as we know it: {}", refused.unwrap_or_default()))
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        // It looks after every connection.
        let _ = TcpStream::connect(self.address);
        let _ = self.accepting.take().map(JoinHandle::join);
    }
}

/// Answers on one connection until the collector ends it.
fn serve(mut stream: TcpStream, into: &Mutex<Received>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    while let Some((path, body)) = read_request(&mut reader) {
        let mut received = into.lock().expect("no panic under the lock");
        let status = if received.take(&path, &body).is_some() {
            "200 OK"
        } else {
            received.refused = Some(format!("{path}: {}", String::from_utf8_lossy(&body)));
            "400 Bad Request"
        };
        drop(received);
        let answer = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}");
        if stream.write_all(answer.as_bytes()).is_err() {
            break;
        }
    }
}

/// Path and body. None at the end of the connection, and for what the collector does not send.
fn read_request(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let (mut line, mut length) = (String::new(), None);
    reader.read_line(&mut line).ok()?;
    let path = line.strip_prefix("POST ")?.split(' ').next()?.to_owned();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = Some(value.trim().parse().ok()?);
            }
            Some(_) => (),
            None => break,
        }
    }
    let mut body = vec![0; length?];
    reader.read_exact(&mut body).ok()?;
    Some((path, body))
}
