//! Sending spans to a collector by OTLP.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use opentelemetry::{KeyValue, global};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::trace::{self, Ids};

/// A collector that takes longer loses the batch; what Harmony does never waits for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why no exporter could be made.
#[derive(Debug, thiserror::Error)]
#[error("the exporter cannot be made: {0}")]
pub struct ExporterError(String);

/// Sends until it is dropped; then sends what is left.
#[derive(Debug)]
pub struct Exporting(SdkTracerProvider);

impl Drop for Exporting {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// How spans are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Usually port 4317.
    Grpc,
    /// Usually port 4318; `/v1/traces` is appended to the endpoint.
    HttpProtobuf,
}

/// Starts sending to `endpoint`, inside a runtime. The library itself reads `OTEL_TRACES_SAMPLER`,
/// `OTEL_TRACES_SAMPLER_ARG`, `OTEL_EXPORTER_OTLP_HEADERS` and `OTEL_RESOURCE_ATTRIBUTES`.
pub fn start(
    endpoint: &str,
    protocol: Protocol,
    service: &str,
    version: &'static str,
) -> Result<Exporting, ExporterError> {
    let exporter = match protocol {
        Protocol::Grpc => {
            SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(PATIENCE).build()
        }
        Protocol::HttpProtobuf => SpanExporter::builder()
            .with_http()
            .with_http_client(Http::new()?)
            .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_timeout(PATIENCE)
            .build(),
    };
    let exporter = exporter.map_err(|error| ExporterError(error.to_string()))?;
    let resource = Resource::builder()
        .with_service_name(service.to_owned())
        .with_attribute(KeyValue::new("service.version", version))
        // An id in OTEL_RESOURCE_ATTRIBUTES counts before this one.
        .with_schema_url([KeyValue::new("service.instance.id", Uuid::new_v4().to_string())], trace::SCHEMA)
        .build();
    let provider = SdkTracerProvider::builder()
        .with_id_generator(Ids::default())
        .with_resource(resource)
        .with_batch_exporter(exporter)
        .build();
    global::set_tracer_provider(provider.clone());
    trace::turn_on();
    Ok(Exporting(provider))
}

/// Requests are made on our runtime: the exporter has a thread of its own, which has none.
#[derive(Debug)]
struct Http {
    client: reqwest::Client,
    runtime: Handle,
}

impl Http {
    fn new() -> Result<Self, ExporterError> {
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .build()
            .map_err(|error| ExporterError(error.to_string()))?;
        let runtime = Handle::try_current().map_err(|error| ExporterError(error.to_string()))?;
        Ok(Self { client, runtime })
    }
}

#[async_trait]
impl HttpClient for Http {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sending = self.runtime.spawn(async move {
            let answer = client.execute(request.try_into()?).await?.error_for_status()?;
            let mut response = Response::builder().status(answer.status());
            if let Some(headers) = response.headers_mut() {
                headers.clone_from(answer.headers());
            }
            Ok::<_, HttpError>(response.body(answer.bytes().await?)?)
        });
        sending.await?
    }
}
