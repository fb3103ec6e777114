//! PagerDuty's change events, in the form of the Events API v2 (`POST /v2/change/enqueue`).
//!
//! What posts change events to PagerDuty (CI, feature flags, a script) may post them to Harmony instead, or too. The
//! `routing_key` of the body is the secret, which the receiver compares. An event has no id, so what it says is its id.
//!
//! `custom_details` are free. Where they name an environment and a sha or a version, the change is a deployment;
//! else it is a change, which is shown beside incidents.

use harmony_incidents::{log::ReleaseStatus, record};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    ChangeReport, DeliveryError, Reading, ReportKind, ServiceHint, is_sha, json, line, link, named, repo,
    text,
};
use crate::words::Source;

/// Longest summary: PagerDuty's own limit.
const SUMMARY_CHARS: usize = 1024;

#[derive(Deserialize)]
struct ChangeEvent {
    routing_key: String,
    payload: Payload,
    #[serde(default)]
    links: Vec<Link>,
}

#[derive(Deserialize)]
struct Payload {
    summary: String,
    #[serde(default)]
    timestamp: Option<Timestamp>,
    #[serde(default, deserialize_with = "text")]
    source: String,
    #[serde(default)]
    custom_details: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Link {
    href: String,
}

/// A change event, and the secret that it came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enqueued {
    /// To be compared with the secrets that are known, before anything else is done.
    pub routing_key: String,
    /// What it says.
    pub reading: Reading,
}

/// Reads one event that came at this time, which counts where the event has none.
pub fn read(body: &[u8], received_at: Timestamp) -> Result<Enqueued, DeliveryError> {
    let event: ChangeEvent = json(body)?;
    let Payload { summary, timestamp, source, custom_details } = event.payload;
    if summary.chars().count() > SUMMARY_CHARS {
        return Err(DeliveryError::new("payload.summary", format!("longer than {SUMMARY_CHARS} characters")));
    }
    let summary = named("payload.summary", &summary)?;
    let details = custom_details.unwrap_or_default();
    let detail = |names: &[&str]| {
        let found = details.iter().find(|(name, value)| {
            value.is_string() && names.iter().any(|known| known.eq_ignore_ascii_case(name))
        });
        found.and_then(|(_, value)| value.as_str()).map(line).unwrap_or_default()
    };
    let fingerprint = detail(&["sha", "commit", "revision", "git_sha", "commit_sha"]).to_ascii_lowercase();
    let fingerprint = if is_sha(&fingerprint) { fingerprint } else { String::new() };
    let version = detail(&["version", "tag", "build"]);
    let environment = detail(&["environment", "env"]);
    let is_deployment = !environment.is_empty() && (!fingerprint.is_empty() || !version.is_empty());
    let status = match detail(&["status", "result", "outcome"]).to_ascii_lowercase().as_str() {
        "failed" | "failure" | "error" => ReleaseStatus::Failed,
        "started" | "running" | "in_progress" => ReleaseStatus::Promoting,
        _ => ReleaseStatus::Active,
    };
    let named_service = detail(&["service", "app", "application"]);
    let service = if named_service.is_empty() { line(&source) } else { named_service };
    let said = serde_json::json!([summary, timestamp, source, details]).to_string();
    let id = hex(&record::hash(said.as_bytes())[..16]);
    let report = ChangeReport {
        source: Source::Pagerduty,
        delivery_id: format!("change-{id}"),
        subject: if is_deployment {
            format!("pagerduty/{service}/{environment}/{fingerprint}/{version}")
        } else {
            format!("pagerduty/change-{id}")
        },
        kind: if is_deployment { ReportKind::Deploy } else { ReportKind::Change },
        status,
        at: timestamp.unwrap_or(received_at),
        sequence: 0,
        service: ServiceHint { repo: repo(&detail(&["repo", "repository"])), name: service },
        environment,
        sha: fingerprint,
        version,
        url: event.links.iter().map(|one| link(&one.href)).find(|url| !url.is_empty()).unwrap_or_default(),
        summary,
    };
    Ok(Enqueued { routing_key: event.routing_key, reading: Reading::one(report) })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
