//! Whether the process lives, and whether what it needs answers.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};
use harmony_telemetry::metrics;
use serde_json::{Map, json};

use crate::App;

/// A store that needs longer is not ready. Well under the usual probe's own 3 s.
const PATIENCE: Duration = Duration::from_secs(2);

/// `GET /healthz`: the process answers.
pub(crate) async fn healthz() -> &'static str {
    "ok"
}

/// `GET /readyz`: the store and Temporal answer, and somebody is in the directory.
pub(crate) async fn readyz(State(app): State<App>) -> Response {
    let store = match tokio::time::timeout(PATIENCE, app.doors.log.ping()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("the store does not answer".to_owned()),
    };
    let temporal = app.doors.temporal.reachable().err().map(|address| format!("{address} does not answer"));
    let nobody = app.doors.rules.current().directory.principals().is_empty();
    let directory = nobody.then(|| "nobody is in the directory".to_owned());
    let parts = [("store", store), ("temporal", temporal), ("directory", directory)];
    let ready = parts.iter().all(|(_, problem)| problem.is_none());
    let part = |problem: Option<String>| match problem {
        None => json!({ "ready": true }),
        Some(detail) => json!({ "ready": false, "detail": detail }),
    };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut shown = Map::new();
    for (name, problem) in parts {
        metrics::ready(name, problem.is_none());
        shown.insert(name.to_owned(), part(problem));
    }
    let body = json!({ "ready": ready, "parts": shown });
    (status, Json(body)).into_response()
}

/// `GET /`: the pages' place.
pub(crate) async fn home() -> Html<&'static str> {
    Html(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Harmony</title></head>\n\
         <body><h1>Harmony</h1><p>Incident response.</p></body>\n</html>\n",
    )
}
