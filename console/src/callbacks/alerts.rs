//! `POST /webhooks/alertmanager` and `/webhooks/grafana`: alerts become candidates.
//!
//! Both send the same form, a group of alerts. What fires of one rule, for one service, at one severity is one
//! candidate, whose detections grow while it waits; so a rule that fires on forty machines is one candidate, and a
//! repeated notification hands nothing in twice. Rules of one group share the correlation key: they are paged about
//! together, and none of them silences another. An alert that is over changes nothing here.
//!
//! Alertmanager cannot sign, so it sends the secret as a bearer token; Grafana signs the raw body
//! (`X-Grafana-Alerting-Signature`, HMAC-SHA256 in hex), or `<timestamp>:<body>` where the contact point names a header
//! for the timestamp, as anybody else may sign (`X-Harmony-Signature: sha256=…`).

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use harmony_incidents::promotion::{Candidate, CandidateError, is_link};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

use super::signed::{self, one_line};
use crate::{App, Doors, error::ApiError};

/// The policy that decides about these candidates.
const POLICY: &str = "alerts";
/// What puts alerts together: `Firing::rule`. A change of what it compares is another version.
const CORRELATION_RULE: &str = "one-alert-rule";
const CORRELATION_RULE_VERSION: &str = "1";
/// Most firing alerts of one notification that are taken; the answer and the log say how many were not.
const ALERTS: usize = 5_000;
/// Signals of one candidate as it is handed in; the next ones grow it.
const SIGNALS: usize = 100;
/// Where Grafana's contact point puts its timestamp: the two names that its documentation gives as examples.
const TIMESTAMPS: [&str; 2] = ["x-grafana-alerting-timestamp", "x-grafana-alerting-signature-timestamp"];
/// How far a signed timestamp may be from our clock.
const SKEW_S: i64 = 300;

/// A notification, version 4 of Alertmanager's.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Notification {
    #[serde(default)]
    group_key: String,
    /// Of alerts that have none of their own.
    #[serde(default)]
    status: String,
    #[serde(default)]
    starts_at: Option<Timestamp>,
    /// How many the sender left out (`max_alerts`).
    #[serde(default)]
    truncated_alerts: u64,
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    #[serde(default)]
    status: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    starts_at: Option<Timestamp>,
    #[serde(default)]
    fingerprint: String,
    /// What fires, at whoever watches: Prometheus, or the rule in Grafana.
    #[serde(default, rename = "generatorURL")]
    generator: String,
    /// Grafana's own, where the rule belongs to a panel.
    #[serde(default, rename = "panelURL")]
    panel: String,
    #[serde(default, rename = "dashboardURL")]
    dashboard: String,
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
        let hint = match source {
            "grafana" => {
                "set HARMONY_GRAFANA_SECRET where `harmony serve` runs, and the same in the contact point"
            }
            _ => "set HARMONY_ALERTMANAGER_SECRET where `harmony serve` runs, and the same in the receiver",
        };
        return Err(ApiError::NotConfigured {
            detail: format!("webhooks of {source} are not configured here"),
            hint,
        });
    }
    if !is_signed(secrets, headers, body) && !signed::is_bearer(secrets, headers) {
        return Err(ApiError::Unsigned {
            detail: "neither signed nor sent with a secret that is known here",
            hint: match source {
                "grafana" => "HARMONY_GRAFANA_SECRET holds the secret that the contact point signs with",
                _ => "HARMONY_ALERTMANAGER_SECRET holds the token of the receiver's http_config",
            },
        });
    }
    let notification = read(source, body, Timestamp::now())
        .map_err(|error| ApiError::Invalid(format!("this is no notification of alerts: {error}")))?;
    let Doors { log, attestation, rules, .. } = &app.doors;
    let (rules, org) = (rules.current(), &app.doors.webhooks.org);
    let (mut taken, mut refused) = (0, Vec::new());
    for Detected { fingerprints, candidate } in notification.detected {
        let candidate = match candidate {
            Ok(candidate) => candidate,
            Err(error) => {
                let problem = error.to_string();
                let alerts = fingerprints.into_iter();
                refused.extend(alerts.map(|one| json!({ "fingerprint": one, "problem": problem })));
                continue;
            }
        };
        let policies = &rules.promotion;
        harmony_promotion::take_detections(log.as_ref(), attestation, policies, org, candidate, source)
            .await?;
        taken += fingerprints.len();
    }
    if !refused.is_empty() {
        tracing::warn!(source, count = refused.len(), "alerts make no candidates");
    }
    let mut answer = json!({ "taken": taken, "refused": refused });
    if notification.beyond > 0 {
        tracing::warn!(
            source,
            taken,
            not_taken = notification.beyond,
            "a notification holds too many alerts"
        );
        answer["notTaken"] = json!(notification.beyond);
    }
    if notification.truncated > 0 {
        tracing::warn!(
            source,
            left_out = notification.truncated,
            "the sender leaves alerts out: raise its max_alerts"
        );
    }
    Ok(Json(answer).into_response())
}

