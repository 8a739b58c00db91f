//! A bench's figures.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Value, json};

use super::{check::Checked, latency::Latencies};

/// How the tasks were submitted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// In batches of so many tasks, over so many streams.
    Streams { batch: u32, streams: u32 },
    /// One at a time by so many callers, who wait for the outcome.
    Callers(u32),
}

/// What was done, and how fast.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) tasks: u64,
    /// Bytes of a task.
    pub(super) size: u32,
    pub(super) shape: Shape,
    pub(super) keep_inputs: bool,
    pub(super) algorithms: Vec<&'static str>,
    /// From the first batch to the last outcome.
    pub(super) elapsed: Duration,
    /// From handing a batch over to its last outcome.
    pub(super) latencies: &'a Latencies,
    /// Write-ahead log that the database wrote meanwhile, whoever caused it.
    pub(super) wal_bytes: u64,
    pub(super) checked: &'a Checked,
}

impl Report<'_> {
    pub(super) fn json(&self) -> Value {
        let seconds = self.elapsed.as_secs_f64();
        json!({
            "tasks": self.tasks,
            "seconds": rounded(seconds, 3),
            "durable_tasks_per_second": (self.tasks as f64 / seconds).round(),
            "bytes_per_second": (self.tasks as f64 * f64::from(self.size) / seconds).round(),
            "submit_to_result_ms": {
                "p50": rounded(self.latencies.percentile_ms(0.50), 3),
                "p99": rounded(self.latencies.percentile_ms(0.99), 3),
            },
            "wal_bytes_per_task": rounded(self.wal_bytes as f64 / self.tasks as f64, 1),
            "size": self.size,
            "batch": match self.shape { Shape::Streams { batch, .. } => batch, Shape::Callers(_) => 1 },
            "streams": match self.shape { Shape::Streams { streams, .. } => streams, Shape::Callers(_) => 0 },
            "callers": match self.shape { Shape::Streams { .. } => 0, Shape::Callers(callers) => callers },
            "keep_inputs": self.keep_inputs,
            "algorithms": self.algorithms,
            "checked": {
                "tasks": self.checked.tasks,
                "wrong": self.checked.wrong.len(),
                "by": self.checked.by,
            },
        })
    }

    pub(super) fn text(&self) -> String {
        let json = self.json();
        let seconds = self.elapsed.as_secs_f64();
        let (p50, p99) = (self.latencies.percentile_ms(0.50), self.latencies.percentile_ms(0.99));
        let by: Vec<_> =
            self.checked.by.iter().map(|(name, by)| format!("{name} by {}", by.as_str().unwrap_or(""))).collect();
        let lines = [
            (
                "tasks",
                match self.shape {
                    Shape::Streams { batch, streams } => {
                        format!("{} of {} bytes, batches of {batch}, {streams} streams", self.tasks, self.size)
                    }
                    Shape::Callers(callers) => {
                        format!("{} of {} bytes, one at a time by {callers} callers", self.tasks, self.size)
                    }
                },
            ),
            ("seconds", format!("{seconds:.3}")),
            ("durable tasks/s", json["durable_tasks_per_second"].to_string()),
            ("MB/s", format!("{:.1}", self.tasks as f64 * f64::from(self.size) / seconds / 1e6)),
            ("submit to result", format!("p50 {p50:.2} ms, p99 {p99:.2} ms")),
            ("WAL per task", format!("{} bytes", json["wal_bytes_per_task"])),
            (
                "checked",
                format!("{} tasks, {} wrong ({})", self.checked.tasks, self.checked.wrong.len(), by.join(", ")),
            ),
        ];
        lines.into_iter().fold(String::new(), |mut text, (name, value)| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name:<18}{value}");
            text
        })
    }
}

fn rounded(value: f64, digits: i32) -> f64 {
    let factor = 10_f64.powi(digits);
    (value * factor).round() / factor
}
