//! `POST /webhooks/github`, `/webhooks/gitlab`, `/webhooks/argocd`, `/events` and `/v2/change/enqueue`: what others tell
//! about deployments (`docs/deployments.md`). What GitHub tells about issues goes on to [`issues`](super::issues).
//!
//! GitHub signs the raw body, GitLab sends a token, PagerDuty's change events carry a routing key; Argo CD and whoever
//! sends CDEvents use a bearer token or `X-Harmony-Signature`. Nothing is read before that is checked. What is read is
//! recorded in [`record`]; a delivery that is genuine and says nothing about deployments of this catalog is answered
//! with why, so that its sender does not repeat it.

mod record;

use axum::{
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::{HeaderMap, header},
    response::Response,
};
use harmony_catalog::{
    inbound::{DeliveryError, argocd, cdevents, github, gitlab, pagerduty},
    words::Source,
};
use jiff::Timestamp;
use secrecy::SecretString;

use super::{issues, signed};
use crate::{App, error::ApiError};

/// Secrets of those who tell about deployments; several while they are rotated. A sender without one is not listened
/// to.
#[derive(Default)]
pub struct DeployWebhooks {
    /// GitHub's webhooks.
    pub github: Vec<SecretString>,
    /// GitLab's webhooks.
    pub gitlab: Vec<SecretString>,
    /// Argo CD's notifications.
    pub argocd: Vec<SecretString>,
    /// CDEvents.
    pub cdevents: Vec<SecretString>,
    /// Change events in PagerDuty's form: their routing keys.
    pub changes: Vec<SecretString>,
    /// Which of GitHub's workflows deploy, and where to.
    pub workflows: github::DeployWorkflows,
}

type Body = Result<Bytes, BytesRejection>;

/// `POST /webhooks/github`
pub(crate) async fn github(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = body?;
    let deploys = &app.doors.webhooks.deploys;
    configured(&deploys.github, "GitHub's webhooks")?;
    let signature = signed::text(&headers, "x-hub-signature-256").strip_prefix("sha256=");
    if !signed::is_signed(&deploys.github, signature.into_iter(), &body) {
        return Err(ApiError::Unauthorized("this is not signed by GitHub with a secret that is known here"));
    }
    let told = github::GitHubHeaders {
        event: signed::text(&headers, "x-github-event"),
        delivery: signed::text(&headers, "x-github-delivery"),
    };
    if told.event == "issues" {
        return issues::github(&app, told.delivery, &body).await;
    }
    let reading = github::read(told, &deploys.workflows, &body).map_err(malformed)?;
    record::take(&app, Source::Github, reading).await
}

/// `POST /webhooks/gitlab`
pub(crate) async fn gitlab(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = body?;
    let secrets = &app.doors.webhooks.deploys.gitlab;
    configured(secrets, "GitLab's webhooks")?;
    if !signed::is_secret(secrets, signed::text(&headers, "x-gitlab-token")) {
        return Err(ApiError::Unauthorized("this carries no token of GitLab's that is known here"));
    }
    let ids = ["idempotency-key", "x-gitlab-event-uuid"].map(|name| signed::text(&headers, name));
    let id = ids.into_iter().find(|id| !id.is_empty()).unwrap_or_default();
    let reading = gitlab::read(id, &body).map_err(malformed)?;
    record::take(&app, Source::Gitlab, reading).await
}

/// `POST /webhooks/argocd`
pub(crate) async fn argocd(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = body?;
    let secrets = &app.doors.webhooks.deploys.argocd;
    configured(secrets, "Argo CD's notifications")?;
    is_known(secrets, &headers, &body)?;
    let reading = argocd::read(&body).map_err(malformed)?;
    record::take(&app, Source::Argocd, reading).await
}

/// `POST /events`
pub(crate) async fn cdevents(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = body?;
    let secrets = &app.doors.webhooks.deploys.cdevents;
    configured(secrets, "CDEvents")?;
    is_known(secrets, &headers, &body)?;
    let content_type = signed::text(&headers, header::CONTENT_TYPE.as_str());
    let envelope = cdevents::envelope(content_type, |name| signed::text(&headers, name));
    let reading = cdevents::read(envelope, &body).map_err(malformed)?;
    record::take(&app, Source::Cdevents, reading).await
}

/// `POST /v2/change/enqueue`, as PagerDuty's own.
pub(crate) async fn changes(State(app): State<App>, body: Body) -> Result<Response, ApiError> {
    let body = body?;
    let secrets = &app.doors.webhooks.deploys.changes;
    configured(secrets, "change events")?;
    let enqueued = pagerduty::read(&body, Timestamp::now()).map_err(malformed)?;
    if !signed::is_secret(secrets, &enqueued.routing_key) {
        return Err(ApiError::Unauthorized("its routing key is not known here"));
    }
    record::take(&app, Source::Pagerduty, enqueued.reading).await
}

fn configured(secrets: &[SecretString], what: &str) -> Result<(), ApiError> {
    if secrets.is_empty() {
        return Err(ApiError::NotFound(format!("{what} are not configured here")));
    }
    Ok(())
}

fn is_known(secrets: &[SecretString], headers: &HeaderMap, body: &[u8]) -> Result<(), ApiError> {
    let signature = signed::text(headers, "x-harmony-signature").strip_prefix("sha256=");
    if signed::is_signed(secrets, signature.into_iter(), body) || signed::is_bearer(secrets, headers) {
        return Ok(());
    }
    Err(ApiError::Unauthorized("neither signed nor sent with a secret that is known here"))
}

fn malformed(error: DeliveryError) -> ApiError {
    ApiError::Invalid(error.to_string())
}
