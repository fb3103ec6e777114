//! Argo CD's notifications, in the form of the template of `docs/deployments.md`.
//!
//! Argo CD has no form of its own, so the form is ours: one flat object that the template fills from the application.
//! Go's templates write `<no value>` for what is not there; it reads as empty. A delivery has no id, so what it says is
//! its id. The receiver has compared the secret that the webhook's header carries.
//!
//! A sync that succeeded is `Active` once the application is healthy, and `Failed` where it is degraded.

use harmony_incidents::log::ReleaseStatus;
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    ChangeReport, DeliveryError, Reading, ReportKind, ServiceHint, is_sha, json, line, link, named, repo,
    text, version,
};
use crate::words::Source;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Notification {
    /// The application's name, with its namespace where there are several.
    app: String,
    /// What the service is called; the application's name where it is left out.
    #[serde(default, deserialize_with = "text")]
    service: String,
    #[serde(default, deserialize_with = "text")]
    environment: String,
    #[serde(default, rename = "repoURL", deserialize_with = "text")]
    repo_url: String,
    #[serde(default, deserialize_with = "text")]
    revision: String,
    /// Of the operation: Running, Succeeded, Failed, Error or Terminating.
    phase: String,
    /// Of the application: Healthy, Progressing, Degraded, Suspended, Missing or Unknown.
    #[serde(default, deserialize_with = "text")]
    health: String,
    #[serde(default, deserialize_with = "text")]
    started_at: String,
    #[serde(default, deserialize_with = "text")]
    finished_at: String,
    #[serde(default, deserialize_with = "text")]
    message: String,
    #[serde(default, deserialize_with = "text")]
    url: String,
}

/// Reads one notification.
pub fn read(body: &[u8]) -> Result<Reading, DeliveryError> {
    let it: Notification = json(body)?;
    let given = |text: &str| line(&text.replace("<no value>", ""));
    let time = |place: &str, text: &str| {
        text.trim().parse::<Timestamp>().map_err(|_| {
            DeliveryError::new(place, format!("{:?} is no time, such as 2026-11-29T10:00:00Z", line(text)))
        })
    };
    let started_at = time("startedAt", &it.started_at)?;
    let finished = given(&it.finished_at);
    let finished_at = if finished.is_empty() { None } else { Some(time("finishedAt", &finished)?) };
    let (phase, health) = (given(&it.phase), given(&it.health));
    let status = match (phase.as_str(), health.as_str()) {
        ("Running" | "Terminating", _) => ReleaseStatus::Promoting,
        ("Succeeded", "Healthy" | "") => ReleaseStatus::Active,
        ("Succeeded", "Degraded") | ("Failed" | "Error", _) => ReleaseStatus::Failed,
        ("Succeeded", _) => ReleaseStatus::Promoting,
        (other, _) => return Ok(Reading::ignored(format!("Argo CD's phase {other:?} is not known"))),
    };
    let app = named("app", &given(&it.app))?;
    let environment = named("environment", &given(&it.environment))?;
    let revision = named("revision", &given(&it.revision))?;
    let at = finished_at.unwrap_or(started_at);
    let service = given(&it.service);
    let subject = format!("argocd/{app}/{environment}/{revision}/{started_at}");
    Ok(Reading::one(ChangeReport {
        source: Source::Argocd,
        delivery_id: format!("{subject}/{at}/{phase}/{health}"),
        subject,
        kind: ReportKind::Deploy,
        status,
        at,
        sequence: 0,
        service: ServiceHint {
            repo: repo(&given(&it.repo_url)),
            name: if service.is_empty() { app } else { service },
        },
        environment,
        // A chart's revision is its version.
        version: version(&revision),
        sha: if is_sha(&revision) { revision.to_ascii_lowercase() } else { String::new() },
        url: link(&given(&it.url)),
        summary: given(&it.message),
    }))
}