fn is_signed(secrets: &[SecretString], headers: &HeaderMap, body: &[u8]) -> bool {
    let ours = signed::text(headers, "x-harmony-signature").strip_prefix("sha256=");
    if signed::is_signed(secrets, ours.into_iter(), body) {
        return true;
    }
    let theirs = Some(signed::text(headers, "x-grafana-alerting-signature")).filter(|text| !text.is_empty());
    let timestamp = TIMESTAMPS.iter().map(|name| signed::text(headers, name)).find(|text| !text.is_empty());
    match timestamp {
        None => signed::is_signed(secrets, theirs.into_iter(), body),
        Some(timestamp) => {
            let now = Timestamp::now().as_second();
            let is_fresh = timestamp.parse().is_ok_and(|at: i64| now.abs_diff(at) <= SKEW_S.unsigned_abs());
            let signed_text = [timestamp.as_bytes(), b":", body].concat();
            is_fresh && signed::is_signed(secrets, theirs.into_iter(), &signed_text)
        }
    }
}

/// What fires in a notification.
pub(crate) struct Reading {
    pub(crate) detected: Vec<Detected>,
    /// Firing alerts beyond the limit.
    beyond: usize,
    /// Alerts that the sender left out itself.
    truncated: u64,
}

/// What one rule detected: the alerts, and the candidate that they are.
pub(crate) struct Detected {
    fingerprints: Vec<String>,
    pub(crate) candidate: Result<Candidate, CandidateError>,
}

/// Reads a notification that came at this time.
pub(crate) fn read(source: &str, body: &[u8], now: Timestamp) -> Result<Reading, serde_json::Error> {
    let Notification { group_key, status, starts_at, truncated_alerts, alerts } =
        serde_json::from_slice(body)?;
    let mut firing: Vec<Firing> = alerts
        .into_iter()
        .filter(|alert| if alert.status.is_empty() { &status } else { &alert.status } == "firing")
        .map(|alert| Firing::of(alert, starts_at.unwrap_or(now)))
        .collect();
    let beyond = firing.len().saturating_sub(ALERTS);
    firing.truncate(ALERTS);
    // The same alerts in another order are the same candidates.
    firing.sort_by(|one, other| (one.at, &one.fingerprint).cmp(&(other.at, &other.fingerprint)));
    let mut rules = BTreeMap::<String, Vec<Firing>>::new();
    for alert in firing {
        rules.entry(alert.rule(&group_key)).or_default().push(alert);
    }
    let detected = rules
        .iter()
        .flat_map(|(rule, alerts)| alerts.chunks(SIGNALS).map(move |some| (rule, some)))
        .map(|(rule, alerts)| Detected {
            fingerprints: alerts.iter().map(|alert| alert.fingerprint.clone()).collect(),
            candidate: Candidate::parse(candidate(source, &group_key, rule, alerts)),
        })
        .collect();
    Ok(Reading { detected, beyond, truncated: truncated_alerts })
}

