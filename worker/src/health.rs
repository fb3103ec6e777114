//! Health and metrics of a process, where `HARMONY_METRICS_ADDR` says; and the worker's own.
//!
//! The worker's starts before anything else, so that a worker that waits for Temporal lives and is not ready. The Temporal SDK
//! brings its own metrics as a server of its own; that one listens on a free loopback port, and what it says is added
//! to ours.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::State, response::Response, routing::get};
use harmony_console::{
    Capacity, Temporal, Timeouts,
    health::{self, PATHS},
};
use harmony_eventlog::SharedLog;
use harmony_incidents::RulesSource;
use harmony_telemetry::metrics;
use temporalio_common::telemetry::{
    PrometheusExporterOptions, TelemetryOptions, start_prometheus_metric_exporter,
};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{failure::Failure, temporal::Probe};

/// The SDK that needs longer does not answer.
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
    let http = harmony_capabilities::address::builder("http://").timeout(PATIENCE).no_proxy().build()?;
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
    listen(address, router).await?;
    Ok(TelemetryOptions::builder().metrics(sdk.meter as Arc<_>).build())
}

/// Serves these routes there until the process ends; gives the address.
pub(crate) async fn listen(address: SocketAddr, router: Router) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        Failure::failed(
            format!("HARMONY_METRICS_ADDR: cannot listen on {address}: {error}"),
            "stop what listens there, or take another address with --metrics (port 0 takes a free one)",
        )
    })?;
    let address = listener.local_addr()?;
    tracing::info!(%address, "health and metrics");
    // Nobody stops it: whoever probes is answered until the end.
    let (running, stopping) = watch::channel(false);
    tokio::spawn(async move {
        harmony_console::serve(listener, router, Capacity::default(), Timeouts::default(), stopping).await;
        drop(running);
    });
    Ok(address)
}

async fn ready(State(health): State<Health>) -> Response {
    let state = health.parts.borrow().clone();
    let mut parts = match &state.governed {
        _ if !health.needs_log => health::Parts::new(),
        None => vec![
            ("store", Some("it is not opened yet".to_owned())),
            ("directory", Some("it is not read yet".to_owned())),
        ],
        Some((log, rules)) => health::governed(log.as_ref(), rules.as_ref()).await,
    };
    parts.push(("temporal", health.temporal.reachable().err().map(|address| health::away(&address))));
    let polling = match (state.polling, health.stop.is_cancelled()) {
        (_, true) => Some("it is stopping".to_owned()),
        (false, false) => Some("the queues are not polled yet".to_owned()),
        (true, false) => None,
    };
    parts.push(("worker", polling));
    health::report(parts)
}

async fn scrape(State(health): State<Health>) -> Response {
    let governed = health.parts.borrow().governed.clone();
    if let Some((log, rules)) = governed {
        health::measure(log.as_ref(), &rules.current()).await;
    }
    let sdk = async { health.http.get(&health.sdk).send().await?.text().await };
    let mut text = metrics::render();
    match sdk.await {
        Ok(own) => text.push_str(&own),
        Err(error) => tracing::debug!(%error, "the SDK's own metrics are left out"),
    }
    health::exposition(text)
}
