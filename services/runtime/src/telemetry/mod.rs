//! What a process tells of itself while it runs: log lines ([`logs`]), and spans and metrics for a collector ([`otlp`]).

mod json;
mod logs;
mod otlp;
mod panics;
mod repeated;

use std::{env, sync::OnceLock, time::Duration};

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;

use self::otlp::Exporter;
pub use self::{
    logs::{LogFormat, chain},
    otlp::{ExportError, ExportSettings, Protocol},
    repeated::Repeated,
};

/// What the process is to collectors.
static SERVICE: OnceLock<String> = OnceLock::new();

/// How a process tells of itself.
#[derive(Debug)]
pub struct TelemetrySettings {
    /// How log lines look.
    pub log_format: LogFormat,
    /// The process' `service.name`, unless OTEL_SERVICE_NAME says another.
    pub service: String,
    /// Where spans and metrics go. `None`: nowhere.
    pub export: Option<ExportSettings>,
}

/// What was started, to be stopped at the end.
#[derive(Debug)]
#[must_use = "what waits to be sent is lost without a shutdown"]
pub struct Telemetry {
    exporter: Option<Exporter>,
}

/// Starts logging to standard error, panics included, and exporting. Once per process.
///
/// # Errors
/// If the collector's address is none. That no collector is there is no error.
pub fn init(settings: TelemetrySettings) -> Result<Telemetry, ExportError> {
    let _ = SERVICE.set(settings.service);
    let exporter = settings.export.as_ref().map(Exporter::start);
    let (exporter, failure) = match exporter.transpose() {
        Ok(exporter) => (exporter, None),
        Err(error) => (None, Some(error)),
    };
    logs::init(settings.log_format, exporter.as_ref().map(Exporter::tracer));
    match failure {
        None => Ok(Telemetry { exporter }),
        Some(error) => Err(error),
    }
}

impl Telemetry {
    /// How long [`Telemetry::shutdown`] takes at most.
    pub const LONGEST_SHUTDOWN: Duration = otlp::LONGEST_SHUTDOWN;

    /// Sends what waits, if the collector takes it soon. Not to be called within an async runtime.
    pub fn shutdown(self) {
        if let Some(exporter) = self.exporter {
            exporter.shutdown();
        }
    }
}

/// Who this process is: what OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say, and what nobody has to say.
pub(crate) fn resource() -> Resource {
    let named = env::var("OTEL_SERVICE_NAME").is_ok_and(|name| !name.is_empty());
    let mut builder = Resource::builder();
    if !named && let Some(service) = SERVICE.get() {
        builder = builder.with_service_name(service.clone());
    }
    let instance = format!("{}/{}", crate::resources::host_name(), std::process::id());
    let own = [
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.namespace", "hashmesh"),
        KeyValue::new("service.instance.id", instance),
    ];
    builder.with_attributes(own).build()
}
