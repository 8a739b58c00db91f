//! The statics that code counts with.

use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use opentelemetry::{KeyValue, metrics::Meter};

use super::definition::Definition;

/// Labels with their values.
pub(super) type Series = Vec<(&'static str, String)>;

/// Something that happens, counted where it happens.
#[derive(Debug)]
pub struct Counter {
    pub(super) definition: Definition,
    instrument: OnceLock<opentelemetry::metrics::Counter<u64>>,
}

/// Something that is measured each time.
#[derive(Debug)]
pub struct Histogram {
    pub(super) definition: Definition,
    instrument: OnceLock<opentelemetry::metrics::Histogram<f64>>,
    /// Series that are exported before anything was measured.
    expected: Mutex<Vec<Series>>,
}

/// A number that goes up and down, asked for when it is wanted.
#[derive(Debug)]
pub struct Gauge {
    pub(super) definition: Definition,
    watchers: Watchers,
}

/// A number that only grows and that is counted elsewhere; asked for when it is wanted.
#[derive(Debug)]
pub struct Total {
    pub(super) definition: Definition,
    watchers: Watchers,
}

impl Counter {
    pub(super) const fn new(definition: Definition) -> Self {
        Self { definition, instrument: OnceLock::new() }
    }

    /// Counts. The labels are those of the definition, in its order.
    pub fn add(&self, more: u64, labels: &[&'static str]) {
        if let Some(counter) = self.instrument.get() {
            counter.add(more, &attributes(&self.definition, labels));
        }
    }

    /// The same with labels that the configuration names.
    pub fn add_named(&self, more: u64, labels: &[&Arc<str>]) {
        if let Some(counter) = self.instrument.get() {
            let named = self.definition.labels.iter().zip(labels);
            let attributes: Vec<_> = named.map(|(label, value)| KeyValue::new(label.name, Arc::clone(value))).collect();
            counter.add(more, &attributes);
        }
    }

    /// Exports a series at 0 until it is counted.
    pub fn expect(&self, labels: &[&str]) {
        if let Some(counter) = self.instrument.get() {
            counter.add(0, &owned(&series(&self.definition, labels)));
        }
    }

    pub(super) fn start(&self, meter: &Meter) {
        let counter = meter.u64_counter(self.definition.name).with_description(self.definition.help);
        let counter = counter.with_unit(self.definition.unit).build();
        for series in self.definition.known_series() {
            counter.add(0, &owned(&series));
        }
        let _ = self.instrument.set(counter);
    }
}

impl Histogram {
    pub(super) const fn new(definition: Definition) -> Self {
        Self { definition, instrument: OnceLock::new(), expected: Mutex::new(Vec::new()) }
    }

    /// Notes an observation. The labels are those of the definition, in its order.
    pub fn record(&self, value: f64, labels: &[&'static str]) {
        if let Some(histogram) = self.instrument.get() {
            histogram.record(value, &attributes(&self.definition, labels));
        }
    }

    /// Notes how long something took, in seconds.
    pub fn record_time(&self, time: std::time::Duration, labels: &[&'static str]) {
        self.record(time.as_secs_f64(), labels);
    }

    /// Exports a series at 0 until something is observed.
    pub fn expect(&self, labels: &[&str]) {
        let series = series(&self.definition, labels);
        let mut expected = lock(&self.expected);
        if !expected.contains(&series) {
            expected.push(series);
        }
    }

    /// Those that were announced.
    pub(super) fn expected(&self) -> Vec<Series> {
        lock(&self.expected).clone()
    }

    pub(super) fn start(&self, meter: &Meter) {
        let super::definition::Kind::Histogram(bounds) = self.definition.kind else { return };
        let histogram = meter.f64_histogram(self.definition.name).with_description(self.definition.help);
        let histogram = histogram.with_unit(self.definition.unit).with_boundaries(bounds.to_vec());
        let _ = self.instrument.set(histogram.build());
    }
}

impl Gauge {
    pub(super) const fn new(definition: Definition) -> Self {
        Self { definition, watchers: Watchers::new() }
    }

    /// Has the number asked for until the watch is dropped. Watches of equal labels add up: several roles of one kind may
    /// be in a process. `read` must not wait for anything.
    pub fn watch(&'static self, labels: &[&str], read: impl Fn() -> f64 + Send + Sync + 'static) -> Watch {
        self.watchers.add(series(&self.definition, labels), Arc::new(read))
    }

    pub(super) fn start(&'static self, meter: &Meter) {
        let gauge = meter.f64_observable_gauge(self.definition.name).with_description(self.definition.help);
        gauge
            .with_unit(self.definition.unit)
            .with_callback(|observer| {
                for (series, value) in self.watchers.sums(&self.definition) {
                    observer.observe(value, &owned(&series));
                }
            })
            .build();
    }
}

impl Total {
    pub(super) const fn new(definition: Definition) -> Self {
        Self { definition, watchers: Watchers::new() }
    }

    /// Has the number asked for until the watch is dropped. Watches of equal labels add up. `read` must not wait for
    /// anything, and may never answer with less than before.
    pub fn watch(&'static self, labels: &[&str], read: impl Fn() -> f64 + Send + Sync + 'static) -> Watch {
        self.watchers.add(series(&self.definition, labels), Arc::new(read))
    }

    pub(super) fn start(&'static self, meter: &Meter) {
        let total = meter.f64_observable_counter(self.definition.name).with_description(self.definition.help);
        total
            .with_unit(self.definition.unit)
            .with_callback(|observer| {
                for (series, value) in self.watchers.sums(&self.definition) {
                    observer.observe(value, &owned(&series));
                }
            })
            .build();
    }
}

/// Keeps a number being asked for.
#[derive(Debug)]
#[must_use = "a number is asked for as long as this lives"]
pub struct Watch {
    watchers: &'static Watchers,
    id: u64,
}

impl Watch {
    /// Asks for it as long as the process runs.
    pub fn forever(self) {
        std::mem::forget(self);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        lock(&self.watchers.all).retain(|watcher| watcher.id != self.id);
    }
}

/// Where a gauge's numbers come from.
struct Watchers {
    all: Mutex<Vec<Watcher>>,
    last_id: AtomicU64,
}

#[derive(Clone)]
struct Watcher {
    id: u64,
    series: Series,
    read: Arc<dyn Fn() -> f64 + Send + Sync>,
}

impl std::fmt::Debug for Watchers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watchers").field("number", &lock(&self.all).len()).finish()
    }
}

impl Watchers {
    const fn new() -> Self {
        Self { all: Mutex::new(Vec::new()), last_id: AtomicU64::new(0) }
    }

    fn add(&'static self, series: Series, read: Arc<dyn Fn() -> f64 + Send + Sync>) -> Watch {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed);
        lock(&self.all).push(Watcher { id, series, read });
        Watch { watchers: self, id }
    }

    /// The sum for each series, and 0 for those that are known and have no watcher.
    fn sums(&self, definition: &Definition) -> Vec<(Series, f64)> {
        // Not asked under the lock: what is asked may end a watch.
        let watchers = lock(&self.all).clone();
        let mut sums: Vec<_> = definition.known_series().into_iter().map(|series| (series, 0.0)).collect();
        for watcher in &watchers {
            let value = (watcher.read)();
            match sums.iter_mut().find(|(series, _)| *series == watcher.series) {
                Some((_, sum)) => *sum += value,
                None => sums.push((watcher.series.clone(), value)),
            }
        }
        sums
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds one of these.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn series(definition: &Definition, labels: &[&str]) -> Series {
    debug_assert_eq!(labels.len(), definition.labels.len(), "{}", definition.name);
    definition.labels.iter().zip(labels).map(|(label, value)| (label.name, (*value).to_owned())).collect()
}

fn attributes(definition: &Definition, labels: &[&'static str]) -> Vec<KeyValue> {
    debug_assert_eq!(labels.len(), definition.labels.len(), "{}", definition.name);
    definition.labels.iter().zip(labels).map(|(label, value)| KeyValue::new(label.name, *value)).collect()
}

fn owned(series: &Series) -> Vec<KeyValue> {
    series.iter().map(|(name, value)| KeyValue::new(*name, value.clone())).collect()
}
