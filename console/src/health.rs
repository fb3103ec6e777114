//! `/healthz`, `/readyz` and `/metrics`, on a listener of their own (`HARMONY_METRICS_ADDR`): whether the process lives,
//! whether what it needs answers, and what it has counted. None of it is for the public.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use harmony_eventlog::EventLog;
use harmony_incidents::{RuleSet, RulesSource};
use harmony_telemetry::metrics;
use serde_json::{Map, Value, json};

use crate::{App, observed};

/// The paths there are.
pub const PATHS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// A part that needs longer does not answer. Well under the usual probe's own 3 s and the usual scrape's 10 s.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a process needs, and why it does not answer where it does not.
pub type Parts = Vec<(&'static str, Option<String>)>;

/// The console's own.
pub(crate) fn routes(app: App) -> Router {
    Router::new()
        .route(PATHS[0], get(async || "ok"))
        .route(PATHS[1], get(ready))
        .route(PATHS[2], get(scrape))
        .with_state(app)
}

async fn ready(State(app): State<App>) -> Response {
    let mut parts = governed(app.doors.log.as_ref(), app.doors.rules.as_ref()).await;
    parts.push(("temporal", app.doors.temporal.reachable().err().map(|address| away(&address))));
    report(parts)
}

async fn scrape(State(app): State<App>) -> Response {
    measure(app.doors.log.as_ref(), &app.doors.rules.current()).await;
    exposition(metrics::render())
}

/// The log and the rules.
pub async fn governed(log: &dyn EventLog, rules: &dyn RulesSource) -> Parts {
    let store = match tokio::time::timeout(PATIENCE, log.ping()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("the store does not answer".to_owned()),
    };
    let nobody = rules.current().directory.principals().is_empty();
    vec![("store", store), ("directory", nobody.then(|| "nobody is in the directory".to_owned()))]
}

/// A Temporal that does not answer.
pub fn away(address: &str) -> String {
    format!("{address} does not answer")
}

/// The answer of `/readyz`.
pub fn report(parts: Parts) -> Response {
    let ready = parts.iter().all(|(_, problem)| problem.is_none());
    let mut shown = Map::new();
    for (part, problem) in parts {
        metrics::ready(part, problem.is_none());
        let found: Value = match problem {
            None => json!({ "ready": true }),
            Some(detail) => json!({ "ready": false, "detail": detail }),
        };
        shown.insert(part.to_owned(), found);
    }
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready, "parts": shown }))).into_response()
}

/// Sets the gauges of what waits in the log; a store that does not answer leaves them as they were.
pub async fn measure(log: &dyn EventLog, rules: &RuleSet) {
    match tokio::time::timeout(PATIENCE, observed::standing(log, rules)).await {
        Ok(Ok(standing)) => metrics::show(&standing),
        Ok(Err(error)) => tracing::debug!(%error, "the gauges of the log stay as they were"),
        Err(_) => tracing::debug!("the gauges of the log stay as they were: it does not answer"),
    }
}

/// The answer of `/metrics`.
pub fn exposition(text: String) -> Response {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}
