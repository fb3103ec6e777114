//! Logs to stderr, spans to a collector, metrics for a scrape: what each process sets up for itself.
//!
//! Spans are sent by `worker` and `serve` where `OTEL_EXPORTER_OTLP_ENDPOINT` is set, and are otherwise not even made.

use harmony_telemetry::{Exporting, Protocol, metrics};
use tracing_subscriber::EnvFilter;

use crate::{config::Config, failure::Failure, settings::Settings};

/// Where spans go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TraceSettings {
    endpoint: String,
    protocol: Protocol,
}

impl TraceSettings {
    /// From `OTEL_EXPORTER_OTLP_ENDPOINT` and `OTEL_EXPORTER_OTLP_PROTOCOL`; `None` where spans go nowhere.
    pub(crate) fn new(settings: &Settings) -> Result<Option<Self>, Failure> {
        let protocol = match settings.get("OTEL_EXPORTER_OTLP_PROTOCOL") {
            None | Some("grpc") => Protocol::Grpc,
            Some("http/protobuf") => Protocol::HttpProtobuf,
            Some(other) => {
                return Err(Failure::usage(
                    format!("OTEL_EXPORTER_OTLP_PROTOCOL: {other:?} is none that is spoken here"),
                    "set it to grpc or http/protobuf",
                ));
            }
        };
        let Some(endpoint) = settings.get("OTEL_EXPORTER_OTLP_ENDPOINT") else { return Ok(None) };
        let url = url::Url::parse(endpoint).ok();
        if !url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            return Err(Failure::usage(
                format!("OTEL_EXPORTER_OTLP_ENDPOINT: {endpoint:?} is no address"),
                "set it to one such as http://collector:4317",
            ));
        }
        Ok(Some(Self { endpoint: endpoint.to_owned(), protocol }))
    }

    /// For people.
    pub(crate) fn describe(&self) -> String {
        let protocol = match self.protocol {
            Protocol::Grpc => "grpc",
            Protocol::HttpProtobuf => "http/protobuf",
        };
        format!("{} by {protocol}", self.endpoint)
    }
}

/// Logs to stderr, as `HARMONY_LOG` says, in text or (`HARMONY_LOG_FORMAT=json`) in JSON with the ids of what it is about.
pub(crate) fn start_logging(config: &Config, default: &str) -> Result<(), Failure> {
    let wanted = config.settings.get("HARMONY_LOG").unwrap_or(default);
    let filter = EnvFilter::try_new(wanted).map_err(|error| {
        Failure::usage(
            format!("HARMONY_LOG: {error}"),
            "set it to a level or a filter such as info,harmony=debug",
        )
    })?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match config.settings.get("HARMONY_LOG_FORMAT") {
        None | Some("text") => subscriber.with_ansi(false).try_init(),
        Some("json") => subscriber.json().flatten_event(true).with_span_list(false).try_init(),
        Some(other) => {
            let what = format!("HARMONY_LOG_FORMAT: {other:?} is no format");
            return Err(Failure::usage(what, "set it to text or json"));
        }
    };
    // Refused only where somebody logs already.
    drop(started);
    Ok(())
}

/// Makes the metrics known, and sends spans for as long as the answer is held. Inside a runtime.
pub(crate) fn start(config: &Config, service: &str) -> Result<Option<Exporting>, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    metrics::register(version);
    let Some(traces) = &config.traces else { return Ok(None) };
    let exporting =
        harmony_telemetry::start(&traces.endpoint, traces.protocol, service, version).map_err(|error| {
            Failure::usage(
                format!("OTEL_EXPORTER_OTLP_ENDPOINT: {error}"),
                "correct the OTEL_* settings, or unset the endpoint",
            )
        })?;
    tracing::info!(collector = %traces.describe(), "sending spans");
    Ok(Some(exporting))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_spans_go_is_said_or_explained() {
        for (pairs, expected) in [
            (&[][..], Ok(None)),
            (&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")], Ok(None)),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317")], Ok(Some("http://c:4317 by grpc"))),
            (
                &[
                    ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c:4318"),
                    ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
                ],
                Ok(Some("https://c:4318 by http/protobuf")),
            ),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4317")], Err("OTEL_EXPORTER_OTLP_ENDPOINT")),
            (&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")], Err("OTEL_EXPORTER_OTLP_PROTOCOL")),
        ] {
            let environment =
                |key: &str| pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned());
            let settings = Settings::collect(&|_| None, &environment, None).unwrap();
            match (TraceSettings::new(&settings), expected) {
                (Ok(found), Ok(expected)) => {
                    assert_eq!(found.map(|found| found.describe()).as_deref(), expected);
                }
                (Err(failure), Err(key)) => assert!(failure.what.starts_with(key), "{}", failure.what),
                (found, expected) => {
                    panic!("{pairs:?}: {:?}, expected {expected:?}", found.map_err(|failure| failure.what))
                }
            }
        }
    }
}
