//! Whether the process lives, and whether what it needs answers.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::App;

/// A store that needs longer is not ready. Well under the usual probe's own 3 s.
const PATIENCE: Duration = Duration::from_secs(2);

/// `GET /healthz`: the process answers.
pub(crate) async fn healthz() -> &'static str {
    "ok"
}

/// `GET /readyz`: the store and Temporal answer.
pub(crate) async fn readyz(State(app): State<App>) -> Response {
    let store = match tokio::time::timeout(PATIENCE, app.doors.log.ping()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("the store does not answer".to_owned()),
    };
    let temporal = app.doors.temporal.reachable().err().map(|address| format!("{address} does not answer"));
    let ready = store.is_none() && temporal.is_none();
    let part = |problem: Option<String>| match problem {
        None => json!({ "ready": true }),
        Some(detail) => json!({ "ready": false, "detail": detail }),
    };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({ "ready": ready, "parts": { "store": part(store), "temporal": part(temporal) } });
    (status, Json(body)).into_response()
}
