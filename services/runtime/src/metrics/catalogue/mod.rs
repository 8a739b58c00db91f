//! Every metric there is. A new one is a line in the file of its section; what counts is written where it happens.

pub mod cache;
pub mod database;
pub mod gateway;
pub mod hash;
pub mod process;
pub mod queue;
pub mod rpc;
pub mod worker;

use super::{
    Definition, Section,
    instrument::{Counter, Gauge, Histogram, Total},
};

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Any {
    Counter(&'static Counter),
    Total(&'static Total),
    Gauge(&'static Gauge),
    Histogram(&'static Histogram),
}

impl Any {
    /// What it is.
    pub(super) fn definition(self) -> &'static Definition {
        match self {
            Self::Counter(counter) => &counter.definition,
            Self::Total(total) => &total.definition,
            Self::Gauge(gauge) => &gauge.definition,
            Self::Histogram(histogram) => &histogram.definition,
        }
    }
}

/// From half a millisecond to a minute: calls, commits, phases.
const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// From a task's frame to the largest.
const BYTES: &[f64] = &[256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];
/// How many things came together.
const COUNTS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0];

/// Those of a section.
pub(super) fn of(section: Section) -> &'static [Any] {
    match section {
        Section::Process => process::ALL,
        Section::Rpc => rpc::ALL,
        Section::Database => database::ALL,
        Section::Gateway => gateway::ALL,
        Section::Queue => queue::ALL,
        Section::Worker => worker::ALL,
        Section::Hash => hash::ALL,
        Section::Cache => cache::ALL,
    }
}

/// The metrics of a section: their meaning, kind, name, unit, and labels.
macro_rules! metrics {
    ($section:ident: $(
        $(#[doc = $help:literal])+
        $kind:ident $(($bounds:ident))? $ident:ident = $name:literal in $unit:literal
        [$($label:ident $($values:literal)|+),*];
    )*) => {
        $(
            $(#[doc = $help])+
            pub static $ident: super::super::$kind = super::super::$kind::new(super::super::Definition {
                name: $name,
                help: concat!($($help),+),
                unit: $unit,
                kind: super::kind!($kind $(super::$bounds)?),
                labels: &[$(super::super::Label { name: stringify!($label), values: super::values!($($values)|+) }),*],
                section: super::super::Section::$section,
            });
        )*
        pub(super) const ALL: &[super::Any] = &[$(super::Any::$kind(&$ident)),*];
    };
}

macro_rules! kind {
    (Counter) => {
        super::super::Kind::Counter
    };
    (Total) => {
        super::super::Kind::Counter
    };
    (Gauge) => {
        super::super::Kind::Gauge
    };
    (Histogram $bounds:expr) => {
        super::super::Kind::Histogram($bounds)
    };
}

/// One text in angle brackets says what names the values; else they are the values.
macro_rules! values {
    ($($value:literal)|+) => {
        super::values_of(&[$($value),+])
    };
}

/// See [`values!`].
const fn values_of(values: &'static [&'static str]) -> super::Values {
    if values.len() == 1 && values[0].as_bytes()[0] == b'<' {
        super::Values::Named(values[0])
    } else {
        super::Values::Known(values)
    }
}

pub(crate) use {kind, metrics, values};
