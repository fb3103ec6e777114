//! Logs to stderr, spans to a collector, metrics for a scrape: what each process sets up for itself.
//!
//! Spans are sent by `worker` and `serve` where `OTEL_EXPORTER_OTLP_ENDPOINT` is set, and are otherwise not even made.

use harmony_blueprints::contracts::capability;
use harmony_telemetry::{Exporting, Protocol, metrics};
use tracing_subscriber::EnvFilter;

use crate::{
    config::Config,
    failure::{Failure, Failures},
    settings::Settings,
};

/// Where spans go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TraceSettings {
    endpoint: String,
    protocol: Protocol,
}

impl TraceSettings {
    /// From `OTEL_EXPORTER_OTLP_ENDPOINT` and `OTEL_EXPORTER_OTLP_PROTOCOL`; `None` where spans go nowhere.
    pub(crate) fn new(settings: &Settings) -> Result<Option<Self>, Failures> {
        let mut wrong = Vec::new();
        let protocol = match settings.get("OTEL_EXPORTER_OTLP_PROTOCOL") {
            None | Some("grpc") => Protocol::Grpc,
            Some("http/protobuf") => Protocol::HttpProtobuf,
            Some(other) => {
                wrong.push(Failure::usage(
                    format!("OTEL_EXPORTER_OTLP_PROTOCOL: {other:?} is none that is spoken here"),
                    "set it to grpc or http/protobuf",
                ));
                Protocol::Grpc
            }
        };
        let endpoint = settings.get("OTEL_EXPORTER_OTLP_ENDPOINT");
        let is_address = |text: &str| {
            let url = url::Url::parse(text).ok();
            url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        };
        if let Some(other) = endpoint.filter(|text| !is_address(text)) {
            wrong.push(Failure::usage(
                format!("OTEL_EXPORTER_OTLP_ENDPOINT: {other:?} is no address"),
                "set it to one such as http://collector:4317",
            ));
        }
        Failures::none(wrong)?;
        Ok(endpoint.map(|endpoint| Self { endpoint: endpoint.to_owned(), protocol }))
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
    let filter = log_filter(&config.settings, default)?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if log_is_json(&config.settings)? {
        subscriber.json().flatten_event(true).with_span_list(false).try_init()
    } else {
        subscriber.with_ansi(false).try_init()
    };
    // Refused only where somebody logs already.
    drop(started);
    Ok(())
}

/// What `HARMONY_LOG` asks for.
pub(crate) fn log_filter(settings: &Settings, default: &str) -> Result<EnvFilter, Failure> {
    EnvFilter::try_new(settings.get("HARMONY_LOG").unwrap_or(default)).map_err(|error| {
        Failure::usage(
            format!("HARMONY_LOG: {error}"),
            "set it to a level or a filter such as info,harmony=debug",
        )
    })
}

/// What `HARMONY_LOG_FORMAT` asks for.
pub(crate) fn log_is_json(settings: &Settings) -> Result<bool, Failure> {
    match settings.get("HARMONY_LOG_FORMAT") {
        None | Some("text") => Ok(false),
        Some("json") => Ok(true),
        Some(other) => {
            let what = format!("HARMONY_LOG_FORMAT: {other:?} is no format");
            Err(Failure::usage(what, "set it to text or json"))
        }
    }
}

/// Makes the metrics known, and sends spans for as long as the answer is held. Inside a runtime.
pub(crate) fn start(config: &Config, service: &str) -> Result<Option<Exporting>, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    metrics::register(version);
    for capability in capability::ALL {
        metrics::has_steps_of(capability);
    }
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
            let settings = Settings::collect(&|_| None, &environment, None);
            match (TraceSettings::new(&settings), expected) {
                (Ok(found), Ok(expected)) => {
                    assert_eq!(found.map(|found| found.describe()).as_deref(), expected);
                }
                (Err(failure), Err(key)) => assert!(failure.to_string().starts_with(key), "{failure}"),
                (found, expected) => panic!("{pairs:?}: {found:?}, expected {expected:?}"),
            }
        }
    }
}
