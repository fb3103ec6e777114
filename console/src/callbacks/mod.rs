//! What others send to us: verified over the raw bytes before anything is read.

pub(crate) mod alerts;
pub(crate) mod deploys;
pub(crate) mod issues;
pub(crate) mod pagerduty;
pub(crate) mod seen;
mod signed;
pub(crate) mod slack;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::StatusCode,
    middleware::{Next, from_fn},
    response::Response,
    routing::post,
};
use harmony_telemetry::metrics;

use crate::App;

/// Largest webhook: a notification of a few thousand alerts with long descriptions.
const WEBHOOK_LIMIT_BYTES: usize = 8 * 1024 * 1024;

/// Who posts without an account.
pub(crate) fn webhooks() -> Router<App> {
    Router::new()
        .route("/events", post(deploys::cdevents))
        // The path that whatever posts to PagerDuty has already.
        .route("/v2/change/enqueue", post(deploys::changes))
        .route("/webhooks/alertmanager", post(alerts::alertmanager))
        .route("/webhooks/argocd", post(deploys::argocd))
        .route("/webhooks/github", post(deploys::github))
        .route("/webhooks/gitlab", post(deploys::gitlab))
        // A contact point of Grafana may be set to PUT.
        .route("/webhooks/grafana", post(alerts::grafana).put(alerts::grafana))
        .route("/webhooks/jira", post(issues::jira))
        .route("/webhooks/pagerduty", post(pagerduty::take))
        .layer(DefaultBodyLimit::max(WEBHOOK_LIMIT_BYTES))
        .layer(from_fn(tell_refused))
}

/// A sender that is refused shows it to nobody: Alertmanager drops what is answered with a 4xx.
async fn tell_refused(request: Request, next: Next) -> Response {
    let source = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let response = next.run(request).await;
    let status = response.status();
    if status.is_client_error() {
        metrics::webhook_refused(&source, status.as_u16());
        let because = match status {
            StatusCode::UNAUTHORIZED => "its signature or its secret is not known here",
            StatusCode::PAYLOAD_TOO_LARGE => "it is too long: let the sender put fewer alerts into one",
            StatusCode::NOT_FOUND => "no secret of this sender is set here",
            _ => "it was not understood",
        };
        tracing::warn!(source, status = status.as_u16(), because, "a webhook was refused");
    }
    response
}
