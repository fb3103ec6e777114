//! `POST /webhooks/alertmanager` and `/webhooks/grafana`: alerts become candidates.
//!
//! Both send the same form, a group of alerts; each alert that fires is a candidate of its own, known by its
//! fingerprint and when it began, so that a repeated notification hands nothing in twice. An alert that is over changes
//! nothing here. Alertmanager cannot sign, so it sends the secret as a bearer token; Grafana signs the raw body
//! (`X-Grafana-Alerting-Signature`, HMAC-SHA256 in hex), as anybody else may (`X-Harmony-Signature: sha256=…`).

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use harmony_eventlog::LogError;
use harmony_incidents::promotion::{Candidate, CandidateError};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

use super::signed::{self, one_line};
use crate::{App, candidates, error::ApiError};

/// The policy that decides about these candidates.
const POLICY: &str = "alerts";
/// More alerts in one notification are a storm; the rest comes with the next.
const ALERTS: usize = 200;

/// A notification, version 4 of Alertmanager's.
#[derive(Deserialize)]
struct Notification {
    #[serde(default, rename = "groupKey")]
    group_key: String,
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    status: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    starts_at: Timestamp,
    #[serde(default)]
    fingerprint: String,
}

/// `POST /webhooks/alertmanager`
pub(crate) async fn alertmanager(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let secrets = app.doors.webhooks.alertmanager.clone();
    take(&app, "alertmanager", &secrets, &headers, &body?).await
}

/// `POST /webhooks/grafana`
pub(crate) async fn grafana(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let secrets = app.doors.webhooks.grafana.clone();
    take(&app, "grafana", &secrets, &headers, &body?).await
}

async fn take(
    app: &App,
    source: &'static str,
    secrets: &[SecretString],
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response, ApiError> {
    if secrets.is_empty() {
        return Err(ApiError::NotFound(format!("webhooks of {source} are not configured here")));
    }
    let ours = signed::text(headers, "x-harmony-signature").strip_prefix("sha256=");
    let theirs = Some(signed::text(headers, "x-grafana-alerting-signature")).filter(|text| !text.is_empty());
    let signatures = [ours, theirs];
    let is_signed = signed::is_signed(secrets, signatures.iter().copied().flatten(), body);
    if !is_signed && !signed::is_bearer(secrets, headers) {
        return Err(ApiError::Unauthorized("neither signed nor sent with a secret that is known here"));
    }
    let found = read(source, body)
        .map_err(|error| ApiError::Invalid(format!("this is no notification of alerts: {error}")))?;
    let (mut taken, mut refused) = (0_u32, Vec::new());
    for (fingerprint, candidate) in found {
        let candidate = match candidate {
            Ok(candidate) => candidate,
            Err(error) => {
                refused.push(json!({ "fingerprint": fingerprint, "problem": error.to_string() }));
                continue;
            }
        };
        match candidates::take(&app.doors, &app.doors.webhooks.org, candidate, source).await {
            // Its words change while it fires; the first ones stay.
            Ok(_) | Err(LogError::KeyConflict { .. }) => taken += 1,
            Err(error) => return Err(error.into()),
        }
    }
    if !refused.is_empty() {
        tracing::warn!(source, count = refused.len(), "alerts make no candidates");
    }
    Ok(Json(json!({ "taken": taken, "refused": refused })).into_response())
}

/// An alert's fingerprint, and the candidate that it is.
type Found = (String, Result<Candidate, CandidateError>);

/// The alerts of a notification that fire.
pub(crate) fn read(source: &str, body: &[u8]) -> Result<Vec<Found>, serde_json::Error> {
    let Notification { group_key, alerts } = serde_json::from_slice(body)?;
    let firing = alerts.into_iter().filter(|alert| alert.status == "firing").take(ALERTS);
    Ok(firing
        .map(|alert| {
            let candidate = Candidate::parse(candidate(source, &group_key, &alert));
            (alert.fingerprint, candidate)
        })
        .collect())
}

fn candidate(source: &str, group: &str, alert: &Alert) -> Value {
    let label = |names: &[&str]| {
        let found = names.iter().find_map(|name| alert.labels.get(*name)).map(String::as_str);
        one_line(found.unwrap_or_default())
    };
    let note = |name: &str| alert.annotations.get(name).filter(|text| !text.trim().is_empty());
    let name = label(&["alertname"]);
    let title = note("summary").map_or(name.clone(), |summary| one_line(summary));
    let severity = label(&["severity", "priority"]);
    // Without a fingerprint the labels are what the alert is.
    let fingerprint = if alert.fingerprint.is_empty() {
        short_hash(&json!(alert.labels).to_string())
    } else {
        one_line(&alert.fingerprint)
    };
    let mut candidate = json!({
        "candidateId": format!("{source}-{}-{}", fingerprint, alert.starts_at.as_microsecond()),
        "policyId": POLICY,
        "source": source,
        "title": if title.is_empty() { format!("An alert of {source}") } else { title },
        "severity": if severity.is_empty() { "none".to_owned() } else { severity },
        "serviceName": label(&["service", "job"]),
        "environment": label(&["environment", "env"]),
        "projectId": label(&["project", "team"]),
        "dedupKey": fingerprint,
        "detectedAt": alert.starts_at,
        "signals": [{ "signalId": fingerprint, "source": source }],
    });
    if !group.is_empty() {
        // Group keys grow with their labels.
        candidate["correlationKey"] = json!(format!("{source}/{}", short_hash(group)));
    }
    if let Some(description) = note("description") {
        candidate["summary"] = json!(description);
    }
    candidate
}

fn short_hash(text: &str) -> String {
    let mut digest = hex::encode(Sha256::digest(text.as_bytes()));
    digest.truncate(32);
    digest
}
