//! What this process counts and measures: one registry, read by `/metrics` and sent by OTLP.
//!
//! Every metric is a static of the [`catalogue`], with its name, unit, meaning and labels; `observability/METRICS.md` is
//! made of it. A process starts the [`Section`]s that its roles need ([`start`]); from then on each of their metrics is
//! exported, at 0 where nothing happened yet. Metrics of other sections, and all of them in a process that starts none, are
//! not recorded and cost a look at a pointer.
//!
//! Labels have few values, known beforehand or named by configuration: never a tenant, a submission or a client's text.

pub mod catalogue;
mod definition;
mod file_system;
mod instrument;
mod process;
mod registry;
mod table;
mod text;

pub use self::{
    definition::{Definition, Kind, Label, Section, Values},
    file_system::directory,
    instrument::{Counter, Gauge, Histogram, Total, Watch},
    process::ready,
    registry::start,
    table::{explain, table},
    text::{CONTENT_TYPE, scrape},
};
pub(crate) use registry::{push_to, shutdown};
