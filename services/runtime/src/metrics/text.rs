//! The registry in the text format of Prometheus (version 0.0.4).

use std::{collections::BTreeMap, fmt::Write as _};

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, HistogramDataPoint, MetricData, ResourceMetrics};

use super::{
    catalogue::Any,
    definition::{Definition, Kind},
    registry::registry,
};

/// What [`scrape`] makes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A series' labels as they are written, and its value.
type Written = BTreeMap<String, Value>;

#[derive(Debug)]
enum Value {
    Number(f64),
    Histogram { bounds: Vec<f64>, counts: Vec<u64>, sum: f64 },
}

/// Every metric of this process, those at 0 included. Empty if it has none.
#[must_use]
pub fn scrape() -> String {
    let Some(registry) = registry() else { return String::new() };
    let mut collected = series(&registry.collect());
    let mut text = String::with_capacity(64 * 1024);
    for any in registry.metrics() {
        let definition = any.definition();
        let mut series = collected.remove(definition.name).unwrap_or_default();
        for labels in expected(any) {
            let labels = labels.iter().map(|(name, value)| (*name, value.as_str()));
            series.entry(written(labels)).or_insert_with(|| zero(definition));
        }
        write_metric(&mut text, definition, &series);
    }
    text
}

/// The series that are there before anything happened. The others the registry has by itself.
fn expected(any: Any) -> Vec<Vec<(&'static str, String)>> {
    match any {
        Any::Histogram(histogram) => {
            let mut series = histogram.definition.known_series();
            series.extend(histogram.expected());
            series
        }
        _ => Vec::new(),
    }
}

fn zero(definition: &Definition) -> Value {
    match definition.kind {
        Kind::Histogram(bounds) => {
            Value::Histogram { bounds: bounds.to_vec(), counts: vec![0; bounds.len() + 1], sum: 0.0 }
        }
        Kind::Counter | Kind::Gauge => Value::Number(0.0),
    }
}

/// What was collected, by metric.
fn series(collected: &ResourceMetrics) -> BTreeMap<String, Written> {
    let mut found: BTreeMap<String, Written> = BTreeMap::new();
    for metric in collected.scope_metrics().flat_map(opentelemetry_sdk::metrics::data::ScopeMetrics::metrics) {
        let series = found.entry(metric.name().to_owned()).or_default();
        match metric.data() {
            AggregatedMetrics::F64(data) => read(data, series, |value| value),
            #[allow(clippy::cast_precision_loss)] // exact up to 2^53
            AggregatedMetrics::U64(data) => read(data, series, |value| value as f64),
            #[allow(clippy::cast_precision_loss)] // exact up to 2^53
            AggregatedMetrics::I64(data) => read(data, series, |value| value as f64),
        }
    }
    found
}

fn read<T: Copy>(data: &MetricData<T>, series: &mut Written, number: impl Fn(T) -> f64) {
    match data {
        MetricData::Gauge(gauge) => {
            for point in gauge.data_points() {
                series.insert(labels(point.attributes()), Value::Number(number(point.value())));
            }
        }
        MetricData::Sum(sum) => {
            for point in sum.data_points() {
                series.insert(labels(point.attributes()), Value::Number(number(point.value())));
            }
        }
        MetricData::Histogram(histogram) => {
            for point in histogram.data_points() {
                series.insert(labels(point.attributes()), buckets(point, number(point.sum())));
            }
        }
        // None of ours is one.
        MetricData::ExponentialHistogram(_) => {}
    }
}

fn buckets<T>(point: &HistogramDataPoint<T>, sum: f64) -> Value {
    Value::Histogram { bounds: point.bounds().collect(), counts: point.bucket_counts().collect(), sum }
}

