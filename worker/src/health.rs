//! The worker's own small HTTP server: `/healthz`, `/readyz` and `/metrics`, where `HARMONY_METRICS_ADDR` says.
//!
//! It starts before anything else, so that a worker that waits for Temporal lives and is not ready. The Temporal SDK
//! brings its own metrics as a server of its own; that one listens on a free loopback port, and what it says is added
//! to ours.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use harmony_console::Temporal;
use harmony_eventlog::SharedLog;
use harmony_incidents::RulesSource;
use harmony_telemetry::metrics;
use serde_json::{Map, Value, json};
use temporalio_common::telemetry::{
    PrometheusExporterOptions, TelemetryOptions, start_prometheus_metric_exporter,
};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{failure::Failure, temporal::Probe};

/// The paths there are.
pub(crate) const PATHS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// A part that needs longer does not answer. Under the 3 s of the usual probe.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a worker needs, as far as it is there yet.
#[derive(Clone, Default)]
pub(crate) struct Parts {
    /// The log and the rules: of the incidents queue alone.
    pub(crate) governed: Option<(SharedLog, Arc<dyn RulesSource>)>,
    /// Whether the queues are polled.
    pub(crate) polling: bool,
}

#[derive(Clone)]
struct Health {
    temporal: Arc<Probe>,
    parts: watch::Receiver<Parts>,
    needs_log: bool,
    stop: CancellationToken,
    /// Where the SDK's own metrics are.
    sdk: String,
    http: reqwest::Client,
}

/// Serves until told to stop; what it gives back goes into the SDK's runtime.
pub(crate) async fn serve(
    address: SocketAddr,
    temporal: Arc<Probe>,
    parts: watch::Receiver<Parts>,
    needs_log: bool,
    stop: CancellationToken,
) -> anyhow::Result<TelemetryOptions> {
    let options = PrometheusExporterOptions::builder()
        .socket_addr(SocketAddr::from(([127, 0, 0, 1], 0)))
        .use_seconds_for_durations(true)
        .build();
    let sdk = start_prometheus_metric_exporter(options)?;
    let listener = TcpListener::bind(address).await.map_err(|error| {
        Failure::failed(
            format!("HARMONY_METRICS_ADDR: cannot listen on {address}: {error}"),
            "stop what listens there, or take another address with --metrics (port 0 takes a free one)",
        )
    })?;
    tracing::info!(address = %listener.local_addr()?, "health and metrics");
    let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build()?;
    let health = Health {
        temporal,
        parts,
        needs_log,
        stop: stop.clone(),
        sdk: format!("http://{}/metrics", sdk.bound_addr),
        http,
    };
    let router = Router::new()
        .route(PATHS[0], get(async || "ok"))
        .route(PATHS[1], get(ready))
        .route(PATHS[2], get(scrape))
        .with_state(health);
    tokio::spawn(axum::serve(listener, router).into_future());
    Ok(TelemetryOptions::builder().metrics(sdk.meter as Arc<_>).build())
}

async fn ready(State(health): State<Health>) -> Response {
    let parts = health.parts.borrow().clone();
    let mut problems: Vec<(&str, Option<String>)> = vec![(
        "temporal",
        health.temporal.reachable().err().map(|address| format!("{address} does not answer")),
    )];
    if health.needs_log {
        let (store, directory) = match &parts.governed {
            None => (Some("it is not opened yet".to_owned()), Some("it is not read yet".to_owned())),
            Some((log, rules)) => (store(log).await, directory(rules.as_ref())),
        };
        problems.extend([("store", store), ("directory", directory)]);
    }
    let stopping = health.stop.is_cancelled();
    let polling = match (parts.polling, stopping) {
        (_, true) => Some("it is stopping".to_owned()),
        (false, false) => Some("the queues are not polled yet".to_owned()),
        (true, false) => None,
    };
    problems.push(("worker", polling));
    report(problems)
}

async fn store(log: &SharedLog) -> Option<String> {
    match tokio::time::timeout(PATIENCE, log.ping()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("the store does not answer".to_owned()),
    }
}

fn directory(rules: &dyn RulesSource) -> Option<String> {
    rules.current().directory.principals().is_empty().then(|| "nobody is in the directory".to_owned())
}

fn report(problems: Vec<(&str, Option<String>)>) -> Response {
    let ready = problems.iter().all(|(_, problem)| problem.is_none());
    let mut parts = Map::new();
    for (part, problem) in problems {
        metrics::ready(part, problem.is_none());
        let found: Value = match problem {
            None => json!({ "ready": true }),
            Some(detail) => json!({ "ready": false, "detail": detail }),
        };
        parts.insert(part.to_owned(), found);
    }
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready, "parts": parts }))).into_response()
}

async fn scrape(State(health): State<Health>) -> Response {
    let governed = health.parts.borrow().governed.clone();
    if let Some((log, rules)) = governed {
        let rules = rules.current();
        let standing = harmony_console::standing(log.as_ref(), &rules);
        if let Ok(Ok(standing)) = tokio::time::timeout(PATIENCE, standing).await {
            metrics::show(&standing);
        }
    }
    let sdk = async { health.http.get(&health.sdk).send().await?.text().await };
    let mut text = metrics::render();
    match sdk.await {
        Ok(own) => text.push_str(&own),
        Err(error) => tracing::debug!(%error, "the SDK's own metrics are left out"),
    }
    (StatusCode::OK, [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}
