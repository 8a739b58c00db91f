//! The process' one registry.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    metrics::{
        InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Temporality, data::ResourceMetrics,
        reader::MetricReader,
    },
};

use super::{
    catalogue::{self, Any},
    definition::Section,
};

/// The registry, once a role has started it.
static REGISTRY: OnceLock<Registry> = OnceLock::new();
/// Where metrics are pushed to, said before the registry is started.
static PUSHED: Mutex<Option<Pusher>> = Mutex::new(None);

/// Adds a reader that sends.
type Pusher = Box<
    dyn FnOnce(opentelemetry_sdk::metrics::MeterProviderBuilder) -> opentelemetry_sdk::metrics::MeterProviderBuilder
        + Send,
>;

#[derive(Debug)]
pub(super) struct Registry {
    reader: SharedReader,
    /// Also keeps what pushes alive.
    provider: SdkMeterProvider,
    meter: Meter,
    sections: Mutex<BTreeSet<Section>>,
}

/// From now on the metrics of these sections are exported, and those of every process. May be called again, with others.
pub fn start(sections: &[Section]) {
    let registry = REGISTRY.get_or_init(Registry::new);
    let mut started = lock(&registry.sections);
    for section in [Section::Process].iter().chain(sections) {
        if !started.insert(*section) {
            continue;
        }
        for any in catalogue::of(*section) {
            match any {
                Any::Counter(counter) => counter.start(&registry.meter),
                Any::Total(total) => total.start(&registry.meter),
                Any::Gauge(gauge) => gauge.start(&registry.meter),
                Any::Histogram(histogram) => histogram.start(&registry.meter),
            }
        }
        if *section == Section::Process {
            super::process::watch();
        }
    }
}

/// Has whatever is started later sent by this too. Nothing if the registry was started before.
pub(crate) fn push_to(pusher: Pusher) {
    *lock(&PUSHED) = Some(pusher);
}

/// Sends what is to be sent, for the last time.
pub(crate) fn shutdown(timeout: Duration) -> OTelSdkResult {
    REGISTRY.get().map_or(Ok(()), |registry| registry.provider.shutdown_with_timeout(timeout))
}

/// The registry, if it was started.
pub(super) fn registry() -> Option<&'static Registry> {
    REGISTRY.get()
}

impl Registry {
    fn new() -> Self {
        let reader = SharedReader::default();
        let mut builder = SdkMeterProvider::builder().with_resource(crate::telemetry::resource());
        builder = builder.with_reader(reader.clone());
        if let Some(pusher) = lock(&PUSHED).take() {
            builder = pusher(builder);
        }
        let provider = builder.build();
        let meter = provider.meter("hashmesh");
        Self { reader, provider, meter, sections: Mutex::default() }
    }

    /// What everything counts now.
    pub(super) fn collect(&self) -> ResourceMetrics {
        let mut collected = ResourceMetrics::default();
        // Fails after the shutdown only: then there is nothing.
        let _ = self.reader.collect(&mut collected);
        collected
    }

    /// What is exported.
    pub(super) fn metrics(&self) -> Vec<Any> {
        let sections = lock(&self.sections).clone();
        sections.into_iter().flat_map(catalogue::of).copied().collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds one of these.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A reader that the provider and we both have.
#[derive(Clone, Debug, Default)]
struct SharedReader(Arc<ManualReader>);

impl MetricReader for SharedReader {
    fn register_pipeline(&self, pipeline: std::sync::Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}
