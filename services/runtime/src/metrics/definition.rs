//! What is known of a metric before anything is counted.

/// A metric's description.
#[derive(Debug)]
pub struct Definition {
    /// `hashmesh_<what>_<unit>`, and `_total` where it only grows.
    pub name: &'static str,
    /// What it means, in a sentence or two.
    pub help: &'static str,
    /// Its unit by UCUM: `s`, `By`, `1` for ratios, `{thing}` for counts.
    pub unit: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// What tells its series from each other.
    pub labels: &'static [Label],
    /// Which processes have it.
    pub section: Section,
}

/// A kind of number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many observations there were below each of these bounds.
    Histogram(&'static [f64]),
}

impl Kind {
    /// As Prometheus has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// A label.
#[derive(Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What it may be.
    pub values: Values,
}

/// What a label may be.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// One of these.
    Known(&'static [&'static str]),
    /// What the program's interfaces or the configuration name; this says which.
    Named(&'static str),
}

/// Metrics that a process has or has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    /// Every process.
    Process,
    /// Every process that serves gRPC.
    Rpc,
    /// Processes that use Postgres.
    Database,
    /// Gateways.
    Gateway,
    /// Queues.
    Queue,
    /// Workers.
    Worker,
    /// Hash services.
    Hash,
    /// Cache services.
    Cache,
}

impl Section {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 8] =
        [Self::Process, Self::Rpc, Self::Database, Self::Gateway, Self::Queue, Self::Worker, Self::Hash, Self::Cache];

    /// Its heading.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Process => "Every process",
            Self::Rpc => "gRPC, in every process",
            Self::Database => "Processes that use Postgres",
            Self::Gateway => "Gateway",
            Self::Queue => "Queue",
            Self::Worker => "Worker",
            Self::Hash => "Hash",
            Self::Cache => "Cache",
        }
    }
}

impl Definition {
    /// Every combination of its labels' values, if all of them are known.
    pub(super) fn known_series(&self) -> Vec<Vec<(&'static str, String)>> {
        let mut series = vec![Vec::new()];
        for label in self.labels {
            let Values::Known(values) = label.values else { return Vec::new() };
            let longer = series.iter().flat_map(|labels: &Vec<(&'static str, String)>| {
                values.iter().map(move |value| {
                    let mut labels = labels.clone();
                    labels.push((label.name, (*value).to_owned()));
                    labels
                })
            });
            series = longer.collect();
        }
        series
    }
}
