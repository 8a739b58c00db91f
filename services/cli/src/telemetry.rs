//! Options that every command has: where its traces and metrics go.

use clap::{Args, ValueEnum};
use hashmesh_runtime::telemetry::{ExportSettings, Protocol};

use crate::settings::environment;

/// Where traces and metrics go.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Traces and metrics")]
pub(crate) struct TelemetryArgs {
    /// An OpenTelemetry collector that takes traces and metrics by OTLP, like http://127.0.0.1:4317 (also
    /// OTEL_EXPORTER_OTLP_ENDPOINT; headers: OTEL_EXPORTER_OTLP_HEADERS); default: none.
    #[arg(long, global = true, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// What it is spoken to by (also OTEL_EXPORTER_OTLP_PROTOCOL).
    #[arg(long, global = true, value_enum, value_name = "PROTOCOL")]
    otlp_protocol: Option<OtlpProtocol>,
    /// Of the traces that begin here, how many are sampled: 0 to 1 (also OTEL_TRACES_SAMPLER_ARG); default: 0.01. Whoever is called
    /// within a trace follows its beginning. What fails is sent in any case.
    #[arg(long, global = true, value_name = "RATIO", value_parser = ratio)]
    trace_ratio: Option<f64>,
}

/// Of traces that begin in a process.
const DEFAULT_RATIO: f64 = 0.01;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OtlpProtocol {
    /// gRPC, port 4317 by convention.
    Grpc,
    /// Protobuf over HTTP/1.1, port 4318 by convention.
    #[value(name = "http/protobuf", alias = "http")]
    Http,
}

impl TelemetryArgs {
    /// `None`: nothing is sent.
    pub(crate) fn export(&self) -> Option<ExportSettings> {
        let text = |name: &str| environment(name).and_then(|value| value.into_string().ok());
        if text("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return None;
        }
        let endpoint = self.otlp_endpoint.clone().or_else(|| text("OTEL_EXPORTER_OTLP_ENDPOINT"))?;
        let protocol = match self.otlp_protocol {
            Some(OtlpProtocol::Grpc) => Protocol::Grpc,
            Some(OtlpProtocol::Http) => Protocol::Http,
            None if text("OTEL_EXPORTER_OTLP_PROTOCOL").is_some_and(|value| value.starts_with("http")) => {
                Protocol::Http
            }
            None => Protocol::Grpc,
        };
        let sampler = || text("OTEL_TRACES_SAMPLER_ARG").and_then(|value| ratio(&value).ok());
        Some(ExportSettings { endpoint, protocol, ratio: self.trace_ratio.or_else(sampler).unwrap_or(DEFAULT_RATIO) })
    }
}

fn ratio(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "wanted 0 to 1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_between_0_and_1() {
        assert_eq!((ratio("0"), ratio("1"), ratio("0.01")), (Ok(0.0), Ok(1.0), Ok(0.01)));
        for text in ["-0.1", "1.1", "NaN", "half", ""] {
            assert!(ratio(text).is_err(), "{text}");
        }
    }
}