fn labels<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> String {
    let mut pairs: Vec<_> =
        attributes.map(|pair| (pair.key.as_str().to_owned(), pair.value.as_str().into_owned())).collect();
    pairs.sort();
    written(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

/// `a="x",b="y"`, sorted by name.
fn written<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort_unstable();
    let mut text = String::new();
    for (name, value) in pairs {
        let comma = if text.is_empty() { "" } else { "," };
        let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        // Writing to a string does not fail, here and below.
        let _ = write!(text, "{comma}{name}=\"{value}\"");
    }
    text
}

fn write_metric(text: &mut String, definition: &Definition, series: &Written) {
    let name = definition.name;
    let kind = definition.kind.name();
    let help = definition.help.trim().replace('\\', r"\\").replace('\n', r"\n");
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value) in series {
        match value {
            Value::Number(number) if labels.is_empty() => {
                let _ = writeln!(text, "{name} {number}");
            }
            Value::Number(number) => {
                let _ = writeln!(text, "{name}{{{labels}}} {number}");
            }
            Value::Histogram { bounds, counts, sum } => write_histogram(text, name, labels, bounds, counts, *sum),
        }
    }
}

fn write_histogram(text: &mut String, name: &str, labels: &str, bounds: &[f64], counts: &[u64], sum: f64) {
    let comma = if labels.is_empty() { "" } else { "," };
    let mut below = 0;
    for (index, count) in counts.iter().enumerate() {
        below += count;
        let bound = bounds.get(index).map_or_else(|| "+Inf".to_owned(), ToString::to_string);
        let _ = writeln!(text, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {below}");
    }
    let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let _ = writeln!(text, "{name}_sum{braces} {sum}\n{name}_count{braces} {below}");
}

#[cfg(test)]
mod tests {
    use super::{
        super::{catalogue, definition::Section, registry::start},
        *,
    };

    #[test]
    fn a_started_section_is_there_at_zero_and_others_are_not() {
        start(&[Section::Hash, Section::Rpc]);
        let text = scrape();
        for line in [
            "# TYPE hashmesh_hash_bytes_total counter\nhashmesh_hash_bytes_total 0\n",
            "hashmesh_rpc_client_retries_total{service=\"queue\"} 0\n",
            "# TYPE hashmesh_rpc_server_open_calls gauge\nhashmesh_rpc_server_open_calls{kind=\"stream\"} 0\n",
            "hashmesh_trace_dropped_spans_total{reason=\"queue_full\"} 0\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("hashmesh_cache_"), "{text}");
    }

    #[test]
    fn what_is_counted_and_watched_adds_up() {
        start(&[Section::Worker]);
        catalogue::worker::TASKS.add(2, &["failed"]);
        catalogue::worker::TASKS.add(3, &["failed"]);
        let first = catalogue::worker::LEASES.watch(&[], || 4.0);
        let second = catalogue::worker::LEASES.watch(&[], || 5.0);
        let text = scrape();
        assert!(text.contains("hashmesh_worker_tasks_total{outcome=\"failed\"} 5\n"), "{text}");
        assert!(text.contains("hashmesh_worker_leases 9\n"), "{text}");
        drop(first);
        assert!(scrape().contains("hashmesh_worker_leases 5\n"));
        drop(second);
    }

    #[test]
    fn buckets_count_what_is_below_them() {
        start(&[Section::Gateway, Section::Queue]);
        let slack = &catalogue::queue::LEASE_SLACK;
        assert!(scrape().contains("hashmesh_queue_lease_slack_seconds_bucket{le=\"+Inf\"} 0\n"));
        slack.record(0.3, &[]);
        slack.record(100.0, &[]);
        let text = scrape();
        for line in [
            "_bucket{le=\"0.25\"} 0\n",
            "_bucket{le=\"0.5\"} 1\n",
            "_bucket{le=\"+Inf\"} 2\n",
            "_sum 100.3\n",
            "_count 2\n",
        ] {
            let line = format!("hashmesh_queue_lease_slack_seconds{line}");
            assert!(text.contains(&line), "{line} in {text}");
        }
    }

    #[test]
    fn a_label_is_escaped() {
        assert_eq!(written([("b", "x\"\\\n"), ("a", "1")].into_iter()), r#"a="1",b="x\"\\\n""#);
    }
}
