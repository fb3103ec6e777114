//! The catalog's pages: services, one service, one release, environments and the audit; and what changed, beside an
//! incident.
//!
//! They ask what the API's handlers ask, with the reader's rights, and each asks the store a bounded number of times.

pub(super) mod audit;
pub(super) mod changes;
pub(super) mod environments;
pub(super) mod release;
pub(super) mod service;
pub(super) mod services;
mod week;

use harmony_catalog::{entity::AuditEvent, views::ReleaseView};
use harmony_incidents::{
    log::{ReleaseStatus, ServiceState},
    visible, words as vocabulary,
};
use serde_json::Value;

use super::{form::encoded, visit::Visit, words};

/// Characters of a sha that tell it from others of its service.
const SHORT_SHA: usize = 12;

/// A release as lists show it.
pub(super) struct ReleaseLine {
    pub(super) id: String,
    pub(super) address: String,
    /// Its version, or where it has none the beginning of its sha.
    pub(super) label: String,
    pub(super) environment: String,
    pub(super) status: &'static str,
    /// `superseded` or `rolled back`; empty where neither.
    pub(super) standing: &'static str,
    /// The colour of the two.
    pub(super) class: &'static str,
    /// When it came to its status.
    pub(super) at: String,
    pub(super) age: String,
    pub(super) by: String,
}

impl ReleaseLine {
    /// `environment` is what its environment is called.
    pub(super) fn of(visit: &Visit, view: &ReleaseView, environment: &str) -> Self {
        let release = &view.release;
        let at = view.settled_at.unwrap_or(view.created_at);
        let standing = match view.standing {
            Some("superseded") => "superseded",
            Some("rolledBack") => "rolled back",
            _ => "",
        };
        Self {
            id: release.id.to_string(),
            address: format!("/orgs/{}/releases/{}", visit.caller.org, encoded(release.id.as_str())),
            label: label(&release.version, &release.sha),
            environment: visible::line(environment),
            status: vocabulary::release_status(release.status),
            standing,
            class: match (release.status, standing) {
                (ReleaseStatus::Failed, _) => "hot",
                (_, "rolled back") => "warm",
                (ReleaseStatus::Promoting, _) => "new",
                (ReleaseStatus::Active, "") => "good",
                _ => "calm",
            },
            at: at.to_string(),
            age: words::age(at.as_microsecond(), visit.now),
            by: visit.name(&view.created_by),
        }
    }
}

/// What people call a release.
fn label(version: &str, sha: &str) -> String {
    let text = if version.is_empty() { sha.chars().take(SHORT_SHA).collect() } else { version.to_owned() };
    visible::line(&text)
}

/// What an environment is called by a service; its id where the service does not list it.
fn environment_name<'a>(service: &'a ServiceState, id: &'a str) -> &'a str {
    let found = service.environments.iter().find(|one| one.id == id);
    found.map(|one| one.name.as_str()).filter(|name| !name.is_empty()).unwrap_or(id)
}

/// Open incidents of one severity.
pub(super) struct SeverityCount {
    pub(super) severity: &'static str,
    pub(super) word: &'static str,
    pub(super) count: u64,
}

/// The counts that are not zero, the most severe first.
fn severities(counts: &std::collections::BTreeMap<&'static str, u64>) -> Vec<SeverityCount> {
    [("P1", "critical"), ("P2", "high"), ("P3", "medium"), ("P4", "low")]
        .into_iter()
        .filter_map(|(severity, word)| {
            let count = counts.get(word).copied().filter(|count| *count > 0)?;
            Some(SeverityCount { severity, word, count })
        })
        .collect()
}

/// An event of the audit as lists show it.
pub(super) struct AuditLine {
    pub(super) at: String,
    pub(super) moment: String,
    pub(super) age: String,
    pub(super) who: String,
    pub(super) actor: String,
    pub(super) action: String,
    pub(super) subject_type: String,
    pub(super) subject: String,
    /// Its page; empty where it has none.
    pub(super) address: String,
    /// The chain that its record stands in, and its place there.
    pub(super) stream: String,
    pub(super) seq: u64,
    /// What else is known, as `name value`.
    pub(super) details: Vec<String>,
}

impl AuditLine {
    pub(super) fn of(visit: &Visit, event: &AuditEvent) -> Self {
        let detail = |(name, value): (&String, &Value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            visible::line(&format!("{name} {value}"))
        };
        Self {
            at: event.ts.to_string(),
            moment: words::moment(event.ts),
            age: words::age(event.ts.as_microsecond(), visit.now),
            who: visit.name(&event.actor),
            actor: event.actor.clone(),
            action: event.action.clone(),
            subject_type: event.subject_type.clone(),
            subject: visible::line(&event.subject_id),
            address: address_of(visit, event),
            stream: event.stream.as_ref().map(ToString::to_string).unwrap_or_default(),
            seq: event.seq.unwrap_or_default(),
            details: event.metadata.iter().map(detail).collect(),
        }
    }
}

/// The page of what an event is about.
fn address_of(visit: &Visit, event: &AuditEvent) -> String {
    let org = &visit.caller.org;
    let id = encoded(&event.subject_id);
    match event.subject_type.as_str() {
        "Incident" => format!("/orgs/{org}/incidents/{id}"),
        "Service" => format!("/orgs/{org}/services/{id}"),
        "Environment" => format!("/orgs/{org}/environments#{id}"),
        "Release" => format!("/orgs/{org}/releases/{id}"),
        "Candidate" => format!("/orgs/{org}/candidates/{id}"),
        "WorkflowRun" => match event.metadata.get("releaseId").and_then(Value::as_str) {
            Some(release) => format!("/orgs/{org}/releases/{}", encoded(release)),
            None => String::new(),
        },
        _ => String::new(),
    }
}
