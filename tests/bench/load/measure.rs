//! What became of calls.

use std::{collections::BTreeMap, time::Duration};

/// Above this a rate is not sustained.
pub(crate) const MOST_P99_MILLIS: f64 = 500.0;
/// Of the calls, likewise.
pub(crate) const MOST_ERRORS: f64 = 0.001;
/// Later than this, a call was not sent when it was due.
pub(crate) const LATE: Duration = Duration::from_millis(10);

/// How many may be late.
pub(crate) const MOST_LATE: f64 = 0.01;

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Called {
    /// Since the begin, when it was due.
    pub(crate) due: Duration,
    /// From then to its answer.
    pub(crate) took: Duration,
    pub(crate) late: bool,
    pub(crate) error: Option<Box<str>>,
}

/// Calls of one time.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) length: Duration,
    /// In ms, sorted, of those that were answered well.
    took: Vec<f64>,
    late: usize,
    pub(crate) errors: BTreeMap<String, usize>,
}

impl Seen {
    /// What was due from one time to another.
    pub(crate) fn of(calls: &[Called], from: Duration, to: Duration) -> Self {
        let mut seen = Self { length: to - from, took: Vec::new(), late: 0, errors: BTreeMap::new() };
        for call in calls.iter().filter(|call| call.due >= from && call.due < to) {
            seen.late += usize::from(call.late);
            match &call.error {
                None => seen.took.push(call.took.as_secs_f64() * 1_000.0),
                Some(error) => *seen.errors.entry(error.to_string()).or_default() += 1,
            }
        }
        seen.took.sort_by(f64::total_cmp);
        seen
    }

    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let place = (self.took.len() as f64 * share) as usize;
        self.took.get(place.min(self.took.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn failed(&self) -> usize {
        self.errors.values().sum()
    }

    fn calls(&self) -> usize {
        self.took.len() + self.failed()
    }

    fn error_share(&self) -> f64 {
        self.failed() as f64 / self.calls().max(1) as f64
    }

    pub(crate) fn late_share(&self) -> f64 {
        self.late as f64 / self.calls().max(1) as f64
    }

    pub(crate) fn sustained(&self) -> bool {
        self.quantile(0.99) < MOST_P99_MILLIS && self.error_share() < MOST_ERRORS
    }

    pub(crate) fn print_header() {
        println!("{:<14}  calls/s  answered/s   p50 ms   p95 ms   p99 ms   max ms  errors  late %", "");
    }

    pub(crate) fn print(&self, name: &str) {
        let seconds = self.length.as_secs_f64();
        let [p50, p95, p99, most] = [0.5, 0.95, 0.99, 1.0].map(|share| self.quantile(share));
        println!(
            "{name:<14}  {:>7.1}  {:>10.1}  {p50:>7.2}  {p95:>7.2}  {p99:>7.2}  {most:>7.1}  {:>6}  {:>6.2}",
            self.calls() as f64 / seconds,
            self.took.len() as f64 / seconds,
            self.failed(),
            self.late_share() * 100.0,
        );
        print_errors(&self.errors);
    }
}

pub(crate) fn print_errors(errors: &BTreeMap<String, usize>) {
    for (error, times) in errors {
        println!("  {times} × {error}");
    }
}
