//! Sends spans and metrics to a collector, by OTLP over gRPC or HTTP.
//!
//! ```text
//! whoever ends a span ── gate ── BatchSpanProcessor's queue ── its thread ── OTLP, on a runtime of one thread of our own
//!                         │ full? counted, thrown away                       │ refused, late? counted, thrown away
//! ```
//!
//! Nobody who works waits for any of it. A collector that is away, slow or stopped costs spans, which are counted
//! (`hashmesh_trace_dropped_spans_total`), and a bounded time at the end of the process.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use opentelemetry::{Context, trace::TracerProvider as _};
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{
    MetricExporter, SpanExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    metrics::{PeriodicReader, Temporality, data::ResourceMetrics, exporter::PushMetricExporter},
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, Span, SpanData, SpanProcessor,
    },
};
use tokio::runtime::{Handle, Runtime};
use tokio_util::context::TokioContext;
use tonic::transport::ClientTlsConfig;

use crate::{
    metrics::{
        self,
        catalogue::process::{SPANS_DROPPED, SPANS_EXPORTED},
    },
    trace,
};

/// Spans that wait to be sent: a few seconds' worth at 1 % of a busy mesh, some 8 MiB.
const MAX_WAITING: usize = 8 * 1024;
/// In one request.
const BATCH: usize = 512;
/// How long spans wait for others to be sent with.
const SPAN_DELAY: Duration = Duration::from_secs(1);
/// How often metrics are sent.
const METRIC_INTERVAL: Duration = Duration::from_secs(15);
/// For one request. A collector that takes longer is too slow for us.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// What the end of the process may take for what still waits.
pub(super) const LONGEST_SHUTDOWN: Duration = Duration::from_secs(2);

/// Where and how much.
#[derive(Clone, Debug)]
pub struct ExportSettings {
    /// The collector: `http://HOST:PORT` or `https://HOST:PORT`, over HTTP perhaps with a path.
    pub endpoint: String,
    /// What it is spoken to by.
    pub protocol: Protocol,
    /// Of traces that begin in this process, how many are sampled: 0 to 1.
    pub ratio: f64,
}

/// OTLP's transports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Port 4317 by convention.
    #[default]
    Grpc,
    /// Protobuf by HTTP/1.1, port 4318 by convention.
    Http,
}

/// A collector that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Its address is none.
    #[error("wanted a collector's address like http://127.0.0.1:4317, found {endpoint:?}: {problem}")]
    Endpoint {
        /// What was found.
        endpoint: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The system refuses a thread.
    #[error("cannot start a thread to send traces with")]
    Thread(#[source] std::io::Error),
}

/// What runs.
pub(super) struct Exporter {
    provider: SdkTracerProvider,
    runtime: Runtime,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter")
    }
}

impl Exporter {
    /// Connects when there is something to send, and again after every failure.
    pub(super) fn start(settings: &ExportSettings) -> Result<Self, ExportError> {
        check(&settings.endpoint)?;
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime =
            builder.worker_threads(1).thread_name("otlp").enable_all().build().map_err(ExportError::Thread)?;
        let handle = runtime.handle().clone();
        let (spans, measurements) = {
            let _entered = runtime.enter();
            exporters(settings)?
        };

        let waiting = Arc::new(AtomicUsize::new(0));
        let sender = Sender { inner: spans, handle: handle.clone(), waiting: Arc::clone(&waiting) };
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(MAX_WAITING)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(SPAN_DELAY)
            .build();
        let mut processor = BatchSpanProcessor::builder(sender).with_batch_config(config).build();
        // Before it is shared: nobody can tell it later.
        processor.set_resource(&super::resource());
        let gate = Gate { inner: Arc::new(processor), waiting };
        // What reaches it was sampled before.
        let provider = SdkTracerProvider::builder().with_resource(super::resource()).with_sampler(Sampler::AlwaysOn);
        let provider = provider.with_span_processor(gate.clone()).build();
        trace::connect(Arc::new(move |span| gate.on_end(span)), settings.ratio);

        metrics::push_to(Box::new(move |builder| {
            let measurements = Measurements { inner: measurements, handle };
            builder.with_reader(PeriodicReader::builder(measurements).with_interval(METRIC_INTERVAL).build())
        }));
        Ok(Self { provider, runtime })
    }

    /// For spans of `tracing`.
    pub(super) fn tracer(&self) -> SdkTracer {
        self.provider.tracer("hashmesh")
    }

    /// Sends what waits, within [`LONGEST_SHUTDOWN`].
    pub(super) fn shutdown(self) {
        trace::disconnect();
        // The exporter's own timeouts begin anew with each request, so the whole is bounded from outside; what hangs is left to
        // the end of the process.
        let (done, ended) = mpsc::sync_channel::<()>(1);
        let provider = self.provider;
        let flushing = thread::Builder::new().name("otlp shutdown".to_owned()).spawn(move || {
            let _ = provider.shutdown_with_timeout(LONGEST_SHUTDOWN);
            let _ = metrics::shutdown(LONGEST_SHUTDOWN);
            let _ = done.send(());
        });
        if flushing.is_ok() && ended.recv_timeout(LONGEST_SHUTDOWN).is_err() {
            tracing::warn!("the collector does not take the last spans in time; they are lost");
        }
        self.runtime.shutdown_background();
    }
}