/// An alert that fires.
struct Firing {
    fingerprint: String,
    at: Timestamp,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    /// Where it is shown. Each replica of a Prometheus names itself here, so whatever came first stays.
    link: Option<String>,
}

impl Firing {
    /// `at` is when it began, where the alert itself does not say.
    fn of(alert: Alert, at: Timestamp) -> Self {
        let Alert { labels, annotations, starts_at, fingerprint, generator, panel, dashboard, .. } = alert;
        let link = [panel, dashboard, generator].into_iter().find(|link| is_link(link));
        // Without a fingerprint the labels are what the alert is.
        let fingerprint = if fingerprint.is_empty() {
            short_hash(&json!(labels).to_string())
        } else {
            one_line(&fingerprint)
        };
        Self { fingerprint, at: starts_at.unwrap_or(at), labels, annotations, link }
    }

    fn label(&self, names: &[&str]) -> String {
        let found = names.iter().find_map(|name| self.labels.get(*name)).map(String::as_str);
        one_line(found.unwrap_or_default())
    }

    fn name(&self) -> String {
        self.label(&["alertname"])
    }

    fn note(&self, name: &str) -> Option<&String> {
        self.annotations.get(name).filter(|text| !text.trim().is_empty())
    }

    /// One line that says what it is.
    fn title(&self, source: &str) -> String {
        let title = self.note("summary").map_or_else(|| self.name(), |summary| one_line(summary));
        if title.is_empty() { format!("An alert of {source}") } else { title }
    }

    fn severity(&self) -> String {
        self.label(&["severity", "priority"])
    }

    fn service(&self) -> String {
        self.label(&["service", "job"])
    }

    fn environment(&self) -> String {
        self.label(&["environment", "env"])
    }

    /// What it has in common with the other alerts of its rule, and with no other.
    fn rule(&self, group: &str) -> String {
        let parts = [group, &self.name(), &self.service(), &self.environment(), &self.severity()];
        short_hash(&json!(parts).to_string())
    }

    /// One occurrence: the same alert that fires again later is another.
    fn id(&self) -> String {
        format!("{}-{}", self.fingerprint, self.at.as_microsecond())
    }
}

/// The candidate of alerts of one rule, the first of which gives it its name and its words.
fn candidate(source: &str, group: &str, rule: &str, alerts: &[Firing]) -> Value {
    let Some(first) = alerts.first() else { return Value::Null };
    let severity = first.severity();
    let signals: Vec<Value> = alerts
        .iter()
        .map(|alert| {
            let (id, title) = (alert.id(), alert.title(source));
            let mut signal = json!({ "signalId": id, "source": source, "summary": title });
            if let Some(link) = &alert.link {
                signal["link"] = json!(link);
            }
            signal
        })
        .collect();
    let mut candidate = json!({
        "candidateId": format!("{source}-{}", first.id()),
        "policyId": POLICY,
        "source": source,
        "title": first.title(source),
        "severity": if severity.is_empty() { "none".to_owned() } else { severity },
        "serviceName": first.service(),
        "environment": first.environment(),
        "projectId": first.label(&["project", "team"]),
        "correlationRuleId": CORRELATION_RULE,
        "correlationRuleVersion": CORRELATION_RULE_VERSION,
        "dedupKey": format!("{source}/{rule}"),
        "detectedAt": first.at,
        "signals": signals,
    });
    if !group.is_empty() {
        // Group keys grow with their labels.
        candidate["correlationKey"] = json!(format!("{source}/{}", short_hash(group)));
    }
    if let Some(description) = first.note("description") {
        candidate["summary"] = json!(description);
    }
    candidate
}

fn short_hash(text: &str) -> String {
    let mut digest = hex::encode(Sha256::digest(text.as_bytes()));
    digest.truncate(32);
    digest
}