/// An address that the exporters take, credentials never.
fn check(endpoint: &str) -> Result<(), ExportError> {
    let problem = |problem: &str| {
        let endpoint = if endpoint.contains('@') { "a URL with an @".to_owned() } else { endpoint.to_owned() };
        Err(ExportError::Endpoint { endpoint, problem: problem.to_owned() })
    };
    if endpoint.contains('@') {
        return problem("credentials belong into OTEL_EXPORTER_OTLP_HEADERS");
    }
    let Ok(uri) = endpoint.parse::<http::Uri>() else { return problem("it is no URL") };
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(()),
        _ => problem("it must begin with http:// or https:// and name a host"),
    }
}

fn exporters(settings: &ExportSettings) -> Result<(SpanExporter, MetricExporter), ExportError> {
    let endpoint = settings.endpoint.trim_end_matches('/');
    let unusable = |error: opentelemetry_otlp::ExporterBuildError| ExportError::Endpoint {
        endpoint: endpoint.to_owned(),
        problem: error.to_string(),
    };
    match settings.protocol {
        Protocol::Grpc => {
            let spans = SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(REQUEST_TIMEOUT);
            let numbers = MetricExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(REQUEST_TIMEOUT);
            let (spans, numbers) = if endpoint.starts_with("https:") {
                let tls = || ClientTlsConfig::new().with_native_roots();
                (spans.with_tls_config(tls()), numbers.with_tls_config(tls()))
            } else {
                (spans, numbers)
            };
            Ok((spans.build().map_err(unusable)?, numbers.build().map_err(unusable)?))
        }
        Protocol::Http => {
            let client = || {
                let connector = hyper_rustls::HttpsConnectorBuilder::new();
                let connector = connector.with_native_roots().map_err(|error| ExportError::Endpoint {
                    endpoint: endpoint.to_owned(),
                    problem: error.to_string(),
                });
                connector.map(|connector| {
                    let connector = connector.https_or_http().enable_http1().build();
                    HyperClient::new(connector, REQUEST_TIMEOUT, None)
                })
            };
            let spans = SpanExporter::builder().with_http().with_http_client(client()?);
            let numbers = MetricExporter::builder().with_http().with_http_client(client()?);
            let spans = spans.with_endpoint(format!("{endpoint}/v1/traces")).with_timeout(REQUEST_TIMEOUT);
            let numbers = numbers.with_endpoint(format!("{endpoint}/v1/metrics")).with_timeout(REQUEST_TIMEOUT);
            Ok((spans.build().map_err(unusable)?, numbers.build().map_err(unusable)?))
        }
    }
}

/// Lets no more spans in than may wait, so that the queue behind it, which throws away in silence, is never full. The provider
/// and [`trace`] each have one, of the same queue.
#[derive(Clone, Debug)]
struct Gate {
    inner: Arc<BatchSpanProcessor>,
    waiting: Arc<AtomicUsize>,
}

impl SpanProcessor for Gate {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            SPANS_DROPPED.add(1, &["queue_full"]);
            return;
        }
        self.inner.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }
}

/// Sends on our runtime, and counts what becomes of it.
struct Sender {
    inner: SpanExporter,
    handle: Handle,
    waiting: Arc<AtomicUsize>,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

impl opentelemetry_sdk::trace::SpanExporter for Sender {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let sent = TokioContext::new(bounded(self.inner.export(batch)), self.handle.clone()).await;
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
        match &sent {
            Ok(()) => SPANS_EXPORTED.add(spans as u64, &[]),
            Err(_) => SPANS_DROPPED.add(spans as u64, &["export_failed"]),
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// The same for metrics. What is not taken is in the next ones.
struct Measurements {
    inner: MetricExporter,
    handle: Handle,
}

impl PushMetricExporter for Measurements {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        TokioContext::new(bounded(self.inner.export(metrics)), self.handle.clone()).await
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.inner.temporality()
    }
}

async fn bounded(sending: impl Future<Output = OTelSdkResult>) -> OTelSdkResult {
    let sent = tokio::time::timeout(REQUEST_TIMEOUT, sending).await;
    sent.unwrap_or(Err(OTelSdkError::Timeout(REQUEST_TIMEOUT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_checked_and_credentials_are_not_repeated() {
        assert!(check("http://127.0.0.1:4317").is_ok() && check("https://otel.example/base").is_ok());
        for endpoint in ["", "collector:4317", "ftp://collector", "http://", "/v1/traces"] {
            assert!(check(endpoint).is_err(), "{endpoint}");
        }
        let error = check("http://user:secret@collector:4317").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
}
